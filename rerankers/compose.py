"""Re-rankers made of re-rankers."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rerankers.errors import RerankError
from rerankers.interface import Features, Flops, Given, Reranker, best_first

log = logging.getLogger(__name__)

SCHEDULES = ("start-to-end", "end-to-start", "start-to-end-to-start", "end-to-start-to-end")


class _Over(Reranker):
    """Another sort key over the scores of a re-ranker."""

    def __init__(self, reranker: Reranker) -> None:
        self.reranker = reranker
        self.needs, self.kind, self.uncounted = reranker.needs, reranker.kind, reranker.uncounted
        self.scored = reranker.scored
        self.query_locals, self.candidate_locals = reranker.query_locals, reranker.candidate_locals
        self.dtype, self.window = reranker.dtype, reranker.window

    @abstractmethod
    def joined(self, similarity: Tensor, score: Tensor) -> Tensor:
        """Sort key of the shape of `similarity` and `score`."""

    def score(self, query: Features, candidates: Features) -> Tensor:
        return self.reranker.score(query, candidates)

    def scores(self, lists: Sequence[tuple[Features, Features]]) -> list[Tensor]:
        return self.reranker.scores(lists)

    def sort_key(self, query: Features, candidates: Features, similarity: Tensor) -> Tensor:
        return self.joined(similarity, self.score(query, candidates))

    def sort_keys(self, lists: Sequence[Given]) -> list[Tensor]:
        scores = self.scores([(query, candidates) for query, candidates, _ in lists])
        return [self.joined(similarity, score) for (_, _, similarity), score in zip(lists, scores, strict=True)]

    def closed_form(self, query: Features, candidates: Features) -> Flops | None:
        return self.reranker.closed_form(query, candidates)

    def module(self) -> torch.nn.Module | None:
        return self.reranker.module()


class Blend(_Over):
    """weight * similarity + (1 - weight) * sigmoid(temperature * score).

    The weight belongs to the first-stage similarity: 1 keeps the first-stage order, 0 trusts the scores alone.
    Source: the official evaluators of AMES (ECCV 2024) and LOCORE (CVPR 2025).
    """

    def __init__(self, reranker: Reranker, *, weight: float, temperature: float) -> None:
        if not 0 <= weight <= 1 or not 0 <= temperature < float("inf"):
            raise RerankError(
                f"blend weight {weight} and temperature {temperature}",
                wanted="a weight from 0 to 1 and a finite temperature of at least 0",
                cure="The published grid is 0, 0.1, ..., 1 for both.",
            )
        super().__init__(reranker)
        self.weight, self.temperature = weight, temperature

    def joined(self, similarity: Tensor, score: Tensor) -> Tensor:
        return fuse(similarity, score, weight=self.weight, temperature=self.temperature)


class Sum(_Over):
    """similarity + ratio * score.

    Source: the official evaluator of CVNet (CVPR 2022), with a ratio of 0.5.
    """

    def __init__(self, reranker: Reranker, *, ratio: float) -> None:
        if not 0 <= ratio < float("inf"):
            raise RerankError(
                f"a sum with {ratio} of the score", wanted="a finite ratio of at least 0", cure="CVNet's is 0.5."
            )
        super().__init__(reranker)
        self.ratio = ratio

    def joined(self, similarity: Tensor, score: Tensor) -> Tensor:
        return similarity + self.ratio * score


class _Ordered(Reranker):
    """A re-ranker that gives an order without scores: an image's key is minus its final rank.

    List-wise whatever it is made of, for a rank depends on the other candidates.
    """

    kind = "list-wise"
    scored = False

    @abstractmethod
    def orders(self, lists: Sequence[Given]) -> list[Tensor]:
        """Positions (k,) of every list's candidates, best first."""

    def score(self, query: Features, candidates: Features) -> Tensor:
        raise RerankError(
            f"scores of a {type(self).__name__}",
            wanted="an order, which first-stage similarities have a part in",
            cure="Call `ranking`.",
        )

    def sort_key(self, query: Features, candidates: Features, similarity: Tensor) -> Tensor:
        return self.sort_keys([(query, candidates, similarity)])[0]

    def sort_keys(self, lists: Sequence[Given]) -> list[Tensor]:
        return [-torch.argsort(order).float() for order in self.orders(lists)]


@dataclass(frozen=True)
class Windows:
    """Windows of `window` places, `stride` apart, over the first `length` candidates, in the order of a schedule.

    RerankError where they cannot be.
    """

    length: int = 400
    window: int = 100
    stride: int = 50
    schedule: str = "end-to-start"

    def __post_init__(self) -> None:
        if self.length < 1 or not 1 <= self.stride <= self.window or self.schedule not in SCHEDULES:
            raise RerankError(
                f"windows of {self.window}, {self.stride} apart, over {self.length} candidates, {self.schedule}",
                wanted=f"at least one candidate, a stride from 1 to the window, and one of {', '.join(SCHEDULES)}",
                cure="Published: windows of 100, 50 apart, over 400 candidates, end-to-start.",
            )

    def __str__(self) -> str:
        schedule = "" if self.schedule == Windows.schedule else f"/{self.schedule}"
        return f"{self.length}/{self.window}/{self.stride}{schedule}"

    def places(self, count: int) -> list[slice]:
        """The windows over a list of `count` candidates, in turn; a short list may be a single window."""
        length = min(self.length, count)
        window = min(self.window, length)
        return [slice(start, start + window) for start in starts(length, window, self.stride, self.schedule)]

    @property
    def unseen(self) -> int:
        """How many of `length` candidates lie in no window."""
        return self.length - len({place for one in self.places(self.length) for place in range(one.start, one.stop)})


