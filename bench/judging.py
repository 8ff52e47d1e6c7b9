"""What re-ranked lists earn, by the task of their data set: figures, and series with a value for each query."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.datasets import Dataset, Task
from bench.datasets.ground_truth import QueryTruth
from bench.metrics import gldv2, map_at_k, map_at_r, recall_at_k, relevance, revisited
from bench.metrics.revisited import Tail
from bench.metrics.scores import mean_defined
from bench.protocols import HARD_STAR, STANDARD, CandidateList

CUT = 100
RECALLS = (1, 10, 100)

Figures = dict[str, float]
Series = dict[str, list[float | int | None]]
Orders = Sequence[Mapping[str, Sequence[int]]]


@dataclass(frozen=True)
class Reranked:
    """All queries of a data set, re-ranked.

    lists: the candidates. orders: of each query, its lists' positions in their new order. tails: see FirstStage.
    """

    dataset: Dataset
    lists: Sequence[CandidateList]
    orders: Orders
    tails: Sequence[Tail] | None = None

    @property
    def truths(self) -> Sequence[QueryTruth]:
        return self.dataset.truth.truths

    def whole(self, protocol: str) -> NDArray[np.int64]:
        """The final lists (queries, depth) of image ids that a protocol evaluates; -1 fills the shorter ones."""
        rows = [
            one.merged(np.array(order[one.name_for(protocol)], dtype=np.int64), hard_star=protocol == HARD_STAR)
            for one, order in zip(self.lists, self.orders, strict=True)
        ]
        filled = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int64)
        for place, row in zip(filled, rows, strict=True):
            place[: len(row)] = row
        return filled

    def beyond(self, protocol: str) -> list[Tail] | None:
        """What lies behind those lists: under hard*, easy images have left them."""
        if self.tails is None or protocol != HARD_STAR:
            return None if self.tails is None else list(self.tails)
        return [
            Tail(tail.images, tail.places - one.easy.sum(), tail.depth - int(one.easy.sum()))
            for tail, one in zip(self.tails, self.lists, strict=True)
        ]

    def positives(self, protocol: str, labels: Sequence[str]) -> list[float | int | None]:
        """How many images with these labels the first stage put among the candidates that a protocol evaluates."""
        counts: list[float | int | None] = []
        for one, truth in zip(self.lists, self.truths, strict=True):
            right = np.concatenate([getattr(truth, label) for label in labels])
            counts.append(int(np.isin(one.ids[one.lists[one.name_for(protocol)]], right).sum()))
        return counts


def judge(reranked: Reranked) -> dict[str, Any]:
    """Figures (means; NaN where no query counts) and series (None for a query that does not count)."""
    figures, series = JUDGES[reranked.dataset.task](reranked)
    return {"figures": figures, "series": series}


def _revisited(given: Reranked) -> tuple[Figures, Series]:
    """mAP and precision under every protocol, with both official divisors."""
    figures: Figures = {}
    series: Series = {}
    for protocol, roles in revisited.PROTOCOLS.items():
        name = protocol.replace("*", "_star")
        whole, beyond = given.whole(name), given.beyond(name)
        for divisor in revisited.DIVISORS:
            found = revisited.evaluate(whole, given.truths, protocols=(protocol,), divisor=divisor, beyond=beyond)
            earned = found[protocol]
            if divisor != "revisitop":
                figures[f"map_{name}_{divisor}_divisor"] = float(earned.map)
                continue
            figures[f"map_{name}"] = float(earned.map)
            figures |= {f"precision_at_{k}_{name}": float(value) for k, value in earned.precision_at.items()}
            series[f"ap_{name}"] = _plain(earned.per_query_ap)
        series[f"positives_in_shortlist_{name}"] = given.positives(name, roles.positive)
    if any(truth.transitive is not None for truth in given.truths):
        truths = [_transitive(truth) for truth in given.truths]
        found = revisited.evaluate(given.whole("hard"), truths, protocols=("hard",), beyond=given.beyond("hard"))
        figures["map_transitive"] = float(found["hard"].map)
        series["ap_transitive"] = _plain(found["hard"].per_query_ap)
    return figures, series


def _transitive(truth: QueryTruth) -> QueryTruth:
    """The truth under which only transitive positives count: all other positives are ignored."""
    hard = np.array([], dtype=np.int64) if truth.transitive is None else truth.transitive
    ignored = np.concatenate([truth.junk, np.setdiff1d(truth.hard, hard)])
    return QueryTruth(easy=truth.easy, hard=hard, junk=ignored)


def _landmarks(given: Reranked) -> tuple[Figures, Series]:
    """mAP@100 of all queries, the public ones and the private ones."""
    found = gldv2.evaluate(
        given.whole(STANDARD)[:, :CUT], [truth.hard for truth in given.truths], private=given.dataset.private
    )
    aps = _plain(found.per_query_ap)
    split = len(aps) - given.dataset.private
    series: Series = {"ap_at_100": aps, **_shortlisted(given)}
    series["ap_public"] = [ap if query < split else None for query, ap in enumerate(aps)]
    series["ap_private"] = [ap if query >= split else None for query, ap in enumerate(aps)]
    return {"map_at_100": found.map, "map_public": found.public_map, "map_private": found.private_map}, series


def _instances(given: Reranked) -> tuple[Figures, Series]:
    """mAP@100 and recall, junk taken out of the lists."""
    relevant, counts = _relevant(given)
    return _scored(given, {"ap_at_100": _at_100(relevant, counts)} | _recalls(relevant, counts))


def _classes(given: Reranked) -> tuple[Figures, Series]:
    """Recall, mAP@R in both readings, and mAP@100; over the queries that have a positive."""
    relevant, counts = _relevant(given)
    own = np.array([len(truth.junk) for truth in given.truths], dtype=np.int64)
    some = counts > 0
    at_r = {
        "ap_at_r": map_at_r.evaluate(relevant[some], counts[some]).per_query,
        # LOCORE counts the query itself among its positives, and puts it at the end of its list.
        "ap_at_r_locore": map_at_r.evaluate(relevant[some], (counts + own)[some], variant="locore").per_query,
    }
    scores = _recalls(relevant, counts) | {"ap_at_100": _at_100(relevant, counts)}
    for name, values in at_r.items():
        scores[name] = np.full(len(counts), np.nan)
        scores[name][some] = values
    return _scored(given, scores)


def _relevant(given: Reranked) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Relevance (queries, depth) of the lists without junk, and the number of positives (queries,)."""
    whole = given.whole(STANDARD)
    right, junk = ([getattr(truth, label) for truth in given.truths] for label in ("hard", "junk"))
    relevant = relevance.without(relevance.by_images(whole, right), relevance.by_images(whole, junk))
    return relevant, np.array([len(one) for one in right], dtype=np.int64)


