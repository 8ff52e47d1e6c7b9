"""What the runners of several systems share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.parity.case import Case
from rerankers.checkpoints import load_into, load_state
from rerankers.interface import Features, Reranker


class Known(Reranker):
    """Scores that somebody else computed."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    def score(self, query: Features, candidates: Features) -> Tensor:
        return self.scores


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
