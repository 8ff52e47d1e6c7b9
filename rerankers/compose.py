"""Re-rankers made of re-rankers."""

from __future__ import annotations

import torch
from torch import Tensor

from rerankers.errors import RerankError
from rerankers.interface import Features, Flops, Reranker


class Blend(Reranker):
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
        self.reranker, self.weight, self.temperature = reranker, weight, temperature
        self.needs, self.kind, self.uncounted = reranker.needs, reranker.kind, reranker.uncounted
        self.query_locals, self.candidate_locals = reranker.query_locals, reranker.candidate_locals

    def score(self, query: Features, candidates: Features) -> Tensor:
        return self.reranker.score(query, candidates)

    def sort_key(self, query: Features, candidates: Features, similarity: Tensor) -> Tensor:
        return fuse(similarity, self.score(query, candidates), weight=self.weight, temperature=self.temperature)

    def closed_form(self, query: Features, candidates: Features) -> Flops | None:
        return self.reranker.closed_form(query, candidates)

    def module(self) -> torch.nn.Module | None:
        return self.reranker.module()


def fuse(similarity: Tensor, score: Tensor, *, weight: float, temperature: float) -> Tensor:
    """Blended scores, of the shape of `similarity` and `score`. See Blend."""
    return weight * similarity + (1 - weight) * torch.sigmoid(temperature * score)
