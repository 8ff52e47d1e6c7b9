"""Matches between the local descriptors of one query and those of many candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerankers.errors import RerankError

#: Squared distance of padding: finite, so that products with zero stay zero, and beyond any descriptor.
FAR = 1e30
#: Distances held at once. The block is reused, for fresh pages cost as much as the product; smaller blocks mean more
#: steps, at each of which all threads wait for the last one: dear where the cores are shared.
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Which pairs of descriptors are matches; always the nearest candidate descriptor of a query descriptor.

    mutual: that one's nearest query descriptor must be this one. Without it several may share a candidate descriptor.
    ratio: nearer than `ratio` times the second nearest (Lowe, IJCV 2004, 7.1); a single descriptor matches nothing.
    max_distance: nearer than this, Euclidean.
    """

    mutual: bool = False
    ratio: float | None = None
    max_distance: float | None = None

    def __post_init__(self) -> None:
        for name in ("ratio", "max_distance"):
            if (value := getattr(self, name)) is not None and not 0 < value < float("inf"):
                raise RerankError(f"{name} {value}", wanted="a positive number, or None", cure="Leave it out.")


def match(query: Tensor, candidates: Tensor, valid: Tensor, matching: Matching) -> list[np.ndarray]:
    """The matches of each candidate: k arrays (p, 2) of (query, candidate) indices, in ascending query index.

    query: (n, D), without padding. candidates: (k, m, D), of any length, with valid: (k, m) bool.
    Equally near neighbours: the first. Distances come out of one batched product a block of candidates, through
    |a - b|^2 = (-2a, |a|^2, 1) . (b, 1, |b|^2).
    """
    (n, _), (k, m, _) = query.shape, candidates.shape
    if n == 0 or m == 0:
        return [np.empty((0, 2), np.int64) for _ in range(k)]
    query = query.float()
    rows = torch.cat((-2 * query, _squared_length(query), query.new_ones(n, 1)), dim=1)
    step = min(k, max(1, BLOCK_BYTES // (4 * n * m)))
    block = query.new_empty(step, n, m)
    found: list[np.ndarray] = []
    for start in range(0, k, step):
        part, real = candidates[start : start + step].float(), valid[start : start + step]
        length = torch.where(real.unsqueeze(2), _squared_length(part), FAR)
        columns = torch.cat((part, torch.ones_like(length), length), dim=2)
        squared = torch.bmm(rows.expand(len(part), -1, -1), columns.transpose(1, 2), out=block[: len(part)])
        found += _accepted(query, part, squared, matching)
    return found


def _accepted(query: Tensor, part: Tensor, squared: Tensor, matching: Matching) -> list[np.ndarray]:
    """The matches among squared distances (c, n, m), which are overwritten."""
    smallest, nearest = squared.min(dim=2)
    limit = FAR / 2 if matching.max_distance is None else min(FAR / 2, matching.max_distance**2)
    kept = smallest < limit
    if matching.mutual:
        back = squared.min(dim=1).indices.gather(1, nearest)
        kept &= back == torch.arange(len(query), device=back.device)
    if matching.ratio is not None:
        other = squared.scatter_(2, nearest.unsqueeze(2), 2 * FAR).min(dim=2)
        kept &= (other.values < FAR / 2) & (
            _distance(query, part, nearest) < matching.ratio * _distance(query, part, other.indices)
        )
    pairs = torch.stack((kept.nonzero()[:, 1], nearest[kept]), dim=1).cpu().numpy()
    return np.split(pairs, kept.sum(1).cumsum(0)[:-1].cpu().numpy())


def _squared_length(vectors: Tensor) -> Tensor:
    """(..., 1) of vectors (..., D), without a copy of them."""
    found: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).square()
    return found


def _distance(query: Tensor, part: Tensor, chosen: Tensor) -> Tensor:
    """Distances (c, n) to the chosen descriptors, from differences: the product above is rough near zero."""
    images = torch.arange(len(part), device=part.device).unsqueeze(1)
    found: Tensor = (query - part[images, chosen]).norm(dim=2)
    return found
