"""What one re-ranker earns on one data set: the accuracy cell, as it runs in a process of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.ceiling import ceilings
from bench.datasets import Dataset
from bench.features.store import DescriptorStore
from bench.ground import Candidates, Ground, read
from bench.heads import HEAD, finite, heads
from bench.judging import Reranked, judge
from bench.metrics.revisited import Tail
from bench.protocols import CandidateList, Policy
from bench.reading import reading
from bench.results import Journal
from rerankers import Features, Reranker


@dataclass(frozen=True)
class EarnTask:
    """One accuracy cell, as JSON can carry it. ground: the fields of a Ground. read: see `reading`.

    queries: those to re-rank, and nothing else; None: all that the journal lacks, which are then evaluated.
    ceilings: whether to say what shortlists of other lengths would allow.
    """

    ground: dict[str, Any]
    policy: str
    journal: str
    heading: str
    read: int | None = None
    queries: list[int] | None = None
    ceilings: bool = False


@dataclass(frozen=True)
class QueryResult:
    """One query re-ranked: each list's positions in their new order, and a hash of what they were sorted by.

    scores: of the first positions of each list; None where there is none.
    """

    orders: dict[str, list[int]]
    scores: dict[str, list[float | None]]
    scores_sha256: str
    seconds: float


def run(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Re-ranks queries and evaluates their lists. What an interrupted run finished is not run again."""
    task = EarnTask(**payload)
    ground = Ground(**task.ground)
    dataset = ground.dataset()
    lists = ground.candidates(dataset.truth.truths, Policy(task.policy))
    reranker = ground.build() if task.read is None else reading(ground.build(), task.read)
    journal = Journal(Path(task.journal), task.heading)
    asked = range(len(lists)) if task.queries is None else task.queries
    missing = [number for number in asked if str(number) not in journal.parts]
    for done, (number, result) in enumerate(reranked(ground, reranker, lists, missing), 1):
        journal.add(str(number), asdict(result))
        progress(len(asked) - len(missing) + done, len(asked), "queries")
    if task.queries is not None:
        return {}
    results = [QueryResult(**journal.parts[str(number)]) for number in asked]
    chosen = [lists[number] for number in asked]
    found = evaluation(dataset, chosen, results, lists.stage.tails)
    orders, scores = [one.orders for one in results], [one.scores for one in results]
    found["lists"] = heads(lists.stage, dataset.truth.truths, dataset.task, chosen, orders, scores)
    return found | {"scoring": reranker.kind, "ceilings": ceilings(dataset, lists) if task.ceilings else {}}


def reranked(
    ground: Ground, reranker: Reranker, lists: Candidates, queries: Sequence[int]
) -> Iterator[tuple[int, QueryResult]]:
    """These queries, re-ranked one after the other."""
    if not queries:
        return
    asked, gallery = ground.store("queries"), ground.store("gallery")
    for number in queries:
        query = read(asked, np.array([number]), reranker.query_locals, reranker)
        yield number, rerank_query(reranker, query, gallery, lists[number])


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
    digest, orders, keys = hashlib.sha256(), {}, {}
    for name, positions in asked.items():
        ranking = rankings[positions.tobytes()]
        digest.update(ranking.key.to(torch.float32).numpy().astype("<f4").tobytes())
        orders[name] = positions[ranking.order.numpy()]
        keys[name] = ranking.key[ranking.order].numpy()
    if not listwise:
        chosen = {name: np.isin(orders["union"], one) for name, one in candidates.lists.items()}
        orders, keys = ({name: one["union"][mask] for name, mask in chosen.items()} for one in (orders, keys))
    scored = getattr(reranker, "scored", True)  # re-rankers of an earlier revision, under bench.check, do not say it
    return QueryResult(
        orders={name: order.tolist() for name, order in orders.items()},
        scores={name: finite(key[:HEAD].tolist()) if scored else [] for name, key in keys.items()},
        scores_sha256=digest.hexdigest(),
        seconds=time.perf_counter() - start,
    )


def evaluation(
    dataset: Dataset, lists: Sequence[CandidateList], results: Sequence[QueryResult], tails: Sequence[Tail] | None
) -> dict[str, Any]:
    """Figures and per-query series of the re-ranked lists, as JSON can carry them."""
    found = judge(Reranked(dataset, lists, [result.orders for result in results], tails))
    found["figures"] = {"rerank_seconds": sum(result.seconds for result in results)} | found["figures"]
    scores = hashlib.sha256("".join(result.scores_sha256 for result in results).encode()).hexdigest()
    return {**found, "scores_sha256": scores}
