"""Inner products without rounding, and the one order that they give. Of `bench.search`, which says what is promised."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20  # numbers worked on at once: 8 MiB of float64
BITS = 26  # kept of a descriptor's component, relative to the descriptor's length

Array = NDArray[np.float32]


def exact_pairs(queries: Array, rows: Callable[[NDArray[np.int64]], Array], found: NDArray[np.int64]) -> Array:
    """Exact similarities (q, m) of each query and its own candidates `found` (q, m)."""
    left, left_scale = _whole(queries)
    similarity = np.empty(found.shape, dtype=np.float32)
    for query, ids in enumerate(found):
        right, right_scale = _whole(rows(ids))
        # Too little work to wake BLAS's threads for, and any order of summation gives the same.
        similarity[query] = np.einsum("nd,d->n", right, left[query]) * (left_scale[query] * right_scale)
    return similarity


def exact(queries: Array, gallery: Array) -> Array:
    """Exact similarities (q, n). See `_whole` for why no order of summation can change them."""
    left, left_scale = _whole(queries)
    similarity = np.empty((len(queries), len(gallery)), dtype=np.float32)
    step = max(1, BLOCK // gallery.shape[1])
    for start in range(0, len(gallery), step):
        right, right_scale = _whole(gallery[start : start + step])
        similarity[:, start : start + step] = (left @ right.T) * (left_scale[:, None] * right_scale)
    return similarity


def _whole(descriptors: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows as whole numbers in float64, and the powers of two (n,) that scale them back.

    A scaled row is no longer than 2**(BITS + 0.25), so the terms of an inner product of two, and all their
    partial sums, are whole numbers below 2**53 (Cauchy-Schwarz): float64 adds them without rounding.
    """
    rows = descriptors.astype(np.float64)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    # A quarter of a bit of room, so that unit vectors, a little longer or shorter by rounding, share one scale.
    exponent = np.ceil(np.log2(norms, where=norms > 0, out=np.zeros_like(norms)) - 0.25) - BITS
    scale = np.ldexp(1.0, exponent.astype(np.int64))
    rows /= scale[:, None]
    return np.rint(rows, out=rows), scale


def best_first(similarity: Array, ids: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Each row by descending similarity, then by place: both sorted at once, as one whole number a pair."""
    merged = np.sort(keys(similarity, ids), axis=-1)
    ascending = ~(merged >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ascending >> 31, ascending & np.uint32(0x7FFFFFFF), ~ascending)
    return bits.view(np.float32), (merged & np.uint64(0xFFFFFFFF)).astype(np.int64)


def keys(similarity: Array, ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Whole numbers that ascend as similarities descend, and among equal ones as the images' numbers ascend."""
    bits = (similarity + np.float32(0)).view(np.uint32)  # the sum makes -0 equal 0
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))  # IEEE 754 order as whole numbers
    return (~ascending).astype(np.uint64) << np.uint64(32) | ids.astype(np.uint64)
