"""What a shortlist allows: how many positives it holds, and what the best order of it would earn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.datasets import Dataset, Task
from bench.ground import Candidates
from bench.judging import Reranked, judge
from bench.metrics.revisited import PROTOCOLS
from bench.metrics.scores import mean_defined
from bench.protocols import STANDARD, CandidateList

#: Lengths of shortlists that ceilings are told of.
DEPTHS = (100, 200, 400, 800)


def ceilings(dataset: Dataset, lists: Candidates, depths: Sequence[int] = DEPTHS) -> dict[str, float | str]:
    """`oracle_..._at_N` and `recall_ceiling_..._at_N` for shortlists of N images, or why there is none.

    oracle: every figure of the data set's task when the candidates are ordered as well as can be, positives first, and
    the rest of the list stays. recall ceiling: share of a query's positives among its candidates, mean over queries.
    The length of the lists themselves is among the depths.
    """
    found: dict[str, float | str] = {}
    for depth in sorted({*depths, lists.shortlist}):
        deeper = replace(lists, shortlist=depth)
        values = _at(dataset, [deeper[query] for query in range(len(lists))], deeper)
        kept = lists.stage.indices.shape[1]
        lacking = lists.stage.tails is not None and depth > kept
        reason = f"the first {kept} images of every list were kept, not {depth}"
        found |= {f"{name}_at_{depth}": reason if lacking else value for name, value in values.items()}
    return found


def _at(dataset: Dataset, chosen: Sequence[CandidateList], lists: Candidates) -> dict[str, float]:
    orders = [
        {name: best_order(one, positions, dataset, query) for name, positions in one.lists.items()}
        for query, one in enumerate(chosen)
    ]
    given = Reranked(dataset, chosen, orders, lists.stage.tails)
    reached = {
        f"oracle_{name}": value
        for name, value in judge(given)["figures"].items()
        if name.startswith(("map_", "recall_")) and not name.endswith("_divisor")
    }
    return reached | _recall(given)


def best_order(one: CandidateList, positions: np.ndarray, dataset: Dataset, query: int) -> list[int]:
    """Candidates with the positives first, which is the best order under every protocol: those that a protocol ignores
    leave the list before ranks are counted."""
    truth = dataset.truth.truths[query]
    wrong = ~np.isin(one.ids[positions], np.concatenate([truth.easy, truth.hard]))
    return [int(position) for position in positions[np.argsort(wrong, kind="stable")]]


def _recall(given: Reranked) -> dict[str, float]:
    protocols: dict[str, tuple[str, ...]] = {STANDARD: ("hard",)}
    if given.dataset.task is Task.REVISITED:
        protocols = {protocol.replace("*", "_star"): roles.positive for protocol, roles in PROTOCOLS.items()}
    found = {}
    for name, labels in protocols.items():
        there = np.array(given.positives(name, labels), dtype=np.float64)
        whole = np.array([sum(len(getattr(truth, label)) for label in labels) for truth in given.truths])
        shares = np.divide(there, whole, out=np.full(len(there), np.nan), where=whole > 0)
        found["recall_ceiling" if name == STANDARD else f"recall_ceiling_{name}"] = mean_defined(shares)
    return found
