"""ELViS written down as its definition says, in the log domain: the oracle of the tests, and the cost to beat."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rerankers import Features

CHUNK = 10


def naive_elvis(reranker, query: Features, candidates: Features) -> Tensor:
    """Scores (k,) of a full-precision ELViS in evaluation mode; the query is projected again for every candidate."""
    state, config = reranker.network.state_dict(), reranker.network.config

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, x: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def project(x: Tensor) -> Tensor:
        return F.normalize(norm("remap_local.1", linear("remap_local.0", x), 1e-5), dim=-1)

    def dust(x: Tensor) -> Tensor:
        return torch.tanh(linear("dust_bin_mlp.2", F.gelu(linear("dust_bin_mlp.0", x))))[..., 0]

    found = []
    for start in range(0, len(candidates), CHUNK):
        part = candidates[start : start + CHUNK]
        k = len(part)
        one, other = project(query.local.expand(k, -1, -1)), project(part.local)
        valid = query.valid.expand(k, -1), part.valid
        rows, columns = one.shape[1], other.shape[1]
        z = torch.empty(k, rows + 1, columns + 1)
        z[:, :-1, :-1] = (one @ other.transpose(1, 2)).masked_fill(
            ~(valid[0][:, :, None] & valid[1][:, None]), -torch.inf
        )
        z[:, :-1, -1], z[:, -1, :-1], z[:, -1, -1] = dust(one), dust(other), state["dust_bin"]
        z = z * config.temperature
        mu, nu = (torch.full((n + 1,), -math.log(rows + columns)) for n in (rows, columns))
        mu[-1] += math.log(columns)
        nu[-1] += math.log(rows)
        u, v = torch.zeros(k, rows + 1), torch.zeros(k, columns + 1)
        for _ in range(config.iterations):
            u = mu - torch.logsumexp(z + v[:, None], dim=2)
            v = nu - torch.logsumexp(z + u[:, :, None], dim=1)
        plan = (z + u[:, :, None] + v[:, None] + math.log(rows + columns)).exp()[:, :-1, :-1]
        gains = torch.cat([plan.amax(2), plan.amax(1)], dim=1)[..., None]
        votes = torch.sigmoid(linear("f.3", F.gelu(norm("f.1", linear("f.0", gains), 1e-6))))[..., 0]
        found.append((votes * torch.cat(valid, dim=1)).sum(dim=1))
    return torch.cat(found)