def _at_100(relevant: NDArray[np.bool_], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return map_at_k.evaluate(relevant, counts, k=CUT).per_query


def _recalls(relevant: NDArray[np.bool_], counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    found = recall_at_k.evaluate(relevant, counts, ks=RECALLS)
    return {f"recall_at_{k}": scores.per_query for k, scores in found.items()}


def _scored(given: Reranked, scores: Mapping[str, NDArray[np.float64]]) -> tuple[Figures, Series]:
    """The means of what every query scores: `map_...` of `ap_...`, and others under the name of their series."""
    figures = {re.sub("^ap_", "map_", name): mean_defined(values) for name, values in scores.items()}
    return figures, {name: _plain(values) for name, values in scores.items()} | _shortlisted(given)


def _shortlisted(given: Reranked) -> Series:
    return {"positives_in_shortlist": given.positives(STANDARD, ("hard",))}


def _plain(values: NDArray[np.float64]) -> list[float | int | None]:
    return [None if np.isnan(value) else float(value) for value in values]


JUDGES: Mapping[Task, Callable[[Reranked], tuple[Figures, Series]]] = {
    Task.REVISITED: _revisited,
    Task.LANDMARKS: _landmarks,
    Task.INSTANCES: _instances,
    Task.CLASSES: _classes,
}
