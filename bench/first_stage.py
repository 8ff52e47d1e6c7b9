"""First-stage lists of all queries: their heads, and where the labelled images stand behind the heads.

A re-ranker sees the head of a list. Average precision needs to know where the labelled images stand in all of it, and
no more: so a gallery of a million images costs a list of some hundreds, and is evaluated exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import npz
from bench.datasets import Dataset, Task
from bench.datasets.ground_truth import QueryTruth
from bench.errors import BenchError
from bench.features.store import DescriptorStore
from bench.files import replacing
from bench.metrics.revisited import Tail
from bench.search import places, search

#: Lists of all queries that are kept whole: so many entries in all.
WHOLE = 1 << 24
#: What metrics at 100 look at.
DEEPEST_CUT = 100
#: What is saved, with kind and dimensions.
_SAVED = {
    **{"whole": ("b", 0), "indices": ("i", 2), "similarity": ("f", 2)},
    **dict.fromkeys(("images", "places", "lengths", "depths"), ("i", 1)),
}


@dataclass(frozen=True, eq=False)
class FirstStage:
    """indices, similarity: (queries, head), best first. tails: of each query, what is behind; None for whole lists."""

    indices: NDArray[np.int64]
    similarity: NDArray[np.float32]
    tails: tuple[Tail, ...] | None = None

    @classmethod
    def searched(
        cls, dataset: Dataset, queries: DescriptorStore, gallery: DescriptorStore, *, shortlist: int
    ) -> FirstStage:
        """Exact lists by the inner product of global descriptors."""
        if queries.global_ is None or gallery.global_ is None:
            raise BenchError(
                f"no global descriptors of {dataset.name}",
                wanted="those of queries and gallery, or lists of nearest neighbours",
                cure="Pass --globals NAME or --neighbours FILE, or extract them with bench.extract.",
            )
        truths, asked = dataset.truth.truths, queries.global_.array()
        head = head_length(dataset, len(gallery), shortlist)
        found = search(asked, gallery.global_, head)
        if head == len(gallery) or dataset.task is not Task.REVISITED:
            return cls(found.indices, found.similarity)
        behind = [np.setdiff1d(_labelled(truth), row) for truth, row in zip(truths, found.indices, strict=True)]
        stand = places(asked, gallery.global_, behind)
        tails = tuple(_tail(images, where, len(gallery)) for images, where in zip(behind, stand, strict=True))
        return cls(found.indices, found.similarity, tails)

    @classmethod
    def published(
        cls, dataset: Dataset, similarity: NDArray[np.float32], indices: NDArray[np.int64], *, shortlist: int
    ) -> FirstStage:
        """Lists that others have made, (queries, N). Labelled images that they do not have count as not retrieved."""
        depth = indices.shape[1]
        head = head_length(dataset, depth, shortlist)
        tails = []
        for truth, row in zip(dataset.truth.truths, indices, strict=True):
            where = head + np.flatnonzero(np.isin(row[head:], _labelled(truth)))
            tails.append(Tail(row[where], where, depth))
        return cls(indices[:, :head].copy(), similarity[:, :head].copy(), tuple(tails))

    def save(self, path: Path) -> None:
        """Writes it, whole or not at all."""
        tails = self.tails or ()
        behind: dict[str, NDArray[Any]] = {
            "whole": np.array(self.tails is None),
            "images": np.concatenate([np.empty(0, np.int64), *(tail.images for tail in tails)]),
            "places": np.concatenate([np.empty(0, np.int64), *(tail.places for tail in tails)]),
            "lengths": np.array([len(tail.images) for tail in tails], dtype=np.int64),
            "depths": np.array([tail.depth for tail in tails], dtype=np.int64),
        }
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez(file, indices=self.indices, similarity=self.similarity, allow_pickle=False, **behind)

    @classmethod
    def load(cls, path: Path) -> FirstStage:
        """What `save` wrote; BenchError for anything else."""
        cure = "Delete it: it is made again."
        stored = npz.read(path, _SAVED, cure=cure)
        indices, similarity, lengths, depths = (stored[name] for name in ("indices", "similarity", "lengths", "depths"))
        images, stand = stored["images"], stored["places"]
        behind = (0 if stored["whole"] else len(indices),)
        if (
            not (indices.shape == similarity.shape and lengths.shape == depths.shape == behind)
            or lengths.min(initial=0) < 0
            or not len(images) == len(stand) == sum(lengths.tolist())
        ):
            raise BenchError(f"lists of different lengths in {path}", wanted="those of one search", cure=cure)
        if stored["whole"]:
            return cls(indices, similarity)
        cuts = np.cumsum(lengths)[:-1]
        tails = map(Tail, np.split(images, cuts), np.split(stand, cuts), depths.tolist())
        return cls(indices, similarity, tuple(tails))


def head_length(dataset: Dataset, gallery: int, shortlist: int) -> int:
    """How many images of a list are kept: candidates and what metrics look at, however junk and easy images lie."""
    truths = dataset.truth.truths
    if dataset.task is Task.REVISITED and len(truths) * gallery <= WHOLE:
        return gallery
    labelled = max((len(_labelled(truth)) for truth in truths), default=0)
    return min(gallery, max(shortlist, DEEPEST_CUT) + labelled)


def _labelled(truth: QueryTruth) -> NDArray[np.int64]:
    return np.concatenate([truth.easy, truth.hard, truth.junk])


def _tail(images: Sequence[int] | NDArray[np.int64], where: NDArray[np.int64], depth: int) -> Tail:
    order = np.argsort(where)
    return Tail(np.asarray(images, dtype=np.int64)[order], where[order], depth)
