"""Whether a re-ranker's rankings stay as they are: the churn cell, as it runs in a process of its own.

Each query's shortlist is ranked in float32 as the re-ranker sees fit, then again with reduced number types and, by
pair-wise re-rankers, with the candidates handed over a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from bench.ground import Ground, read
from rerankers import Features, Reranker
from rerankers.interface import best_first

TOP = 10
#: Name in the record -> number type, and how many candidates are handed over at a time (None: all).
ALTERNATIVES: dict[str, tuple[str, int | None]] = {
    "bfloat16": ("bfloat16", None),
    "float16": ("float16", None),
    "batch_1": ("float32", 1),
    "batch_7": ("float32", 7),
}
ON_CUDA_ONLY = ("float16",)
LIST_WISE = "a list-wise re-ranker sees all candidates at once"
EMULATED = "float16 is emulated on CPUs: measured on CUDA only"


@dataclass(frozen=True)
class SteadyTask:
    """One churn cell, as JSON can carry it. ground: the fields of a Ground. queries: how many, from the first on."""

    ground: dict[str, Any]
    device: str
    queries: int


@dataclass(frozen=True)
class Change:
    """One query's ranking against that in float32.

    tau: Kendall's, 1 for the same order. left: images that left the first TOP. moved: whether any image moved.
    score: largest change of a sort key.
    """

    tau: float
    left: int
    moved: bool
    score: float


def run(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Figures of every alternative, or the reason why it was left out."""
    task = SteadyTask(**payload)
    ground = Ground(**task.ground)
    queries, gallery = ground.store("queries"), ground.store("gallery")
    stage = ground.first_stage()
    usual = ground.build()
    reasons = left_out(usual, task.device)
    builds = {name: ground.build(dtype) for name, (dtype, _) in ALTERNATIVES.items() if name not in reasons}
    for reranker in (usual, *builds.values()):
        if (network := reranker.module()) is not None:
            network.to(task.device)
    changes: dict[str, list[Change]] = {name: [] for name in builds}
    for number in range(task.queries):
        query = read(queries, np.array([number]), usual.query_locals, usual).to(task.device)
        chosen = stage.indices[number, : ground.shortlist]
        candidates = read(gallery, chosen, usual.candidate_locals, usual).to(task.device)
        known = torch.from_numpy(np.ascontiguousarray(stage.similarity[number, : len(chosen)])).to(task.device)
        expected = sort_key(usual, query, candidates, known, None)
        for name, reranker in builds.items():
            changes[name].append(change(expected, sort_key(reranker, query, candidates, known, ALTERNATIVES[name][1])))
        progress(number + 1, task.queries, "queries")
    return {"figures": {name: summary(found) for name, found in changes.items()}, "reasons": reasons}


def left_out(reranker: Reranker, device: str) -> dict[str, str]:
    """Alternatives that say nothing of this re-ranker on this device, with the reason."""
    listed = {name: LIST_WISE for name, (_, batch) in ALTERNATIVES.items() if batch and reranker.kind == "list-wise"}
    return listed | ({} if device.startswith("cuda") else dict.fromkeys(ON_CUDA_ONLY, EMULATED))


def sort_key(reranker: Reranker, query: Features, candidates: Features, known: Tensor, batch: int | None) -> Tensor:
    """What the k candidates are sorted by, (k,), when `batch` of them are handed over at a time."""
    parts = [slice(start, start + (batch or len(known))) for start in range(0, len(known), batch or len(known))]
    return torch.cat([reranker.ranking(query, candidates[part], known[part]).key.cpu() for part in parts])


def change(expected: Tensor, found: Tensor) -> Change:
    """From one query's sort keys (k,) in float32 and in the alternative."""
    orders = [best_first(key) for key in (expected, found)]
    places = [torch.argsort(order).numpy() for order in orders]
    tau = 1.0 if len(expected) < 2 else float(scipy.stats.kendalltau(*places).statistic)
    left = set(orders[0][:TOP].tolist()) - set(orders[1][:TOP].tolist())
    moved = torch.where(expected == found, 0, expected - found)  # what no window reached is -inf in both
    return Change(tau, len(left), not torch.equal(*orders), float(moved.abs().max()))


def summary(changes: list[Change]) -> dict[str, float]:
    """The figures of one alternative over all queries."""
    taus = [one.tau for one in changes]
    return {
        "kendall_tau_mean": float(np.mean(taus)),
        "kendall_tau_min": min(taus),
        "left_top_10": sum(one.left for one in changes),
        "queries_changed": sum(one.moved for one in changes),
        "score_change_max": max(one.score for one in changes),
    }
