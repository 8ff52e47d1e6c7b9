"""Re-rankers made of re-rankers."""

from __future__ import annotations

import torch
from torch import Tensor

from rerankers.errors import RerankError
from rerankers.interface import Features, Flops, Reranker


class _Over(Reranker):
    """Another sort key over the scores of a re-ranker."""

    def __init__(self, reranker: Reranker) -> None:
        self.reranker = reranker
        self.needs, self.kind, self.uncounted = reranker.needs, reranker.kind, reranker.uncounted
        self.query_locals, self.candidate_locals = reranker.query_locals, reranker.candidate_locals
        self.dtype = reranker.dtype

    def score(self, query: Features, candidates: Features) -> Tensor:
        return self.reranker.score(query, candidates)

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

    def sort_key(self, query: Features, candidates: Features, similarity: Tensor) -> Tensor:
        return fuse(similarity, self.score(query, candidates), weight=self.weight, temperature=self.temperature)


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

    def sort_key(self, query: Features, candidates: Features, similarity: Tensor) -> Tensor:
        return similarity + self.ratio * self.score(query, candidates)


def fuse(similarity: Tensor, score: Tensor, *, weight: float, temperature: float) -> Tensor:
    """Blended scores, of the shape of `similarity` and `score`. See Blend."""
    return weight * similarity + (1 - weight) * torch.sigmoid(temperature * score)
