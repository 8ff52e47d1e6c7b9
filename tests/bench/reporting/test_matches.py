"""Pictures of matches."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from bench.reporting.matches import Pair, Picture, draw


def picture(label: str, height: int, width: int) -> Picture:
    return Picture(label, np.full((height, width, 3), 200, dtype=np.uint8))


def pair(count: int = 5) -> Pair:
    random = np.random.default_rng(0)
    xy = [random.uniform(0, 90, (count, 2)).astype(np.float32) for _ in range(2)]
    cosines = random.uniform(0.6, 1, count).astype(np.float32)
    return Pair(picture("query 3", 100, 200), picture("positive 7 (hard): rank 9 → 2", 240, 120), *xy, cosines)


def test_the_same_pairs_give_the_same_picture() -> None:
    drawn = draw([pair(), pair(1)], "facades, locore:micro")
    assert drawn == draw([pair(), pair(1)], "facades, locore:micro")
    assert drawn != draw([pair(), pair(1)], "facades, ames:micro")
    pixels = imread(io.BytesIO(drawn))
    assert 700 < pixels.shape[1] < 1_000 and pixels.shape[0] > 500
    assert (pixels[..., :3].std(axis=2) > 0.1).any()  # coloured lines


@pytest.mark.parametrize("count", [0, 1])
def test_few_matches_can_be_drawn(count: int) -> None:
    assert draw([pair(count)], "")[:4] == b"\x89PNG"


def test_both_images_are_shown_at_one_height() -> None:
    one = pair()
    assert one.left.width == 2.0 and one.right.width == 0.5
    corner = np.array([[120.0, 240.0]], dtype=np.float32)
    assert one.right.placed(corner, 2.0).tolist() == [[2.5, 1.0]]
