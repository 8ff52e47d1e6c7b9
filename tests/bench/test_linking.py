"""Linking positives on the small embedded data set: images in, records out."""

from __future__ import annotations

import pytest

from bench import linking
from bench.datasets import facades
from bench.errors import BenchError
from rerankers import RerankError
from tests.bench.test_accuracy import own_images
from tests.support import LIMITS_MEMORY, QUICK, by_name, exit_code


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def job(cache, records, **changes):
    """Runs the command's function; gives its exit code."""
    options = {"rerankers": "chamfer:rootsift-48", "shortlist": 40, "draws": 2, "allow_random": True}
    return exit_code(linking.main, records=records, cache=cache, **(QUICK | options | changes))


@pytest.fixture(scope="module")
def first(cache, tmp_path_factory):
    records = tmp_path_factory.mktemp("records")
    assert job(cache, records, rerankers="chamfer:rootsift-48,elvis:micro") == 0
    return records


def test_images_in_falls_out(first):
    for record in by_name(first).values():
        assert record.status == "ok", record.reason
        cases = record.figure("cases").value
        assert cases and all(len(values) == cases for values in record.series.values())
        assert len(record.scores_sha256) == 64
        assert record.series["link_score"] != record.series["link_score_covisible"]


def test_a_pair_wise_score_does_not_fall(first):
    for record in by_name(first).values():
        for name in ("score", "rank"):
            for part in ("covisible", "elsewhere"):
                assert record.series[f"{name}_{part}"] == pytest.approx(record.series[name])


def test_the_same_seed_gives_the_same_scores(cache, first, tmp_path):
    assert job(cache, tmp_path) == 0
    again, before = (by_name(folder)["chamfer:rootsift-48"] for folder in (tmp_path, first))
    assert again.scores_sha256 == before.scores_sha256 and again.series == before.series


def test_untrained_weights_are_a_reason_and_no_figure(cache, tmp_path):
    assert job(cache, tmp_path, rerankers="ames:rootsift", allow_random=False) == 0
    record = by_name(tmp_path)["ames:rootsift"]
    assert record.status == "missing" and "no trained weights" in record.reason


@LIMITS_MEMORY
def test_memory_is_limited(cache, tmp_path):
    assert job(cache, tmp_path, memory_limit=0.1) == 1
    assert "under a limit of 0.1 GiB" in by_name(tmp_path)["chamfer:rootsift-48"].reason


def test_a_list_without_a_case_is_bad_input(cache, tmp_path):
    assert job(cache, tmp_path, shortlist=1) == 2
    assert "no transitive positive with a linking" in by_name(tmp_path)["chamfer:rootsift-48"].reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rerankers": "locore:micro+slide"}, r"one without \+slide, which gives an order and no scores"),
        ({"rerankers": "sg-rerank+then+locore:micro"}, r"one without \+then\+"),
        ({"rerankers": "none"}, "none:first-stage, which reads no local descriptors; wanted one that does"),
        ({"rerankers": "elvis:micro,sg-rerank"}, "sg-rerank:default, which reads no local descriptors"),
        ({"rerankers": "locori"}, "unknown re-ranker 'locori'"),
        ({"dataset": "nowhere"}, "unknown data set 'nowhere'"),
    ],
)
def test_bad_requests_say_what_was_seen_and_wanted(cache, tmp_path, changes, words):
    with pytest.raises((BenchError, RerankError), match=words):
        linking.main(**({"cache": cache, "records": tmp_path} | changes))
    assert list(tmp_path.iterdir()) == []


def test_own_images_have_no_transitive_positives(cache, tmp_path):
    folder = own_images(tmp_path / "mine")
    with pytest.raises(BenchError, match="mine without transitive positives.*--dataset facades or facades-val"):
        linking.main(dataset=str(folder), cache=cache, records=tmp_path / "records")


def test_a_rendered_folder_without_its_recipe_is_refused(cache, tmp_path):
    recipe = facades.Recipe(
        name="lost", seed=7, landmarks=4, views=8, queries=2, distractors=2, long_side_px=160, pixels_per_metre=12
    )
    facades.render(recipe, tmp_path / "lost", workers=1)
    (tmp_path / "lost" / "recipe.json").unlink()
    with pytest.raises(BenchError, match=r"without the recipe\.json"):
        linking.main(dataset=str(tmp_path / "lost"), cache=cache, records=tmp_path / "records")
