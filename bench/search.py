"""First stage: exact inner-product search with faiss, whose order does not depend on how it was computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import BenchError
from bench.exact import BLOCK, best_first, exact, exact_pairs, keys

SLACK = 64  # images retrieved beyond the length asked for, so that rounding cannot lose one
WIDEST = 2048  # longest list asked of faiss, as on a GPU it makes no longer one; beyond it all is sorted
BLOCK_BYTES = 1 << 28  # of descriptors read at once; with smaller blocks faiss sorts more
WHOLE = 1 << 26  # similarities of whole lists held at once

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


@runtime_checkable
class Stored(Protocol):
    """A gallery (n, G) that is read a part at a time, such as bench.features' GlobalStore."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def block(self, start: int, stop: int) -> Array:
        """Descriptors (stop - start, G); read before the next block is asked for."""

    def rows(self, ids: NDArray[np.int64]) -> Array:
        """Descriptors (m, G) of the images `ids` (m,)."""


def search(queries: Array, gallery: Array | Stored, length: int | None = None) -> Shortlist:
    """The shortlists of queries (q, G) in a gallery (n, G) by inner product; length None: the whole gallery.

    A similarity depends on its two descriptors alone: not on their places, the number of threads, the BLAS or
    the device. It is the exact inner product of both, each rounded to a 2**-26th of its length. So equal images
    tie, and a tie keeps the gallery's order. faiss, on a GPU where it has one, only narrows the gallery down, a block
    at a time: of a stored gallery no more than a block is in memory.
    Raises BenchError when shapes do not fit, a number is not finite, the gallery is empty, or shorter than `length`.
    """
    queries, gallery = _readable(queries, "query"), _stored(gallery)
    count = gallery.shape[0]
    length = count if length is None else length
    _check(queries, gallery, length)
    _norms(queries, "query")
    similarity = np.empty((len(queries), length), dtype=np.float32)
    indices = np.empty((len(queries), length), dtype=np.int64)
    pending, width = np.arange(len(queries)), length + SLACK
    while len(pending) and width <= WIDEST and 4 * width < count:
        bound, found = _narrowed(queries[pending], gallery, width)
        best, order = best_first(exact_pairs(queries[pending], gallery.rows, found), found)
        safe = best[:, length - 1] > bound
        similarity[pending[safe]], indices[pending[safe]] = best[safe, :length], order[safe, :length]
        pending, width = pending[~safe], 4 * width
    step = max(1, WHOLE // count)
    for start in range(0, len(pending), step):
        rows = pending[start : start + step]
        similarity[rows], indices[rows] = _whole_lists(queries[rows], gallery, length)
    return Shortlist(similarity, indices)


def places(queries: Array, gallery: Array | Stored, images: Sequence[ArrayLike]) -> list[NDArray[np.int64]]:
    """Where the gallery images `images[i]` (m_i,) stand in the whole list of query i, from 0: int64 arrays (m_i,).

    They stand where `search` with length None puts them, but no whole list is held: the gallery is read once,
    a block at a time. Raises BenchError as `search` does, and for an image that the gallery does not have.
    """
    queries, gallery = _readable(queries, "query"), _stored(gallery)
    _check(queries, gallery, gallery.shape[0])
    _norms(queries, "query")
    asked = [_asked(one, gallery.shape[0]) for one in images]
    if len(asked) != len(queries):
        raise BenchError(
            f"images of {len(asked)} queries, and {len(queries)} queries", wanted="as many", cure="Pass a list a query."
        )
    own = [exact_pairs(queries[i : i + 1], gallery.rows, ids[None]) for i, ids in enumerate(asked)]
    wanted = [keys(similarity[0], ids) for similarity, ids in zip(own, asked, strict=True)]
    found = [np.zeros(len(ids), dtype=np.int64) for ids in asked]
    for start, block, _ in _blocks(gallery, len(queries)):
        ids = np.arange(start, start + len(block))
        for query, row in enumerate(exact(queries, block)):
            found[query] += np.searchsorted(np.sort(keys(row, ids)), wanted[query])  # those of the block before them
    return found


def _readable(descriptors: Array, side: str) -> Array:
    descriptors = np.ascontiguousarray(descriptors, dtype=np.float32)
    if descriptors.ndim != 2 or descriptors.shape[1] == 0:
        raise BenchError(
            f"{side} descriptors of shape {descriptors.shape}",
            wanted="(images, width)",
            cure="Pass the global descriptors, one row an image.",
        )
    return descriptors


@dataclass(frozen=True)
class _InMemory:
    """An array as a stored gallery."""

    array: Array

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.array), self.array.shape[1]

    def block(self, start: int, stop: int) -> Array:
        return self.array[start:stop]

    def rows(self, ids: NDArray[np.int64]) -> Array:
        return self.array[ids]


def _stored(gallery: Array | Stored) -> Stored:
    return gallery if isinstance(gallery, Stored) else _InMemory(_readable(gallery, "gallery"))


