"""Which list is drawn, which images of it, and which of their descriptors match."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from bench import matched
from bench.datasets.ground_truth import QueryTruth
from bench.errors import BenchError
from bench.features.images import ImageRef
from bench.matched import Reranked, Side, pairs, rises_most
from rerankers import Features

TRUTH = QueryTruth(easy=np.array([7]), hard=np.array([3, 5]), junk=np.array([9]), transitive=np.array([5]))


def described(images: int) -> Features:
    """Images with the same three descriptors each, one of them padding."""
    local = torch.eye(3).expand(images, 3, 3)
    xy = torch.arange(6.0).reshape(3, 2).expand(images, 3, 2) + torch.arange(images)[:, None, None]
    return Features(local=local, xy=xy, valid=torch.tensor([True, True, False]).expand(images, 3))


def reranked(ranks: list[int], *, number: int = 0, images: tuple[int, ...] = (1, 7, 3, 5)) -> Reranked:
    return Reranked(number, TRUTH, np.array(images), described(1), described(len(images)), np.array(ranks))


def test_the_list_whose_hard_positives_rise_most_is_drawn() -> None:
    one, other = reranked([4, 3, 1, 2]), reranked([2, 1, 3, 4], number=1)
    assert one.rises.tolist() == [-3, -1, 2, 2] and one.hard.tolist() == [2, 3]
    ground: Any = SimpleNamespace(shortlist=100, dataset_name="facades")
    assert rises_most([other, one], ground) is one
    with pytest.raises(BenchError, match="no hard positive among the first 100 candidates of facades"):
        rises_most([], ground)


def test_an_image_is_named_with_its_label_and_both_ranks() -> None:
    one = reranked([4, 3, 1, 2])
    assert one.named(3, "linking ") == "linking positive 5 (transitive): rank 4 → 2"
    assert one.named(2) == "positive 3 (hard): rank 3 → 1"
    assert one.named(1) == "positive 7 (easy): rank 2 → 3"


def test_mutual_neighbours_match_and_padding_does_not() -> None:
    one = reranked([1, 2, 3, 4])
    left, right, cosines = matched.matched(Side.of(one, None), Side.of(one, 2))
    assert left.tolist() == [[0, 1], [2, 3]] and right.tolist() == [[2, 3], [4, 5]]
    assert cosines.tolist() == pytest.approx([1, 1])
    turned = Side(None, torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.9, 0.1]]), np.zeros((2, 2), np.float32))
    assert len(matched.matched(turned, Side.of(one, 2))[2]) == 1  # the second is nobody's nearest


@pytest.fixture
def images(tmp_path: Path) -> dict[str, list[ImageRef]]:
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), np.full((8, 12, 3), (255, 0, 0), dtype=np.uint8))
    return {"queries": [ImageRef(path)], "gallery": [ImageRef(path)] * 10}


def labels(one: Reranked, images: dict[str, list[ImageRef]], folder: Path) -> list[tuple[str, str]]:
    return [(pair.left.label, pair.right.label) for pair in pairs(one, images, folder)]


def test_a_query_a_linking_positive_and_a_hard_one(
    images: dict[str, list[ImageRef]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matched, "_link", lambda one, folder, risen: 1)
    one = reranked([4, 1, 3, 2])
    best, link = "positive 5 (transitive): rank 4 → 2", "linking positive 7 (easy): rank 2 → 1"
    assert labels(one, images, tmp_path) == [("query 0", best), ("query 0", link), (link, best)]
    assert pairs(one, images, tmp_path)[0].left.pixels[0, 0].tolist() == [0, 0, 255]  # RGB


def test_without_a_recipe_the_best_other_positive_is_drawn(images: dict[str, list[ImageRef]], tmp_path: Path) -> None:
    one = reranked([4, 3, 1, 2])
    best, other = "positive 3 (hard): rank 3 → 1", "positive 5 (transitive): rank 4 → 2"
    assert labels(one, images, tmp_path) == [("query 0", best), ("query 0", other), (other, best)]
    alone = reranked([2, 1], images=(1, 3))
    assert labels(alone, images, tmp_path) == [("query 0", "positive 3 (hard): rank 2 → 1")]
