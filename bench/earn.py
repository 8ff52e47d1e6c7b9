"""What one re-ranker earns on one data set: the accuracy cell, as it runs in a process of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.datasets.ground_truth import QueryTruth
from bench.features.store import DescriptorStore
from bench.ground import Ground, read
from bench.metrics import revisited
from bench.protocols import HARD_STAR, CandidateList, Policy
from bench.results import Journal
from rerankers import Features, Reranker


@dataclass(frozen=True)
class EarnTask:
    """One accuracy cell, as JSON can carry it. ground: the fields of a Ground. read: see `reading`."""

    ground: dict[str, Any]
    policy: str
    journal: str
    heading: str
    read: int | None = None


@dataclass(frozen=True)
class QueryResult:
    """One query re-ranked: each list's positions in their new order, and a hash of what they were sorted by."""

    orders: dict[str, list[int]]
    scores_sha256: str
    seconds: float


def run(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Re-ranks every query and evaluates the lists. Queries that an interrupted run finished are not run again."""
    task = EarnTask(**payload)
    ground = Ground(**task.ground)
    queries, gallery = ground.store("queries"), ground.store("gallery")
    reranker = ground.build() if task.read is None else reading(ground.build(), task.read)
    ids, similarity = ground.first_stage()
    journal = Journal(Path(task.journal), task.heading)
    truths = ground.dataset().truth.truths
    lists, results = [], []
    for number, truth in enumerate(truths):
        candidates = CandidateList.make(
            ids[number], similarity[number], truth=truth, policy=Policy(task.policy), length=ground.shortlist
        )
        if str(number) in journal.parts:
            result = QueryResult(**journal.parts[str(number)])
        else:
            query = read(queries, np.array([number]), reranker.query_locals, reranker)
            result = rerank_query(reranker, query, gallery, candidates)
            journal.add(str(number), asdict(result))
        lists.append(candidates)
        results.append(result)
        progress(number + 1, len(truths), "queries")
    return evaluation(lists, results, truths)


def reading(reranker: Reranker, length: int) -> Reranker:
    """The re-ranker, with all that it is made of, made to read `length` local descriptors of every image."""
    for inner in vars(reranker).values():
        if isinstance(inner, Reranker):
            reading(inner, length)
    reranker.query_locals = reranker.candidate_locals = length
    return reranker


def rerank_query(
    reranker: Reranker, query: Features, gallery: DescriptorStore, candidates: CandidateList
) -> QueryResult:
    """One query's candidates in their new order, for every list of them.

    A pair-wise re-ranker scores every candidate of either list once; a list-wise one is given all lists at once, those
    with the same candidates as one.
    """
    start, listwise = time.perf_counter(), reranker.kind == "list-wise"
    asked = candidates.lists if listwise else {"union": candidates.union}
    different = {positions.tobytes(): positions for positions in asked.values()}
    lists = [
        (
            query,
            read(gallery, candidates.ids[positions], reranker.candidate_locals, reranker),
            torch.from_numpy(np.ascontiguousarray(candidates.similarity[positions])),
        )
        for positions in different.values()
    ]
    rankings = dict(zip(different, reranker.rankings(lists), strict=True))
    digest, orders = hashlib.sha256(), {}
    for name, positions in asked.items():
        ranking = rankings[positions.tobytes()]
        digest.update(ranking.key.to(torch.float32).numpy().astype("<f4").tobytes())
        orders[name] = positions[ranking.order.numpy()]
    if not listwise:
        union = orders["union"]
        orders = {name: union[np.isin(union, chosen)] for name, chosen in candidates.lists.items()}
    return QueryResult(
        orders={name: order.tolist() for name, order in orders.items()},
        scores_sha256=digest.hexdigest(),
        seconds=time.perf_counter() - start,
    )


def evaluation(
    lists: Sequence[CandidateList], results: Sequence[QueryResult], truths: Sequence[QueryTruth]
) -> dict[str, Any]:
    """Figures and per-query series of the re-ranked lists, under both official divisors, as JSON can carry them."""
    figures = {"rerank_seconds": sum(result.seconds for result in results)}
    series: dict[str, list[float | int | None]] = {}
    for protocol in revisited.PROTOCOLS:
        name = protocol.replace("*", "_star")
        chosen = [candidates.name_for(name) for candidates in lists]
        orders = [result.orders[one] for result, one in zip(results, chosen, strict=True)]
        whole = _whole_lists(lists, orders, hard_star=name == HARD_STAR)
        for divisor in revisited.DIVISORS:
            found = revisited.evaluate(whole, truths, protocols=(protocol,), divisor=divisor)[protocol]
            if divisor != "revisitop":
                figures[f"map_{name}_{divisor}_divisor"] = float(found.map)
                continue
            figures[f"map_{name}"] = float(found.map)
            figures |= {f"precision_at_{k}_{name}": float(value) for k, value in found.precision_at.items()}
            series[f"ap_{name}"] = [None if np.isnan(ap) else float(ap) for ap in found.per_query_ap]
        series[f"positives_in_shortlist_{name}"] = _positives(lists, truths, protocol, chosen)
    if any(truth.transitive is not None for truth in truths):
        orders = [result.orders[one.name_for("hard")] for result, one in zip(results, lists, strict=True)]
        found = revisited.evaluate(
            _whole_lists(lists, orders, hard_star=False), [_transitive(truth) for truth in truths], protocols=("hard",)
        )["hard"]
        figures["map_transitive"] = float(found.map)
        series["ap_transitive"] = [None if np.isnan(ap) else float(ap) for ap in found.per_query_ap]
    scores = hashlib.sha256("".join(result.scores_sha256 for result in results).encode()).hexdigest()
    return {"figures": figures, "series": series, "scores_sha256": scores}


def _transitive(truth: QueryTruth) -> QueryTruth:
    """The truth under which only transitive positives count: all other positives are ignored."""
    hard = np.array([], dtype=np.int64) if truth.transitive is None else truth.transitive
    ignored = np.concatenate([truth.junk, np.setdiff1d(truth.hard, hard)])
    return QueryTruth(easy=truth.easy, hard=hard, junk=ignored)


def _whole_lists(lists: Sequence[CandidateList], orders: Sequence[list[int]], *, hard_star: bool) -> np.ndarray:
    """The final lists (queries, gallery) of image ids; -1 fills those from which images were taken out."""
    rows = [
        one.merged(np.array(order, dtype=np.int64), hard_star=hard_star)
        for one, order in zip(lists, orders, strict=True)
    ]
    whole = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int64)
    for place, row in zip(whole, rows, strict=True):
        place[: len(row)] = row
    return whole


def _positives(
    lists: Sequence[CandidateList], truths: Sequence[QueryTruth], protocol: str, chosen: Sequence[str]
) -> list[float | int | None]:
    """How many of a query's positives the first stage put among the candidates that `protocol` evaluates."""
    counts: list[float | int | None] = []
    for candidates, truth, name in zip(lists, truths, chosen, strict=True):
        positives = np.concatenate([getattr(truth, label) for label in revisited.PROTOCOLS[protocol].positive])
        counts.append(int(np.isin(candidates.ids[candidates.lists[name]], positives).sum()))
    return counts
