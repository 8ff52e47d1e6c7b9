"""Attention over parts of a sequence, as several models need it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rerankers.rows import alone, linear


class Reading(NamedTuple):
    """Rows of a sequence, the keys that they read, and which of these are real: (B, 1, 1, keys), None for all."""

    rows: slice
    keys: slice
    valid: Tensor | None


class Attention(nn.Module):
    """Multi-head attention with the parameters of nn.MultiheadAttention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.depth = heads, width // heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values (B, S, 3, heads, depth) of x (B, S, D)."""
        return F.linear(x, self.in_proj_weight, self.in_proj_bias).view(*x.shape[:2], 3, self.heads, self.depth)

    def attend(self, qkv: Tensor, *readings: Reading) -> Tensor:
        """What the rows of each reading find, one reading after the other: (B, rows, D)."""
        q, k, v = qkv.transpose(1, 3).unbind(2)
        found = [_found(q[:, :, rows], k[:, :, keys], v[:, :, keys], valid) for rows, keys, valid in readings]
        result: Tensor = self.out_proj(torch.cat(found, dim=1).flatten(2))
        return result

    def attend_once(self, row: Tensor, x: Tensor, valid: Tensor | None) -> Tensor:
        """What a single row (B, 1, D) finds in x (B, S, D), without forming keys or values.

        q.(Wk x) = (Wk^T q).x and sum a (Wv x) = Wv (sum a x), so that one row costs S D heads, not S D D. The bias of
        the keys adds the same to every logit and drops out.
        """
        to_q, to_k, to_v = self.in_proj_weight.view(3, self.heads, self.depth, -1)
        bias_q, _, bias_v = self.in_proj_bias.chunk(3)
        q = (self.depth**-0.5 * alone(row, to_q.flatten(0, 1), bias_q)).chunk(self.heads, dim=2)
        asked = torch.cat([torch.bmm(one, _for_each(row, to)) for one, to in zip(q, to_k, strict=True)], dim=1)
        logits = torch.bmm(asked, x.transpose(1, 2))  # (B, heads, S)
        if valid is not None:
            logits = logits.masked_fill(~valid[:, 0], -torch.inf)
        means = torch.bmm(logits.softmax(dim=2), x).split(1, dim=1)  # (B, 1, D) of each head
        found = [torch.bmm(one, _for_each(row, to.t())) for one, to in zip(means, to_v, strict=True)]
        return linear(torch.cat(found, dim=2) + bias_v, self.out_proj)


def _found(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None) -> Tensor:
    """What the rows of q (B, heads, rows, depth) find in k and v (B, heads, keys, depth): (B, rows, heads, depth).

    A single row is written out: what the fused kernel gives for it depends on where its memory lies, and so on which
    pairs are scored beside it.
    """
    if q.shape[2] > 1:
        return F.scaled_dot_product_attention(q, k, v, valid).transpose(1, 2)
    found = []
    for one, key, value in zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True):
        logits = torch.bmm(one * one.shape[2] ** -0.5, key.transpose(1, 2))
        if valid is not None:
            logits = logits.masked_fill(~valid[:, 0], -torch.inf)
        found.append(torch.bmm(logits.softmax(dim=2).to(value.dtype), value))
    return torch.stack(found, dim=2)


def _for_each(pairs: Tensor, matrix: Tensor) -> Tensor:
    """The same matrix for every pair, so that each has a product of its own. See `alone`."""
    return matrix.expand(len(pairs), -1, -1)
