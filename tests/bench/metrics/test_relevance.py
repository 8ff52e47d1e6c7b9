from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bench.errors import BenchError
from bench.metrics import relevance
from bench.metrics.ranks import checked, first_copies


def test_by_images_keeps_queries_and_padding_apart():
    # Image 4 is the largest: query 1's -1 must not be taken for it.
    ranks = np.array([[4, 0, 2], [-1, 4, -5]])
    assert_array_equal(relevance.by_images(ranks, [[0, 4], []]), [[True, True, False], [False, False, False]])
    assert_array_equal(relevance.by_images(ranks, [[], [4]]), [[False, False, False], [False, True, False]])


def test_by_images_without_any_image():
    assert not relevance.by_images(np.array([[0, 1]]), [[]]).any()
    assert relevance.by_images(np.empty((2, 0), dtype=int), [[1], [2]]).shape == (2, 0)


def test_by_images_of_unsigned_lists():
    assert_array_equal(relevance.by_images(np.array([[3, 1]], dtype=np.uint64), [[1]]), [[False, True]])


def test_by_class_and_sizes():
    gallery = [7, 8, 7, 9]
    assert_array_equal(
        relevance.by_class(np.array([[0, 1, 2], [3, -1, 0]]), [7, 9], gallery),
        [[True, False, True], [True, False, False]],
    )
    assert_array_equal(relevance.class_sizes([7, 9, 5], gallery), [2, 1, 0])


def test_without_moves_up_what_is_behind():
    relevant, ignored = np.array([[True, False, True, False]]), np.array([[False, True, False, True]])
    assert_array_equal(relevance.without(relevant, ignored), [[True, True, False, False]])
    assert_array_equal(relevance.without(relevant, relevant), [[False] * 4])


def test_first_copies():
    assert_array_equal(first_copies([[5, 3, 5, 3, 5], [1, 2, 3, 4, 5]]), [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])


def test_checked_does_not_copy():
    ranks = np.zeros((2, 3), dtype=np.int32)
    assert checked(ranks) is ranks


@pytest.mark.parametrize(
    "call",
    [
        lambda: relevance.by_images(np.array([[0]]), [[0], [1]]),
        lambda: relevance.by_images(np.array([[0]]), [[-1]]),
        lambda: relevance.by_class(np.array([[4]]), [1], [1, 2]),
        lambda: relevance.by_class(np.array([[0]]), [1, 2], [1, 2]),
        lambda: relevance.checked_pair(np.zeros((1, 2)), [1]),
        lambda: relevance.checked_pair(np.zeros((1, 2), dtype=bool), [-1]),
        lambda: checked([["a"]]),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(BenchError):
        call()
