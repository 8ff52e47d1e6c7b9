"""Small images: of data sets that are here, and reasons for those that are not."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.datasets import load_folder
from bench.features.images import ImageRef
from bench.results import AccuracyKey, RankedLists, Record
from bench.thumbnails import QUERY_SIDE, SIDE, of, pictures, thumbnail
from tests.bench.reporting.examples import accuracy_record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two queries, the first of them boxed, and three images."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, name in enumerate(("q0.png", "q1.png", "g0.png", "g1.png", "g2.png")):
        image = np.full((300, 400, 3), 40 * number, dtype=np.uint8)
        image[:100, :50] = 255
        cv2.imwrite(str(folder / name), image)
    truth = {
        "imlist": ["g0.png", "g1.png", "g2.png"],
        "qimlist": ["q0.png", "q1.png"],
        "gnd": [
            {"easy": [0], "hard": [], "junk": [], "bbx": [0, 0, 50, 100]},
            {"easy": [], "hard": [1], "junk": [], "bbx": None},
        ],
    }
    (folder / "ground_truth.json").write_text(json.dumps(truth))
    return folder


def shape(image: bytes) -> tuple[int, ...]:
    return cv2.imdecode(np.frombuffer(image, dtype=np.uint8), cv2.IMREAD_COLOR).shape


def record(name: str, sha256: str, images: list[int]) -> Record:
    scores, labels = [[None] * len(images)], ["-" * len(images)]
    lists = RankedLists(first_stage_sha256="0", images=[images], places=[images], scores=scores, labels=labels)
    found = accuracy_record("none:first-stage", {"hard": [0.5]}, dataset=name, lists=lists)
    assert isinstance(found.key, AccuracyKey)
    return found.model_copy(update={"key": found.key.model_copy(update={"dataset_sha256": sha256})})


def test_queries_are_cut_to_their_boxes_and_nothing_is_large(folder: Path) -> None:
    found = of(load_folder(folder), [2, 0], workers=2)
    assert [shape(image) for image in found.queries] == [(100, 50, 3), (QUERY_SIDE * 3 // 4, QUERY_SIDE, 3)]
    assert found.query_names == ("q0.png", "q1.png") and found.gallery_names == {2: "g2.png", 0: "g0.png"}
    assert {number: shape(image)[1] for number, image in found.gallery.items()} == {2: SIDE, 0: SIDE}


def test_a_distractor_without_an_image_is_left_out(folder: Path) -> None:
    assert set(of(load_folder(folder), [1, 3, 999_999], workers=1).gallery) == {1}


def test_an_image_of_its_own_size_is_not_enlarged(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((20, 30, 3), dtype=np.uint8))
    assert shape(thumbnail(ImageRef(tmp_path / "small.png"), SIDE)) == (20, 30, 3)


def found(records: list[Record], tmp_path: Path, **folders: Path):
    return pictures(records, cache=tmp_path / "cache", data_root=tmp_path / "data", folders=folders, workers=1)


def test_a_folder_of_one_s_own_is_told(folder: Path, tmp_path: Path) -> None:
    sha256 = load_folder(folder).sha256
    one = record("mine", sha256, [0, 2])
    assert set(found([one], tmp_path, mine=folder)[sha256].gallery) == {0, 2}
    assert "Pass --images mine=FOLDER" in (found([one], tmp_path)[sha256].why or "")


def test_images_that_are_not_here_or_are_others_are_a_reason_and_nothing_is_rendered(
    folder: Path, tmp_path: Path
) -> None:
    records = [record("mine", "1" * 64, [0]), record("facades", "2" * 64, [0]), record("roxford5k", "3" * 64, [0])]
    reasons = {sha256[0]: one.why for sha256, one in found(records, tmp_path, mine=folder).items()}
    assert "other queries, images or labels" in reasons["1"] and "facades is not rendered" in reasons["2"]
    assert "no roxford5k in" in reasons["3"] and not (tmp_path / "cache").exists()


def test_an_image_that_is_gone_is_a_reason(folder: Path, tmp_path: Path) -> None:
    one = record("mine", load_folder(folder).sha256, [0])
    (folder / "g0.png").unlink()
    assert "g0.png" in (next(iter(found([one], tmp_path, mine=folder).values())).why or "")


def test_records_without_lists_need_no_images(tmp_path: Path) -> None:
    assert found([accuracy_record("none:first-stage", {"hard": [0.5]})], tmp_path) == {}
