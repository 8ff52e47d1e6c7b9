"""Ranked lists as the metrics take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import BenchError


def checked(ranks: ArrayLike) -> np.ndarray:
    """`ranks` as a (queries, depth) integer array, without a copy; BenchError for another shape or type."""
    lists = np.asarray(ranks)
    if lists.ndim != 2 or lists.dtype.kind not in "iu":
        raise BenchError(
            f"ranks of shape {lists.shape} and type {lists.dtype}",
            wanted="integers of shape (queries, depth), best first",
            cure="Transpose lists that lie depth first.",
        )
    # 64-bit unsigned integers are the one type that cannot index.
    return lists.astype(np.int64) if lists.dtype == np.uint64 else lists


def first_copies(ranks: ArrayLike) -> np.ndarray:
    """(queries, depth) bool: whether an entry is the first of its image in its list."""
    lists = checked(ranks)
    order = np.argsort(lists, axis=1, kind="stable")
    sorted_ids = np.take_along_axis(lists, order, axis=1)
    new = np.ones(lists.shape, dtype=bool)
    new[:, 1:] = sorted_ids[:, 1:] != sorted_ids[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new, axis=1)
    return first
