"""A blend chosen on one small data set for another: images in, a record and a request out."""

from __future__ import annotations

import pytest

from bench import accuracy, tune
from bench.console import output
from bench.datasets import facades
from bench.errors import BenchError
from bench.protocols import Policy
from bench.reporting.pages import render
from bench.results import ResultStore
from rerankers import RerankError
from tests.support import LIMITS_MEMORY, MINI, QUICK, by_name, exit_code


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another data set of the same kind: a folder, with buildings of its own."""
    recipe = facades.Recipe(
        name="other", seed=8, landmarks=2, views=8, queries=2, distractors=16, long_side_px=320, pixels_per_metre=24
    )
    folder = tmp_path_factory.mktemp("data") / "other"
    facades.render(recipe, folder, workers=1)
    return folder


def options(cache, records, **changes):
    return QUICK | {"shortlist": 12, "records": records, "cache": cache} | changes


def job(command, cache, records, **changes):
    """Runs a command's function; gives its exit code and what it printed."""
    with output.capture() as printed:
        code = exit_code(command.main, **options(cache, records, **changes))
    return code, printed.get()


@pytest.fixture(scope="module")
def first(cache, other, tmp_path_factory):
    """Records and output of a run."""
    records = tmp_path_factory.mktemp("records")
    code, printed = job(tune, cache, records, rerankers="ransac,sg-rerank,ames:rootsift", validation=str(other))
    assert code == 0
    return records, printed


@LIMITS_MEMORY
def test_memory_is_limited(cache, other, tmp_path):
    assert job(tune, cache, tmp_path, rerankers="sg-rerank", validation=str(other), memory_limit=0.1)[0] == 1
    assert "under a limit of 0.1 GiB" in by_name(tmp_path)["sg-rerank:default"].reason


def test_images_in_a_frozen_blend_out(cache, first, tmp_path):
    records, printed = first
    found = by_name(records)
    assert {name: record.status for name, record in found.items()} == {
        "ransac:affine": "ok",
        "sg-rerank:default": "ok",
        "ames:rootsift": "missing",
    }
    frozen = {name: tune.blended(record) for name, record in found.items() if record.status == "ok"}
    assert f"--rerankers {frozen['ransac:affine']},{frozen['sg-rerank:default']}\n" in printed
    assert "| oracle (tuned on the evaluated set)" in printed and "no trained weights" in printed
    # what is passed on earns what was promised, and so does the first stage
    code, _ = job(accuracy, cache, tmp_path, rerankers=f"none,{','.join(frozen.values())}")
    earned = by_name(tmp_path)
    assert code == 0
    for name, request in frozen.items():
        record = found[name]
        assert (record.key.dataset, record.key.validation) == (MINI, "other") and len(record.scores_sha256) == 64
        for protocol in ("medium", "hard"):
            figure = f"map_{protocol}"
            assert record.figure(figure).value == earned[request].figure(figure).value
            assert record.figure(f"first_stage_{figure}").value == earned["none:first-stage"].figure(figure).value
        means = {
            prefix: sum(record.figure(f"{prefix}map_{protocol}").value for protocol in ("medium", "hard"))
            for prefix in ("", "first_stage_", "oracle_")
        }
        assert means["oracle_"] >= means[""] - 1e-12 and means["oracle_"] >= means["first_stage_"] - 1e-12


def test_a_report_has_pages_for_it(first):
    files = render(list(ResultStore(first[0])))
    assert f"### Blends chosen on other for {MINI}, shortlist of 12" in files["tune.md"].decode()
    assert "[tune.csv](tune.csv)" in files["README.md"].decode()


def test_a_list_wise_re_ranker_and_lists_of_each_protocol(cache, other, tmp_path):
    changes = {"rerankers": "sg-rerank,chamfer:rootsift", "validation": str(other), "policy": Policy.PER_PROTOCOL}
    assert job(tune, cache, tmp_path, **changes)[0] == 0
    assert {record.key.policy for record in by_name(tmp_path).values()} == {"per protocol"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rerankers": "ransac,ransac+blend=0.5/0.1"}, r"\+blend=0\.5/0\.1'; wanted one without \+blend"),
        ({"rerankers": "ransac+blend"}, r"one without \+blend"),
        ({"rerankers": "cvnet+sum"}, r"one without \+sum"),
        ({"rerankers": "sg-rerank+slide"}, "an order, not scores"),
        ({"rerankers": "sg-rerank+then+ransac"}, "an order, not scores"),
        ({"rerankers": "ransack"}, "unknown re-ranker 'ransack'"),
        ({"validation": MINI}, "the same data.*would be the oracle"),
    ],
)
def test_bad_requests_touch_no_data(cache, other, tmp_path, changes, words):
    with pytest.raises((BenchError, RerankError), match=words):
        tune.main(**options(cache, tmp_path, **({"rerankers": "ransac", "validation": str(other)} | changes)))
    assert list(tmp_path.iterdir()) == []


def test_the_same_data_by_another_name_is_refused(cache, tmp_path):
    folder = tmp_path / "by-another-name"
    facades.render(facades.SUBSETS[MINI], folder, workers=1)
    with pytest.raises(BenchError, match="would be the oracle"):
        tune.main(**options(cache, tmp_path / "records", rerankers="ransac", validation=str(folder)))
    assert by_name(tmp_path / "records") == {}


def test_a_set_without_queries_is_no_validation_set(cache, tmp_path):
    recipe = facades.Recipe(name="mute", seed=9, landmarks=1, views=2, long_side_px=160, pixels_per_metre=12)
    facades.render(recipe, tmp_path / "mute", workers=1)
    with pytest.raises(BenchError, match="no queries in mute"):
        tune.main(**options(cache, tmp_path / "records", rerankers="ransac", validation=str(tmp_path / "mute")))
