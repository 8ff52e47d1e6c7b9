"""What the runners of several systems share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.metrics.revisited import evaluate
from bench.parity.case import Case
from bench.protocols import behind
from rerankers.checkpoints import load_into, load_state
from rerankers.compose import Blend
from rerankers.interface import Features, Reranker

#: The images that evaluators put behind all others before re-ranking, by what is evaluated.
BEHIND = {"medium": ("junk",), "hard": ("junk", "easy")}


class Known(Reranker):
    """Scores that somebody else computed."""

    def __init__(self, known: Tensor) -> None:
        self.known = known

    def score(self, query: Features, candidates: Features) -> Tensor:
        return self.known


def images(count: int) -> Features:
    """As many images, of which nothing is known."""
    return Features(global_=torch.zeros(count, 1))


def load(case: Case, network: nn.Module, *, within: str = "", skip: tuple[str, ...] = ()) -> None:
    """Loads the case's checkpoint as everybody does; BenchError when the case has none."""
    if case.checkpoint is None:
        raise BenchError(f"case {case.name} without a checkpoint", wanted="its weights", cure="Fetch the case again.")
    load_into(network, load_state(case.checkpoint), within=within, skip=skip)


def scores(reranker: Reranker, query: Features, candidates: Features) -> Tensor:
    """Scores (k,) by the way that everybody goes, with all its checks."""
    return reranker.ranking(query, candidates, torch.zeros(len(candidates))).key


def same_query(query: Tensor, valid: Tensor) -> Iterator[slice]:
    """Runs of neighbouring pairs that share a query."""
    whole = torch.cat([query.flatten(1), valid.to(query.dtype)], dim=1)
    start = 0
    for count in torch.unique_consecutive(whole, dim=0, return_counts=True)[1].tolist():
        yield slice(start, start + count)
        start += count


def shortlists(case: Case, moved: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and similarities (queries, n), the images with the labels `moved` behind all others."""
    lists = [
        behind(ids, similarity, np.concatenate([truth[label] for label in moved]))
        for ids, similarity, truth in zip(
            case.inputs["shortlist_ids"], case.inputs["global_sims"], case.spec["protocol"]["gnd"], strict=True
        )
    ]
    return np.stack([ids for ids, _ in lists]), np.stack([similarity for _, similarity in lists])


def reordered(ids: np.ndarray, order: Tensor) -> np.ndarray:
    """A list of ids (n,) with the first of them in a new order (k,)."""
    return np.concatenate([ids[: len(order)][order.numpy()], ids[len(order) :]])


def blended(
    weights: Iterable[tuple[float, float]],
    ids: np.ndarray,
    similarity: np.ndarray,
    runs: Sequence[tuple[Reranker, Features, Features]],
) -> tuple[np.ndarray, np.ndarray]:
    """Blended scores (grid, queries, k) and lists of ids (grid, queries, n), for every weight and temperature."""
    fused, lists = [], []
    for weight, temperature in weights:
        for (reranker, query, candidates), row, known in zip(runs, ids, torch.from_numpy(similarity), strict=True):
            k = len(candidates)
            ranking = Blend(reranker, weight=weight, temperature=temperature).ranking(query, candidates, known[:k])
            fused.append(ranking.key.numpy())
            lists.append(reordered(row, ranking.order))
    return np.stack(fused).reshape(-1, len(ids), k), np.stack(lists).reshape(-1, *ids.shape)


def maps_in_percent(lists: np.ndarray, truths: Sequence[Mapping[str, Any]]) -> list[float]:
    """Easy, medium and hard mAP in percent, to the three decimals that the official evaluators keep."""
    results = evaluate(lists, [SimpleNamespace(**truth) for truth in truths], divisor="shortlist")
    return [round(100 * result.map, 3) for result in results.values()]