class Slide(_Ordered):
    """Sliding windows: each re-ranks the images that are then in its places, over the order that those before it left.

    The re-ranker inside sorts the windows; a blend fuses an image with that image's own first-stage similarity. Images
    behind `length` keep their place. The windows of several lists go in step: the i-th of each are ranked together.
    Source: the official evaluator of LOCORE (CVPR 2025).
    """

    def __init__(
        self,
        reranker: Reranker,
        *,
        length: int = 400,
        window: int = 100,
        stride: int = 50,
        schedule: str = "end-to-start",
    ) -> None:
        self.windows = Windows(length, window, stride, schedule)
        if reranker.window is not None and reranker.window < window:
            raise RerankError(
                f"windows of {window} for a re-ranker that sees {reranker.window} candidates at once",
                wanted="windows that it can see",
                cure=f"Slide windows of at most {reranker.window}.",
            )
        if unseen := self.windows.unseen:
            log.warning("windows %s never see %d of %d candidates", self.windows, unseen, length)
        self.reranker, self.window = reranker, length
        self.needs, self.uncounted, self.dtype = reranker.needs, reranker.uncounted, reranker.dtype
        self.query_locals, self.candidate_locals = reranker.query_locals, reranker.candidate_locals

    def orders(self, lists: Sequence[Given]) -> list[Tensor]:
        orders = [torch.arange(len(similarity), device=similarity.device) for _, _, similarity in lists]
        turns = [self.windows.places(len(order)) for order in orders]
        for turn in range(max(map(len, turns))):
            moving = [(one, places[turn]) for one, places in enumerate(turns) if turn < len(places)]
            now = [orders[one][places] for one, places in moving]
            keys = self.reranker.keys(
                [_taken(lists[one], images) for (one, _), images in zip(moving, now, strict=True)]
            )
            for (one, places), images, key in zip(moving, now, keys, strict=True):
                orders[one][places] = images[best_first(key)]
        return orders

    def closed_form(self, query: Features, candidates: Features) -> Flops | None:
        """The sum over all windows. Shapes are taken from the images that are in its places at first."""
        windows = self.windows.places(len(candidates))
        return _added([self.reranker.closed_form(query, candidates[places]) for places in windows])

    def module(self) -> torch.nn.Module | None:
        return self.reranker.module()


class Chain(_Ordered):
    """The first orders the candidates, the second re-ranks that order.

    The second sees the images in the first's order, each with its own first-stage similarity, which so no longer
    descends: in a blend, the weight belongs to the first stage and not to the first re-ranker.
    """

    def __init__(self, first: Reranker, second: Reranker) -> None:
        self.first, self.second = first, second
        parts = (first, second)
        self.needs = tuple(dict.fromkeys((*first.needs, *second.needs)))
        self.uncounted = "; ".join(dict.fromkeys(part.uncounted for part in parts if part.uncounted)) or None
        local = [part for part in parts if "local" in part.needs]
        self.query_locals = _most([part.query_locals for part in local])
        self.candidate_locals = _most([part.candidate_locals for part in local])
        self.window = _most([part.window for part in parts])
        self.dtype = first.dtype

    def orders(self, lists: Sequence[Given]) -> list[Tensor]:
        orders = [best_first(key) for key in self.first.keys(lists)]
        keys = self.second.keys([_taken(one, order) for one, order in zip(lists, orders, strict=True)])
        return [order[best_first(key)] for order, key in zip(orders, keys, strict=True)]

    def closed_form(self, query: Features, candidates: Features) -> Flops | None:
        """The sum of both. Shapes are taken from the first-stage order."""
        return _added([part.closed_form(*part.cut(query, candidates)) for part in (self.first, self.second)])

    def module(self) -> torch.nn.Module | None:
        networks = [network for part in (self.first, self.second) if (network := part.module()) is not None]
        return torch.nn.ModuleList(networks) if len(networks) > 1 else next(iter(networks), None)


def fuse(similarity: Tensor, score: Tensor, *, weight: float, temperature: float) -> Tensor:
    """Blended scores, of the shape of `similarity` and `score`. See Blend."""
    return weight * similarity + (1 - weight) * torch.sigmoid(temperature * score)


def starts(length: int, window: int, stride: int, schedule: str) -> list[int]:
    """Where the windows start, in turn, over `length` candidates.

    Those of the official evaluator of LOCORE (CVPR 2025) where it runs: gaps and a window that is seen twice in turn
    are kept. Where it stops because a window is not full, that window is moved inside the list. A list of a single
    window has that one under every schedule.
    """
    last = max(length - window, 0)
    there = list(dict.fromkeys(min(start, last) for start in range(0, max(length - stride, 1), stride)))
    back = list(dict.fromkeys(max(start, 0) for start in range(last, -stride, -stride)))
    return {
        "start-to-end": there,
        "end-to-start": back,
        "start-to-end-to-start": there + back[1:],
        "end-to-start-to-end": back + there[1:],
    }[schedule]


def _taken(one: Given, images: Tensor) -> Given:
    """A list with the images at these positions, in this order."""
    query, candidates, similarity = one
    return query, candidates[images], similarity[images]


def _most(limits: Sequence[int | None]) -> int | None:
    """The larger limit; None where one has no limit, or there is none."""
    known = [limit for limit in limits if limit is not None]
    return max(known) if known and len(known) == len(limits) else None


def _added(forms: Sequence[Flops | None]) -> Flops | None:
    known = [form for form in forms if form is not None]
    if len(known) < len(forms):
        return None
    return Flops(sum(form.executed for form in known), sum(form.algorithmic for form in known))
