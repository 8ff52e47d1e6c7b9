"""SG-Rerank: the shortlist's global descriptors refine each other, then the query.

Source: SuperGlobal (Shao et al., ICCV 2023, arXiv 2308.06954); where its text is silent, its official code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rerankers.errors import RerankError
from rerankers.interface import Features, Flops, Reranker, best_first
from rerankers.registry import Inputs, Variant


@dataclass(frozen=True)
class Stages:
    """Everything that is computed on the way to the scores of m candidates, in first-stage order.

    descriptors: (m, D). knn_positions, knn_weights: (m, K + 1) the most similar candidates of each, itself first, and
    their weights before normalisation. s1: (m,) against the query itself, s1_order: (m,) best first.
    query_expanded: (D,). s2: (m,) against it. score: (m,) their mean.
    """

    descriptors: Tensor
    knn_positions: Tensor
    knn_weights: Tensor
    s1: Tensor
    s1_order: Tensor
    query_expanded: Tensor
    s2: Tensor
    score: Tensor

    @property
    def refined(self) -> Tensor:
        """(m, D) refined descriptors, not of unit length. The scores do without most of them."""
        return weighted_mean(self.descriptors, self.knn_positions, shares(self.knn_weights))


class SuperGlobal(Reranker):
    """Re-ranks the first `shortlist` candidates; those behind keep their place."""

    needs = ("global_",)
    kind = "list-wise"

    def __init__(self, *, shortlist: int = 400, neighbours: int = 9, beta: float = 0.15) -> None:
        """neighbours: K, besides the image itself. beta: weight of a neighbour, times its similarity."""
        if shortlist < 1 or neighbours < 0:
            raise RerankError(
                f"a shortlist of {shortlist} and {neighbours} neighbours",
                wanted="at least one candidate, and no less than 0 neighbours",
                cure="Published: 400, 9, 0.15.",
            )
        self.shortlist, self.neighbours, self.beta = shortlist, neighbours, beta

    def score(self, query: Features, candidates: Features) -> Tensor:
        """Scores (k,) from global descriptors; -inf behind the shortlist, where no image is better than another."""
        scores = candidates.global_.new_full((len(candidates),), float("-inf"))
        scores[: self.shortlist] = self.stages(query, candidates).score
        return scores

    def stages(self, query: Features, candidates: Features) -> Stages:
        """The steps of one query on its shortlist, the first of the candidates.

        A score against a refined descriptor is the same mean of scores against the descriptors it is made of, so
        only the few refined descriptors that expand the query are ever formed.
        """
        descriptors, count = candidates.global_[: self.shortlist], self.neighbours + 1
        similarity, positions = nearest(F.linear(descriptors, descriptors), count)
        weights = torch.cat((torch.ones_like(similarity[:, :1]), self.beta * similarity[:, 1:]), dim=1)
        parts = shares(weights)
        s1 = (parts * F.linear(query.global_, descriptors)[0, positions]).sum(dim=1)
        order = best_first(s1)
        best = order[:count]
        expanded = weighted_mean(descriptors, positions[best], parts[best]).amax(dim=0)
        s2 = (parts * F.linear(expanded.unsqueeze(0), descriptors)[0, positions]).sum(dim=1)
        return Stages(descriptors, positions, weights, s1, order, expanded, s2, (s1 + s2) / 2)

    def closed_form(self, query: Features, candidates: Features) -> Flops:
        """All similarities, the weighted means (all by definition, the best in fact), and two scores for each."""
        m, width = min(self.shortlist, len(candidates)), candidates.global_.shape[1]
        count = min(self.neighbours + 1, m)
        scores = m * m * width + 2 * m * width
        return Flops(executed=2 * (scores + count**2 * width), algorithmic=2 * (scores + m * count * width))


def nearest(similarity: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row of similarity (m, n), largest first, and their positions; ties by position."""
    values, positions = similarity.topk(min(count + 1, similarity.shape[1]), dim=1)
    # topk leaves open which of equal values it takes: sort those rows, for which one more value was asked.
    tied = (values[:, 1:] == values[:, :-1]).any(dim=1)
    if bool(tied.any()):
        exact = torch.sort(similarity[tied], dim=1, descending=True, stable=True)
        values[tied], positions[tied] = (part[:, : values.shape[1]] for part in exact)
    return values[:, :count], positions[:, :count]


def shares(weights: Tensor) -> Tensor:
    """Weights (m, j) that sum to one in each row."""
    return weights / weights.sum(dim=1, keepdim=True)


def weighted_mean(descriptors: Tensor, positions: Tensor, parts: Tensor) -> Tensor:
    """Means (m, D) of the descriptors (n, D) at positions (m, j), with the shares (m, j)."""
    return torch.bmm(parts.unsqueeze(1), descriptors[positions]).squeeze(1)


VARIANTS = {
    "default": Variant(
        about="400 candidates, 9 neighbours, beta 0.15",
        source="SuperGlobal (Shao et al., ICCV 2023)",
        make=SuperGlobal,
        inputs=Inputs(global_dim=2048),
    )
}