def _check(queries: Array, gallery: Stored, length: int) -> None:
    count, width = gallery.shape
    if count == 0:
        raise BenchError("an empty gallery", wanted="at least one image", cure="Check the data set's gallery.")
    if queries.shape[1] != width:
        raise BenchError(
            f"query descriptors {queries.shape[1]} wide and gallery descriptors {width} wide",
            wanted="one width",
            cure="Extract both sides with the same descriptor.",
        )
    if not 1 <= length <= count:
        raise BenchError(
            f"a shortlist of {length} from a gallery of {count} images",
            wanted=f"1 to {count}",
            cure="Ask for a shorter list.",
        )


def _asked(images: ArrayLike, count: int) -> NDArray[np.int64]:
    asked = np.asarray(images, dtype=np.int64).ravel()
    if asked.size and not 0 <= asked.min() <= asked.max() < count:
        raise BenchError(
            f"the places of images {asked.min()} to {asked.max()}",
            wanted=f"images 0 to {count - 1}, for the gallery has {count}",
            cure="Check that the ground truth and the descriptors belong to one data set.",
        )
    return asked


def _blocks(gallery: Stored, queries: int) -> Iterator[tuple[int, Array, float]]:
    """The gallery in blocks, each with the number of its first image and the length of its longest row.

    A block of similarities to so many queries is no larger. Raises BenchError for numbers that are not finite.
    """
    count, width = gallery.shape
    step = max(1, BLOCK_BYTES // (4 * max(width, queries)))
    for start in range(0, count, step):
        block = np.ascontiguousarray(gallery.block(start, min(start + step, count)), dtype=np.float32)
        yield start, block, float(_norms(block, "gallery", start).max())


def _norms(descriptors: Array, side: str, start: int = 0) -> NDArray[np.float64]:
    """Lengths of the rows (n,), of which the first has the number `start`; BenchError unless all are finite."""
    squares = np.empty(len(descriptors), dtype=np.float32)
    pointers = faiss.swig_ptr(squares), faiss.swig_ptr(descriptors)
    faiss.fvec_norms_L2sqr(*pointers, descriptors.shape[1], len(squares))  # type: ignore[attr-defined]  # of C++
    if not np.isfinite(squares).all():
        bad = np.flatnonzero(~np.isfinite(squares))
        raise BenchError(
            f"{len(bad)} {side} descriptors that are not finite, the first of them number {start + bad[0]}"
            f" (read so far: {start + len(descriptors):,})",
            wanted="finite numbers",
            cure="Extract these images again, or remove them from the data set.",
        )
    return np.sqrt(squares, dtype=np.float64)


def _narrowed(queries: Array, gallery: Stored, width: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Places (q, width) of the nearest as faiss finds them, and the bound (q,) on the similarity of all others."""
    near = np.empty((len(queries), 0), dtype=np.float32)
    found, longest = np.empty((len(queries), 0), dtype=np.int64), 0.0
    resources = faiss.StandardGpuResources() if faiss.get_num_gpus() > 0 else None
    for start, block, longest_here in _blocks(gallery, len(queries)):
        longest = max(longest, longest_here)
        nearer, there = _retrieve(queries, block, min(width, len(block)), resources)
        near, found = np.hstack([near, nearer]), np.hstack([found, there + start])
        if near.shape[1] > width:
            kept = np.argpartition(-near, width - 1, axis=1)[:, :width]
            near, found = np.take_along_axis(near, kept, axis=1), np.take_along_axis(found, kept, axis=1)
    # Twice the worst rounding of a float32 inner product of any order of summation (Higham 2002, section 3.1).
    doubt = _norms(queries, "query") * longest * (queries.shape[1] + 8) * 2.0**-23
    return near.min(axis=1) + doubt, found


def _whole_lists(queries: Array, gallery: Stored, length: int) -> tuple[Array, NDArray[np.int64]]:
    """The first `length` of the exact lists of the whole gallery."""
    every = np.empty((len(queries), gallery.shape[0]), dtype=np.float32)
    for start, block, _ in _blocks(gallery, len(queries)):
        every[:, start : start + len(block)] = exact(queries, block)
    similarity = np.empty((len(queries), length), dtype=np.float32)
    indices = np.empty((len(queries), length), dtype=np.int64)
    step = max(1, BLOCK // every.shape[1])
    for start in range(0, len(queries), step):
        best, order = best_first(every[start : start + step], np.arange(every.shape[1]))
        similarity[start : start + step], indices[start : start + step] = best[:, :length], order[:, :length]
    return similarity, indices


def _retrieve(queries: Array, block: Array, width: int, resources: Any) -> tuple[Array, NDArray[np.int64]]:
    """The `width` nearest as faiss finds them: similarities (q, width) and places. resources: of a GPU, or None."""
    if resources is not None:
        return faiss.knn_gpu(resources, queries, block, width, metric=faiss.METRIC_INNER_PRODUCT)
    before = {name: getattr(faiss.cvar, name) for name in ON_CPU}
    _set(ON_CPU)
    try:
        return faiss.knn(queries, block, width, metric=faiss.METRIC_INNER_PRODUCT)
    finally:
        _set(before)


def _set(values: dict[str, int]) -> None:
    for name, value in values.items():
        setattr(faiss.cvar, name, value)
