"""SG-Rerank written down as its definition says: the oracle of the tests, and the cost to beat.

Whole rows of similarities are sorted, and every candidate's refined descriptor is formed before it is compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rerankers import Features


def naive_superglobal(reranker, query: Features, candidates: Features) -> Tensor:
    """Scores (k,) of a SuperGlobal; -inf behind its shortlist."""
    descriptors, count = candidates.global_[: reranker.shortlist], reranker.neighbours + 1
    similarity, positions = torch.sort(descriptors @ descriptors.T, dim=1, descending=True, stable=True)
    weights = reranker.beta * similarity[:, :count]
    weights[:, 0] = 1
    near = descriptors[positions[:, :count]]  # (m, K + 1, D)
    refined = (weights[..., None] * near).sum(dim=1) / weights.sum(dim=1, keepdim=True)
    s1 = refined @ query.global_[0]
    best = torch.sort(s1, descending=True, stable=True).indices[:count]
    s2 = refined @ refined[best].max(dim=0).values
    behind = torch.full((len(candidates) - len(descriptors),), -torch.inf)
    return torch.cat([(s1 + s2) / 2, behind])
