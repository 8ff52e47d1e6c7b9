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

import rerankers
from bench.datasets import load_folder
from bench.datasets.ground_truth import QueryTruth
from bench.features.store import DescriptorStore
from bench.metrics import revisited
from bench.protocols import CandidateList, Policy
from bench.results import Journal
from rerankers import Features, Reranker

STANDARD, HARD_STAR = "standard", "hard_star"


@dataclass(frozen=True)
class EarnTask:
    """One accuracy cell, as JSON can carry it."""

    reranker: str
    dataset_name: str
    dataset_folder: str
    descriptors: str
    shortlist_file: str
    shortlist: int
    policy: str
    checkpoint: str | None
    allow_random: bool
    seed: int
    journal: str
    heading: str

    def payload(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class QueryResult:
    """One query re-ranked: positions of the candidates in their new order, and a hash of what they were sorted by."""

    standard: list[int]
    hard_star: list[int]
    scores_sha256: str
    seconds: float


def run(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Re-ranks every query and evaluates the lists. Queries that an interrupted run finished are not run again."""
    task = EarnTask(**payload)
    dataset = load_folder(Path(task.dataset_folder), name=task.dataset_name)
    queries, gallery = (DescriptorStore.open(Path(task.descriptors) / side) for side in ("queries", "gallery"))
    reranker = rerankers.build(
        task.reranker,
        checkpoint=Path(task.checkpoint) if task.checkpoint else None,
        allow_random=task.allow_random,
        seed=task.seed,
    )
    with np.load(task.shortlist_file, allow_pickle=False) as stored:
        ids, similarity = stored["indices"], stored["similarity"]

    journal = Journal(Path(task.journal), task.heading)
    truths = dataset.truth.truths
    lists, results = [], []
    for number, truth in enumerate(truths):
        candidates = CandidateList.make(
            ids[number],
            similarity[number],
            easy=truth.easy,
            junk=truth.junk,
            policy=Policy(task.policy),
            length=task.shortlist,
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


def rerank_query(
    reranker: Reranker, query: Features, gallery: DescriptorStore, candidates: CandidateList
) -> QueryResult:
    """One query's candidates in their new order, for the standard list and for hard*.

    A pair-wise re-ranker scores every candidate of either list once; a list-wise one sees each list by itself.
    """
    digest, start = hashlib.sha256(), time.perf_counter()

    def ranked(positions: np.ndarray) -> np.ndarray:
        features = read(gallery, candidates.ids[positions], reranker.candidate_locals, reranker)
        similarity = torch.from_numpy(np.ascontiguousarray(candidates.similarity[positions]))
        ranking = reranker.ranking(query, features, similarity)
        digest.update(ranking.key.to(torch.float32).numpy().astype("<f4").tobytes())
        return positions[ranking.order.numpy()]

    if reranker.kind == "pair-wise":
        union = ranked(candidates.union)
        orders = {
            STANDARD: union[np.isin(union, candidates.standard)],
            HARD_STAR: union[np.isin(union, candidates.hard_star)],
        }
    else:
        orders = {STANDARD: ranked(candidates.standard), HARD_STAR: ranked(candidates.hard_star)}
    return QueryResult(
        standard=orders[STANDARD].tolist(),
        hard_star=orders[HARD_STAR].tolist(),
        scores_sha256=digest.hexdigest(),
        seconds=time.perf_counter() - start,
    )


def read(store: DescriptorStore, images: np.ndarray, length: int | None, reranker: Reranker) -> Features:
    """What the re-ranker needs of these images, with at most `length` local descriptors; None: all there are."""
    if length is not None and store.local is not None:
        length = min(length, store.local.length)
    return store.features(images, locals=length, needs=reranker.needs)


def evaluation(
    lists: Sequence[CandidateList], results: Sequence[QueryResult], truths: Sequence[QueryTruth]
) -> dict[str, Any]:
    """Figures and per-query series of the re-ranked lists, under both official divisors, as JSON can carry them."""
    standard = _whole_lists(lists, [result.standard for result in results], hard_star=False)
    hard_star = _whole_lists(lists, [result.hard_star for result in results], hard_star=True)
    figures = {"rerank_seconds": sum(result.seconds for result in results)}
    series: dict[str, list[float | int | None]] = {}
    for divisor in revisited.DIVISORS:
        found = revisited.evaluate(standard, truths, protocols=("easy", "medium", "hard"), divisor=divisor)
        found |= revisited.evaluate(hard_star, truths, protocols=("hard*",), divisor=divisor)
        for protocol, result in found.items():
            name = protocol.replace("*", "_star")
            if divisor != "revisitop":
                figures[f"map_{name}_{divisor}_divisor"] = float(result.map)
                continue
            figures[f"map_{name}"] = float(result.map)
            figures |= {f"precision_at_{k}_{name}": float(value) for k, value in result.precision_at.items()}
            series[f"ap_{name}"] = [None if np.isnan(ap) else float(ap) for ap in result.per_query_ap]
            series[f"positives_in_shortlist_{name}"] = _positives(lists, truths, protocol)
    scores = hashlib.sha256("".join(result.scores_sha256 for result in results).encode()).hexdigest()
    return {"figures": figures, "series": series, "scores_sha256": scores}


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


def _positives(lists: Sequence[CandidateList], truths: Sequence[QueryTruth], protocol: str) -> list[float | int | None]:
    """How many of a query's positives the first stage put among the candidates."""
    counts: list[float | int | None] = []
    for candidates, truth in zip(lists, truths, strict=True):
        positions = candidates.hard_star if protocol == "hard*" else candidates.standard
        positives = np.concatenate([getattr(truth, label) for label in revisited.PROTOCOLS[protocol].positive])
        counts.append(int(np.isin(candidates.ids[positions], positives).sum()))
    return counts
