from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.training.triplets import Neighbours, trimmed, valid_anchors


def lists(images: int = 60, classes: int = 4, depth: int = 40, seed: int = 0):
    """Labels (n,), similarity (n, k) with some of it negative, and neighbours (n, k), best first."""
    rng = np.random.RandomState(seed)
    labels = rng.randint(classes, size=images)
    similarity = rng.uniform(-0.5, 1, (images, images)).astype(np.float32)
    np.fill_diagonal(similarity, -2)
    indices = np.argsort(-similarity, axis=1)[:, :depth]
    return labels, np.take_along_axis(similarity, indices, axis=1), indices


def epoch(found: Neighbours, anchors, *, seed: int = 0, batch: int = 7) -> list[np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    return list(found.epoch(anchors, rng=np.random.RandomState(seed), generator=generator, batch=batch))


def plain_anchors(labels, similarity, indices, depth: int, least: int) -> list[int]:
    found = []
    for image, (row, near) in enumerate(zip(indices[:, :depth], similarity[:, :depth], strict=True)):
        same = sum(s > 0 and labels[i] == labels[image] for i, s in zip(row, near, strict=True))
        other = sum(s > 0 and labels[i] != labels[image] for i, s in zip(row, near, strict=True))
        if same >= least and other >= least:
            found.append(image)
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(1, 45), st.integers(1, 8), st.integers(0, 99))
def test_anchors_are_those_of_the_plain_rule(classes: int, depth: int, least: int, seed: int) -> None:
    given_ = lists(classes=classes, seed=seed)
    wanted = plain_anchors(*given_, depth, least)
    if wanted:
        assert valid_anchors(*given_, depth=depth, least=least).tolist() == wanted
    else:
        with pytest.raises(BenchError, match="no anchor"):
            valid_anchors(*given_, depth=depth, least=least)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(1, 30), st.integers(0, 99))
def test_an_epoch_has_every_anchor_once_with_one_of_either(classes: int, batch: int, seed: int) -> None:
    labels, similarity, indices = lists(classes=classes, seed=seed)
    found = Neighbours.of_classes(labels, similarity, indices)
    anchors = found.anchors(least=1)
    batches = epoch(found, anchors, seed=seed, batch=batch)
    assert [len(one) for one in batches[:-1]] == [batch] * (len(batches) - 1)
    triplets = np.concatenate(batches)
    assert sorted(triplets[:, 0]) == anchors.tolist()
    assert (labels[triplets[:, 0]] == labels[triplets[:, 1]]).all()
    assert (labels[triplets[:, 0]] != labels[triplets[:, 2]]).all()
    for anchor, *drawn in triplets:
        assert (similarity[anchor][np.isin(indices[anchor], drawn)] > 0).all()


@pytest.mark.parametrize("batch", [1, 9, 200])
def test_triplets_are_those_of_one_choice_after_the_other(batch: int) -> None:
    labels, similarity, indices = lists()
    found = Neighbours.of_classes(labels, similarity, indices)
    anchors = found.anchors()
    rng, wanted = np.random.RandomState(3), []
    for place in torch.randperm(len(anchors), generator=torch.Generator().manual_seed(3)).tolist():
        row = [anchors[place]]
        for mask in (found.positive, found.negative):
            able = np.flatnonzero(mask[row[0]] & (similarity[row[0]] > 0))
            cubes = similarity[row[0], able].astype(np.float64) ** 3
            row.append(indices[row[0], rng.choice(able, p=cubes / cubes.sum())])
        wanted.append(row)
    assert np.concatenate(epoch(found, anchors, seed=3, batch=batch)).tolist() == np.array(wanted).tolist()


def test_chances_are_the_cubes_of_similarities() -> None:
    similarity = np.tile(np.array([[0.8, 0.4, 0.2, 0.5, 0.0, -1.0]]), (4000, 1))
    indices = np.tile(np.arange(6), (4000, 1))
    positive = np.tile(np.array([[True, False, True, False, True, True]]), (4000, 1))
    negative = np.tile(np.array([[False, True, False, False, False, False]]), (4000, 1))
    drawn = np.concatenate(epoch(Neighbours(indices, similarity, positive, negative), np.arange(4000)))
    assert set(drawn[:, 1]) == {0, 2} and set(drawn[:, 2]) == {1}
    share = 0.8**3 / (0.8**3 + 0.2**3)
    assert abs((drawn[:, 1] == 0).mean() - share) < 4 * (share * (1 - share) / 4000) ** 0.5


