"""First stage: exact inner-product search with faiss, whose order does not depend on how it was computed."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError

SLACK = 64  # images retrieved beyond the length asked for, so that rounding cannot lose one
WIDEST = 2048  # longest list asked of faiss, as on a GPU it makes no longer one; beyond it all is sorted
BLOCK = 1 << 20  # numbers worked on at once: 8 MiB of float64
BITS = 26  # kept of a descriptor's component, relative to the descriptor's length

#: What faiss is set to while it searches on the CPU. It leaves BLAS aside below the threshold, which in 1.15 became
#: queries x G < 128,000 (its pull request 5022): ten times slower on a few cores. And it gives BLAS pieces so small
#: that threads which share their cores with others mostly wait for each other.
ON_CPU = {
    "distance_compute_blas_threshold": 20,
    "distance_compute_blas_query_bs": 256,
    "distance_compute_blas_database_bs": 16384,
}

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Shortlist:
    """The N most similar gallery images of each of q queries, best first; equal ones in the gallery's order.

    similarity: (q, N) float32, descending. indices: (q, N) int64, places in the gallery.
    """

    similarity: Array
    indices: NDArray[np.int64]


def search(queries: Array, gallery: Array, length: int | None = None) -> Shortlist:
    """The shortlists of queries (q, G) in a gallery (n, G) by inner product; length None: the whole gallery.

    A similarity depends on its two descriptors alone: not on their places, the number of threads, the BLAS or
    the device. It is the exact inner product of both, each rounded to a 2**-26th of its length. So equal images
    tie, and a tie keeps the gallery's order. faiss, on a GPU where it has one, only narrows the gallery down.
    Raises BenchError when shapes do not fit, a number is not finite, the gallery is empty, or shorter than `length`.
    """
    queries, gallery = _readable(queries, "query"), _readable(gallery, "gallery")
    count = len(gallery)
    _check(queries, gallery, length)
    length = count if length is None else length
    query_norms, limit = _norms(queries, "query"), _norms(gallery, "gallery").max()
    similarity = np.empty((len(queries), length), dtype=np.float32)
    indices = np.empty((len(queries), length), dtype=np.int64)
    # Twice the worst rounding of a float32 inner product of any order of summation (Higham 2002, section 3.1).
    doubt = query_norms * limit * (queries.shape[1] + 8) * 2.0**-23
    pending, width = np.arange(len(queries)), length + SLACK
    while len(pending) and width <= WIDEST and 4 * width < count:
        near, found = _retrieve(queries[pending], gallery, width)
        best, order = _sorted(_exact_pairs(queries[pending], gallery, found), found)
        # An image that was not retrieved is at most as near as the last one that was.
        safe = best[:, length - 1] > near[:, -1] + doubt[pending]
        similarity[pending[safe]], indices[pending[safe]] = best[safe, :length], order[safe, :length]
        pending, width = pending[~safe], 4 * width
    if len(pending):
        every, step = _exact(queries[pending], gallery), max(1, BLOCK // count)
        for start in range(0, len(pending), step):
            best, order = _sorted(every[start : start + step], np.arange(count))
            rows = pending[start : start + step]
            similarity[rows], indices[rows] = best[:, :length], order[:, :length]
    return Shortlist(similarity, indices)


def _readable(descriptors: Array, side: str) -> Array:
    descriptors = np.ascontiguousarray(descriptors, dtype=np.float32)
    if descriptors.ndim != 2 or descriptors.shape[1] == 0:
        raise BenchError(
            f"{side} descriptors of shape {descriptors.shape}",
            wanted="(images, width)",
            cure="Pass the global descriptors, one row an image.",
        )
    return descriptors


def _check(queries: Array, gallery: Array, length: int | None) -> None:
    if len(gallery) == 0:
        raise BenchError("an empty gallery", wanted="at least one image", cure="Check the data set's gallery.")
    if queries.shape[1] != gallery.shape[1]:
        raise BenchError(
            f"query descriptors {queries.shape[1]} wide and gallery descriptors {gallery.shape[1]} wide",
            wanted="one width",
            cure="Extract both sides with the same descriptor.",
        )
    if length is not None and not 1 <= length <= len(gallery):
        raise BenchError(
            f"a shortlist of {length} from a gallery of {len(gallery)} images",
            wanted=f"1 to {len(gallery)}",
            cure="Ask for a shorter list.",
        )


def _norms(descriptors: Array, side: str) -> NDArray[np.float64]:
    """Lengths of the rows (n,); BenchError unless all of them are finite."""
    norms = np.sqrt(np.einsum("nd,nd->n", descriptors, descriptors), dtype=np.float64)
    if not np.isfinite(norms).all():
        bad = np.flatnonzero(~np.isfinite(norms))
        raise BenchError(
            f"{len(bad)} {side} descriptors that are not finite, the first of them number {bad[0]}",
            wanted="finite numbers",
            cure="Extract these images again, or remove them from the data set.",
        )
    return norms


def _retrieve(queries: Array, gallery: Array, width: int) -> tuple[Array, NDArray[np.int64]]:
    """The `width` nearest as faiss finds them: similarities (q, width), descending, and places."""
    if faiss.get_num_gpus() > 0:
        return faiss.knn_gpu(faiss.StandardGpuResources(), queries, gallery, width, metric=faiss.METRIC_INNER_PRODUCT)
    before = {name: getattr(faiss.cvar, name) for name in ON_CPU}
    _set(ON_CPU)
    try:
        return faiss.knn(queries, gallery, width, metric=faiss.METRIC_INNER_PRODUCT)
    finally:
        _set(before)


def _set(values: dict[str, int]) -> None:
    for name, value in values.items():
        setattr(faiss.cvar, name, value)


def _exact_pairs(queries: Array, gallery: Array, found: NDArray[np.int64]) -> Array:
    """Exact similarities (q, m) of each query and its own candidates `found` (q, m)."""
    left, left_scale = _whole(queries)
    similarity = np.empty(found.shape, dtype=np.float32)
    for query, places in enumerate(found):
        right, right_scale = _whole(gallery[places])
        # Too little work to wake BLAS's threads for, and any order of summation gives the same.
        similarity[query] = np.einsum("nd,d->n", right, left[query]) * (left_scale[query] * right_scale)
    return similarity


def _exact(queries: Array, gallery: Array) -> Array:
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


def _sorted(similarity: Array, places: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Each row by descending similarity, then by place: both sorted at once, as one whole number a pair."""
    places = np.broadcast_to(places, similarity.shape)
    bits = (similarity + np.float32(0)).view(np.uint32)  # the sum makes -0 equal 0
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))  # IEEE 754 order as whole numbers
    keys = (~ascending).astype(np.uint64) << np.uint64(32) | places.astype(np.uint64)
    keys.sort(axis=1)
    ascending = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ascending >> 31, ascending & np.uint32(0x7FFFFFFF), ~ascending)
    return bits.view(np.float32), (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
