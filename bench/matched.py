"""A list before and after re-ranking, and which local descriptors of its images match."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bench.datasets.facades import Sights
from bench.datasets.ground_truth import QueryTruth
from bench.errors import BenchError
from bench.features.images import ImageRef, read_colour
from bench.ground import Ground, read
from bench.linked import PROTOCOL, linking, local_reader
from bench.protocols import Policy
from bench.reporting.matches import Pair, Picture
from rerankers import Features
from rerankers.matching import Matching, match


@dataclass(frozen=True)
class Reranked:
    """One query's list, re-ranked.

    images: (k,) in first-stage order. query, candidates: what was read of them. ranks: (k,) afterwards, from 1.
    """

    number: int
    truth: QueryTruth
    images: NDArray[np.int64]
    query: Features
    candidates: Features
    ranks: NDArray[np.int64]

    @property
    def rises(self) -> NDArray[np.int64]:
        """(k,) places gained."""
        return np.arange(1, len(self.images) + 1) - self.ranks

    @property
    def hard(self) -> NDArray[np.int64]:
        """Places of the hard positives, transitive ones among them."""
        return np.flatnonzero(np.isin(self.images, self.truth.hard))

    def named(self, place: int, word: str = "") -> str:
        """What stands over a positive of the list."""
        image, truth = self.images[place], self.truth
        labels = {"transitive": truth.transitive, "easy": truth.easy, "hard": truth.hard}
        label = next(name for name, images in labels.items() if images is not None and image in images)
        return f"{word}positive {image} ({label}): rank {place + 1} → {self.ranks[place]}"


@dataclass(frozen=True)
class Side:
    """One image of a pair: its place in the list, None for the query, and its n real descriptors with positions."""

    place: int | None
    local: torch.Tensor
    xy: NDArray[np.float32]

    @classmethod
    def of(cls, one: Reranked, place: int | None) -> Side:
        features, row = (one.query, 0) if place is None else (one.candidates, place)
        valid = features.valid[row]
        return cls(place, features.local[row][valid], features.xy[row][valid].numpy())


def rerank_all(
    ground: Ground, policy: Policy, number: int | None, *, progress: Callable[[int, int], None]
) -> list[Reranked]:
    """The list of every query, or of one, that has a hard positive among its candidates."""
    reranker = local_reader(ground)
    truths = ground.dataset().truth.truths
    queries, gallery = ground.store("queries"), ground.store("gallery")
    lists = ground.candidates(truths, policy)
    asked, found = range(len(truths)) if number is None else [number], []
    for done, one in enumerate(asked, 1):
        truth, candidates = truths[one], lists[one]
        chosen = candidates.lists[candidates.name_for(PROTOCOL)]
        images = candidates.ids[chosen]
        if np.isin(images, truth.hard).any():
            query = read(queries, np.array([one]), reranker.query_locals, reranker)
            features = read(gallery, images, reranker.candidate_locals, reranker)
            similar = torch.from_numpy(np.ascontiguousarray(candidates.similarity[chosen]))
            ranks = torch.argsort(reranker.rank(query, features, similar)).numpy() + 1
            found.append(Reranked(one, truth, images, query, features, ranks))
        progress(done, len(asked))
    return found


def rises_most(found: Sequence[Reranked], ground: Ground) -> Reranked:
    """The list whose hard positives gain most places on average; BenchError where there is none."""
    if not found:
        raise BenchError(
            f"no hard positive among the first {ground.shortlist} candidates of {ground.dataset_name}",
            wanted="one to be drawn",
            cure="Pass another --query, or a longer --shortlist.",
        )
    return max(found, key=lambda one: float(one.rises[one.hard].mean()))


def pairs(one: Reranked, images: Mapping[str, Sequence[ImageRef]], folder: Path) -> list[Pair]:
    """What is drawn: the query with its hard positive that rose most, then either with the positive that links them.

    Where no image does, or nobody knows what images show together: with the best-ranked other positive, if any.
    """
    risen = int(one.hard[np.argmax(one.rises[one.hard])])
    link, word = _link(one, folder, risen), "linking "
    if link is None:
        positive = np.flatnonzero(np.isin(one.images, np.concatenate([one.truth.easy, one.truth.hard])))
        others = positive[positive != risen]
        link, word = (int(others[np.argmin(one.ranks[others])]) if len(others) else None), ""
    query = Side.of(one, None), Picture(f"query {one.number}", _pixels(images["queries"][one.number]))
    best, *other = [
        (Side.of(one, place), Picture(one.named(place, said), _pixels(images["gallery"][one.images[place]])))
        for place, said in ((risen, ""), (link, word))
        if place is not None
    ]
    shown = [(query, best), *((query, third) for third in other), *((third, best) for third in other)]
    return [Pair(left, right, *matched(a, b)) for (a, left), (b, right) in shown]


def matched(left: Side, right: Side) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mutual nearest neighbours: positions (p, 2) in either image, and cosines (p,)."""
    everything = torch.ones(1, len(right.local), dtype=torch.bool)
    (found,) = match(left.local, right.local[None], everything, Matching(mutual=True))
    a, b = found.T
    cosines = (F.normalize(left.local[a], dim=1) * F.normalize(right.local[b], dim=1)).sum(dim=1)
    return left.xy[a], right.xy[b], cosines.numpy()


def _pixels(image: ImageRef) -> NDArray[np.uint8]:
    """(h, w, 3) in RGB."""
    return read_colour(image)[..., ::-1]


def _link(one: Reranked, folder: Path, risen: int) -> int | None:
    try:
        sights = Sights.read(folder)
    except BenchError:
        return None
    return linking(sights, one.number, one.truth, one.images, risen)
