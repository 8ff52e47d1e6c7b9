"""No re-ranking: the first-stage order, the baseline of every table."""

from __future__ import annotations

import torch
from torch import Tensor

from rerankers.interface import Features, Flops, Reranker
from rerankers.registry import Inputs, Variant


class FirstStage(Reranker):
    """Sorts by the first-stage similarity, which is to say not at all."""

    def score(self, query: Features, candidates: Features) -> Tensor:
        return torch.zeros(len(candidates))

    def sort_key(self, query: Features, candidates: Features, similarity: Tensor) -> Tensor:
        return similarity

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        return Flops(executed=0, algorithmic=0)


VARIANTS = {
    "first-stage": Variant(
        about="no re-ranking",
        source="the first stage itself",
        make=FirstStage,
        inputs=Inputs(global_dim=2048),
    )
}
