"""Chamfer similarity: what local descriptors give without anything learned, the floor for the methods that learn.

Each descriptor takes the cosine of its nearest neighbour in the other image; the score is the mean over the query's
descriptors and the mean over the candidate's, averaged (Barrow et al., 1977, in the symmetric form).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rerankers.batching import pairs_at_once
from rerankers.interface import Features, Flops, Reranker
from rerankers.registry import MICRO_LOCALS, Inputs, Variant

#: Of a pair in which either image has no descriptor: below every cosine that can be.
NOTHING = -1.0


class Chamfer(Reranker):
    """Scores are mean cosines, from -1 to 1; -1 where an image has no valid descriptor."""

    needs = ("local", "valid")
    kind = "pair-wise"

    def __init__(self, *, query_locals: int | None = None, candidate_locals: int | None = None) -> None:
        self.query_locals, self.candidate_locals = query_locals, candidate_locals

    def score(self, query: Features, candidates: Features) -> Tensor:
        """Scores (k,). Padding is never anybody's nearest neighbour."""
        first = F.normalize(query.local[:, query.valid[0]], dim=-1)
        if first.shape[1] == 0 or candidates.local.shape[1] == 0:
            return candidates.local.new_full((len(candidates),), NOTHING)
        pairs = self.at_once or pairs_at_once(first.shape[1] + candidates.local.shape[1], candidates.local.device)
        parts = zip(candidates.local.split(pairs), candidates.valid.split(pairs), strict=True)
        return torch.cat([both_ways(first, local, valid) for local, valid in parts])

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        """Executed: with the padding of candidates."""
        queries, dim = int(query.valid.sum()), query.local.shape[-1]
        return Flops(
            executed=2 * queries * candidates.valid.numel() * dim,
            algorithmic=2 * queries * int(candidates.valid.sum()) * dim,
        )


def both_ways(query: Tensor, local: Tensor, valid: Tensor) -> Tensor:
    """Scores (B,) of a query (1, Q, D) of unit length against descriptors (B, T, D), real where `valid` (B, T)."""
    cosine = torch.matmul(F.normalize(local, dim=-1), query[0].T).float()  # (B, T, Q)
    whole = bool(valid.all())
    if not whole:
        cosine.masked_fill_(~valid[:, :, None], -torch.inf)
    of_query = cosine.amax(dim=1).mean(dim=1)
    best = cosine.amax(dim=2)
    if whole:
        return (of_query + best.mean(dim=1)) / 2
    count = valid.sum(dim=1)
    of_candidate = torch.where(valid, best, 0).sum(dim=1) / count.clamp(min=1)
    return torch.where(count > 0, (of_query + of_candidate) / 2, NOTHING)


def _variant(about: str, locals_: int, local_dim: int) -> Variant:
    return Variant(
        about=f"{about}, {locals_} x {locals_}",
        source="Barrow et al., IJCAI 1977",
        make=lambda: Chamfer(query_locals=locals_, candidate_locals=locals_),
        inputs=Inputs(query_locals=locals_, candidate_locals=locals_, local_dim=local_dim),
    )


VARIANTS: dict[str, Variant] = {
    "dinov2": _variant("DINOv2 descriptors", 600, 768),
    "rootsift": _variant("RootSIFT descriptors", 500, 128),
    "rootsift-48": _variant("RootSIFT descriptors", MICRO_LOCALS, 128),
}
