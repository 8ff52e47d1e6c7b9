"""The same bytes on every machine, whatever the order, the workers and the interruptions."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.datasets import facades
from bench.datasets.facades import plan
from bench.datasets.facades.recipe import Recipe
from bench.errors import BenchError

MINI = facades.SUBSETS["facades-mini"]
TINY = Recipe(
    name="tiny",
    seed=3,
    landmarks=1,
    views=4,
    queries=1,
    distractors=3,
    distractor_views=2,
    long_side_px=160,
    pixels_per_metre=12,
)

PINS = {
    "ground_truth.json": "f8f3c7f778445aa890367cf9efc1426b6d5cb4c9016eb8b5ac9ddecc498075e6",
    "gallery/00000.jpg": "d800a458555970c5cde2d3fa94acbc3409deb0f9c0efe3122a9c48d9a7170b1e",
    "gallery/00031.jpg": "f750c5825b6b1e705d321189966e31e7ddd4dcc86fae0621a841efc0097b9172",
    "queries/003.jpg": "9eff43ac9042f469798df679d72dcd7380ff2179cfa56c7c078ea91db8a9a75f",
}


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    facades.render(MINI, folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    facades.render(TINY, folder, workers=1)
    return folder


def test_a_folder_as_a_user_would_bring(mini: Path) -> None:
    truth = json.loads((mini / "ground_truth.json").read_text())
    assert len(truth["imlist"]) == MINI.gallery_size == 62
    assert len(truth["qimlist"]) == len(truth["gnd"]) == MINI.query_count == 8
    assert not set(truth["imlist"]) & set(truth["qimlist"])
    for name in (*truth["imlist"], *truth["qimlist"]):
        assert max(cv2.imread(str(mini / name)).shape) == MINI.long_side_px
    for number, entry in enumerate(truth["gnd"]):
        labelled = [*entry["easy"], *entry["hard"], *entry["junk"]]
        own = [k for k, landmark in enumerate(truth["landmark"]) if landmark == truth["query_landmark"][number]]
        assert sorted(labelled) == own  # each view of the landmark has exactly one label
        assert len(own) == MINI.views
        assert set(entry["transitive"]) <= set(entry["hard"])
        height, width = cv2.imread(str(mini / truth["qimlist"][number])).shape[:2]
        x0, y0, x1, y1 = entry["bbx"]
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height


def test_pinned_bytes(mini: Path) -> None:
    """With opencv-python-headless 5.0 and NumPy 2.4. Another build of libjpeg may code or decode otherwise."""
    assert hashlib.sha256((mini / "ground_truth.json").read_bytes()).hexdigest() == PINS["ground_truth.json"]
    for name in ("gallery/00000.jpg", "gallery/00031.jpg", "queries/003.jpg"):
        assert hashlib.sha256(cv2.imread(str(mini / name)).tobytes()).hexdigest() == PINS[name], name


def test_digest_tells_recipes_apart() -> None:
    assert len({facades.digest(recipe) for recipe in facades.SUBSETS.values()}) == len(facades.SUBSETS)
    assert facades.digest(facades.training_recipe(200)) == facades.digest(facades.SUBSETS["facades-train"])
    assert facades.digest(facades.training_recipe(201)) != facades.digest(facades.SUBSETS["facades-train"])


def test_the_validation_set_is_facades_with_another_seed() -> None:
    evaluated, validation = (facades.SUBSETS[name] for name in ("facades", "facades-val"))
    assert dataclasses.replace(validation, name="facades", seed=evaluated.seed) == evaluated
    seeds = {name: recipe.seed for name, recipe in facades.SUBSETS.items()}
    assert seeds["facades-train-large"] == seeds["facades-train"]  # the same buildings, and more of them
    assert len(set(seeds.values())) == len(seeds) - 1


def test_workers_do_not_change_a_byte(tiny: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    facades.render(TINY, tmp_path, workers=2, progress=lambda done, total: steps.append((done, total)))
    assert content(tmp_path) == content(tiny)
    assert [total for _, total in steps] == [8, 8, 8]
    assert steps[-1][0] == 8


def test_an_interrupted_rendering_goes_on(tiny: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        facades.render(TINY, tmp_path, workers=1, progress=stop)
    assert not facades.is_complete(tmp_path, TINY)
    made = sorted((tmp_path / "gallery").iterdir())
    assert 0 < len(made) < TINY.gallery_size
    kept, cut = made[0], made[1]
    old = kept.stat().st_mtime_ns
    cut.write_bytes(cut.read_bytes()[:100])
    facades.render(TINY, tmp_path, workers=1)
    assert facades.is_complete(tmp_path, TINY)
    assert kept.stat().st_mtime_ns == old
    assert content(tmp_path) == content(tiny)


def test_ensure_renders_once(tmp_path: Path) -> None:
    folder = facades.ensure(TINY, tmp_path, workers=1)
    before = (folder / "ground_truth.json").stat().st_mtime_ns
    assert facades.ensure(TINY, tmp_path, workers=1) == folder
    assert (folder / "ground_truth.json").stat().st_mtime_ns == before


def test_a_full_disk_leaves_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BenchError, match="No space left"):
        facades.render(TINY, tmp_path, workers=1)
    assert content(tmp_path) == {}


def test_a_folder_of_another_recipe_is_left_alone(tiny: Path) -> None:
    before = content(tiny)
    with pytest.raises(BenchError, match="another recipe"):
        facades.render(MINI, tiny, workers=1)
    assert content(tiny) == before
    assert not facades.is_complete(tiny, MINI)


def test_the_covisibility_graph_marks_the_transitive(mini: Path) -> None:
    truth = json.loads((mini / "ground_truth.json").read_text())
    with np.load(mini / truth["covisibility"], allow_pickle=False) as graph:
        edges = set(zip(graph["first"].tolist(), graph["second"].tolist(), strict=True))
        assert (graph["first"] < graph["second"]).all()
        assert ((graph["first_share"] > 0) & (graph["first_share"] <= 1)).all()
    place = [*truth["landmark"], *truth["query_landmark"]]
    assert edges
    assert all(place[a] == place[b] >= 0 for a, b in edges)
    seen = 0
    for entry in truth["gnd"]:
        for image in entry["transitive"]:
            seen += 1
            assert any((min(image, k), max(image, k)) in edges for k in (*entry["easy"], *entry["hard"]) if k != image)
    assert seen


def test_more_training_landmarks_leave_the_first_as_they_are() -> None:
    few, many = facades.training_recipe(2), facades.training_recipe(5)
    positions = list(range(many.gallery_size))
    assert plan.plan(few, plan.LANDMARK, 1, positions).shots == plan.plan(many, plan.LANDMARK, 1, positions).shots


def test_every_query_has_enough_to_find() -> None:
    recipe = facades.SUBSETS["facades"]
    assert (recipe.query_count, recipe.landmarks, recipe.gallery_size) == (70, 35, 4000)
    positions = plan.gallery_positions(recipe)
    assert sorted(positions) == list(range(4000))
    for index in range(0, recipe.landmarks, 6):
        for answer in plan.plan(recipe, plan.LANDMARK, index, positions).labels:
            assert len(answer.easy) >= plan.MIN_EASY
            assert len(answer.hard) >= plan.MIN_HARD


def test_look_alikes_share_a_style_but_no_layout() -> None:
    recipe = facades.SUBSETS["facades"]
    own = {
        (*plan.style_of(recipe, plan.LANDMARK, k).windows, plan.style_of(recipe, plan.LANDMARK, k).material)
        for k in range(recipe.landmarks)
    }
    styles = [plan.style_of(recipe, plan.DISTRACTOR, k) for k in range(100)]
    assert sum((*style.windows, style.material) in own for style in styles) >= 36


@pytest.mark.parametrize(
    ("changes", "seen"), [({"long_side_px": 2000}, "2000 pixels"), ({"landmarks": 0}, "0 landmarks")]
)
def test_impossible_recipes_are_refused(changes: dict[str, int], seen: str) -> None:
    with pytest.raises(BenchError, match=seen):
        dataclasses.replace(TINY, **changes)
