"""Pairs with the hardest negatives first, and lists."""

from __future__ import annotations

import numpy as np
import pytest

from bench.training.mining import hard_first, lists
from bench.training.triplets import Neighbours


@pytest.fixture
def neighbours():
    rng = np.random.default_rng(1)
    kind = rng.integers(3, size=(20, 12))
    kind[:, :3] = [0, 1, 2]  # a positive, a negative and junk for everybody
    indices = np.stack([rng.permutation(np.delete(np.arange(20), row))[:12] for row in range(20)])
    return Neighbours(indices, np.linspace(1, 0.1, 12) * np.ones((20, 1)), kind == 0, kind == 1)


def places(neighbours, row, images):
    return [list(neighbours.indices[row]).index(image) for image in images]


@pytest.mark.parametrize("epoch", [0, 1, 2, 30])
def test_every_anchor_once_with_a_positive_and_the_next_negative(neighbours, epoch):
    anchors = np.arange(0, 20, 2)
    found = np.concatenate(list(hard_first(neighbours, anchors, seed=5, epoch=epoch, batch=3)))
    assert sorted(found[:, 0]) == list(anchors)
    for row, positive, negative in found:
        right, wrong = places(neighbours, row, (positive, negative))
        assert neighbours.positive[row, right]
        known = np.flatnonzero(neighbours.negative[row])
        assert wrong == known[epoch % len(known)]


def test_the_same_seed_gives_the_same_pairs(neighbours):
    def drawn(seed, epoch):
        return np.concatenate(list(hard_first(neighbours, np.arange(20), seed=seed, epoch=epoch, batch=4)))

    assert (drawn(1, 0) == drawn(1, 0)).all()
    assert (drawn(1, 0) != drawn(2, 0)).any()
    assert (drawn(1, 0) != drawn(1, 1)).any()


@pytest.mark.parametrize("window", [2, 5, 12, 30])
def test_lists_hold_the_query_then_candidates_with_their_labels(neighbours, window):
    batches = list(lists(neighbours, np.arange(20), seed=0, epoch=0, batch=3, window=window))
    assert sorted(np.concatenate([batch.images[:, 0] for batch in batches])) == list(range(20))
    for batch in batches:
        assert batch.images.shape[1] == window + 1 and batch.positive.shape[1] == window
        for images, positive in zip(batch.images, batch.positive, strict=True):
            found = places(neighbours, images[0], images[1:])
            assert (neighbours.positive[images[0], found] == positive).all()
            assert (neighbours.negative[images[0], found] == ~positive).all()
            assert positive.any() and not positive.all()


def test_candidates_are_shuffled(neighbours):
    one, other = (next(iter(lists(neighbours, np.arange(1), seed=0, epoch=e, batch=1, window=8))) for e in (0, 1))
    assert (one.images != other.images).any()