def test_masks_say_who_is_either_and_who_is_left_alone() -> None:
    labels, similarity, indices = lists()
    same, ignored = labels[indices] == labels[:, None], indices % 3 == 0
    found = Neighbours(indices, similarity, same & ~ignored, ~same & ~ignored)
    triplets = np.concatenate(epoch(found, found.anchors(least=1)))
    assert len(triplets) > 0 and (triplets[:, 1:] % 3 != 0).all()


def test_classes_are_a_special_case_of_masks() -> None:
    labels, similarity, indices = lists()
    same = labels[indices] == labels[:, None]
    one, other = Neighbours(indices, similarity, same, ~same), Neighbours.of_classes(labels, similarity, indices)
    assert np.array_equal(np.concatenate(epoch(one, one.anchors())), np.concatenate(epoch(other, other.anchors())))


def test_nothing_global_is_touched_unless_wanted() -> None:
    found = Neighbours.of_classes(*lists())
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    epoch(found, found.anchors())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    torch.manual_seed(5)
    own = list(found.epoch(found.anchors(), rng=np.random.RandomState(5)))
    assert np.array_equal(np.concatenate(own), np.concatenate(epoch(found, found.anchors(), seed=5)))


def test_one_class_has_no_anchor() -> None:
    labels, similarity, indices = lists()
    with pytest.raises(BenchError, match=r"60 have 5 positives and 0 have 5 negatives.*wanted an image that has both"):
        valid_anchors(np.zeros_like(labels), similarity, indices)


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (5, 0)])
def test_no_image_or_no_neighbour_is_bad_input(shape: tuple[int, int]) -> None:
    with pytest.raises(BenchError, match=rf"no anchor: of {shape[0]} images.* among {shape[1]} neighbours"):
        valid_anchors(np.zeros(shape[0]), np.zeros(shape), np.zeros(shape, dtype=np.int64))


def test_what_does_not_fit_together_is_bad_input() -> None:
    labels, similarity, indices = lists()
    same = labels[indices] == labels[:, None]
    with pytest.raises(BenchError, match="a label for every image"):
        valid_anchors(labels[:-1], similarity, indices)
    with pytest.raises(BenchError, match="from 1 to 60"):
        valid_anchors(labels, similarity, indices + 1)
    with pytest.raises(BenchError, match="one shape"):
        Neighbours(indices, similarity[:, 1:], same, ~same)
    with pytest.raises(BenchError, match="positive and negative"):
        Neighbours(indices, similarity, same, np.ones_like(same))


@pytest.mark.parametrize("similarity", [np.full((1, 2), -0.5), np.full((1, 2), np.nan), np.array([[0.5, 0.0]])])
def test_an_anchor_with_nothing_to_draw_is_bad_input(similarity: np.ndarray) -> None:
    positive = np.array([[True, False]])
    found = Neighbours(np.array([[1, 2]]), similarity, positive, ~positive)
    with pytest.raises(BenchError, match="image 0 the first"):
        epoch(found, np.array([0]))


def test_lengths_are_drawn_anchor_first() -> None:
    rng = np.random.RandomState(33)
    assert trimmed(rng, 3, 10, 8) == (7, 3)  # as in the case ames-train-dist
    drawn = np.array([trimmed(rng, 2, 5) for _ in range(200)])
    assert [set(side) for side in drawn.T] == [{2, 3, 4}, {2, 3, 4}]


@pytest.mark.parametrize(("least", "most", "candidate_most"), [(0, 5, None), (5, 5, None), (3, 9, 3)])
def test_lengths_need_room(least: int, most: int, candidate_most: int | None) -> None:
    with pytest.raises(BenchError, match="lengths from"):
        trimmed(np.random.RandomState(0), least, most, candidate_most)
