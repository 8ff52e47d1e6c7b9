"""Which entries of the ranked lists are relevant: by lists of images, or by classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import BenchError
from bench.metrics.ranks import checked


def by_images(ranks: ArrayLike, images: Sequence[ArrayLike]) -> np.ndarray:
    """(queries, depth) bool: whether an entry is among the images named for its query.

    ranks: (queries, depth) gallery indices, negative = none. images: one list of gallery indices per query.
    """
    lists = checked(ranks)
    if len(images) != len(lists):
        raise BenchError(
            f"{len(images)} lists of relevant images for {len(lists)} ranked lists",
            wanted="one for each query",
            cure="Evaluate ranks and ground truth of the same queries.",
        )
    named = [np.asarray(one, dtype=np.int64).reshape(-1) for one in images]
    flat = np.concatenate([*named, np.empty(0, dtype=np.int64)])
    if flat.size == 0 or lists.size == 0:
        return np.zeros(lists.shape, dtype=bool)
    if flat.min() < 0:
        raise BenchError(
            f"relevant image {flat.min()}", wanted="gallery indices from 0", cure="Drop the padding of the lists."
        )
    # One number for each (query, image), so that a single look-up serves all queries; the spare number is -1's.
    span = int(max(flat.max(), lists.max())) + 2
    owner = np.repeat(np.arange(len(named)), [len(one) for one in named])
    entries = np.maximum(lists.astype(np.int64), -1) + span * np.arange(len(lists))[:, None]
    return np.isin(entries, flat + span * owner, kind="sort")


def by_class(ranks: ArrayLike, query_classes: ArrayLike, gallery_classes: ArrayLike) -> np.ndarray:
    """(queries, depth) bool: whether an entry has the class of its query.

    ranks: (queries, depth) gallery indices, negative = none; query_classes (queries,); gallery_classes (gallery,).
    """
    lists, wanted, known = checked(ranks), np.asarray(query_classes), np.asarray(gallery_classes)
    if wanted.shape != lists.shape[:1] or known.ndim != 1 or (lists.size and lists.max() >= known.size):
        raise BenchError(
            f"ranks {lists.shape} up to {lists.max(initial=-1)} with classes {wanted.shape} and {known.shape}",
            wanted="a class for each query and each gallery image",
            cure="Pass the classes of the ranked queries and of the whole gallery.",
        )
    if lists.size == 0:
        return np.zeros(lists.shape, dtype=bool)
    found: np.ndarray = (known[lists] == wanted[:, None]) & (lists >= 0)
    return found


def class_sizes(query_classes: ArrayLike, gallery_classes: ArrayLike) -> np.ndarray:
    """(queries,) int64: gallery images of each query's class, the query itself included where it is one of them."""
    wanted, known = np.asarray(query_classes), np.asarray(gallery_classes)
    return np.searchsorted(in_order := np.sort(known), wanted, side="right") - np.searchsorted(in_order, wanted)


def without(relevant: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """`relevant` with the ignored entries taken out, what is behind them moved up, and False at the end.

    Both (queries, depth) bool, and so is the result.
    """
    kept_first = np.argsort(ignored, axis=1, kind="stable")
    return np.take_along_axis(relevant & ~ignored, kept_first, axis=1)


def checked_pair(relevant: ArrayLike, positives: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Relevance (queries, depth) bool and the number of positives (queries,) of each query, or BenchError."""
    hits, counts = np.asarray(relevant), np.asarray(positives)
    fits = hits.ndim == 2 and hits.dtype == np.bool_ and counts.shape == hits.shape[:1] and counts.dtype.kind in "iu"
    if not fits or counts.min(initial=0) < 0:
        raise BenchError(
            f"relevance {hits.shape} {hits.dtype} with positives {counts.shape} {counts.dtype}",
            wanted="bool (queries, depth) and counts from 0 (queries,)",
            cure="Make the relevance with bench.metrics.relevance.",
        )
    return hits, counts
