"""R2Former's re-ranker written down as its definition says: the oracle of the tests, and the cost to beat.

The query is repeated for every candidate, whole rows of correlations are sorted, entries are put together number by
number, and every row of every layer is computed under materialised attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rerankers import Features

CHUNK = 5


def naive_r2former(reranker, query: Features, candidates: Features) -> Tensor:
    """Probabilities (k,) of an R2Former; padding is taken out of each image before anything else."""
    state, config = reranker.network.state_dict(), reranker.network.config
    found: list[Tensor] = []
    one = tokens(query, config)[0][query.valid[0]]
    every = tokens(candidates, config)
    if bool(candidates.valid.all()) and len(one) >= config.neighbours:
        for part in every.split(CHUNK):
            found += list(pairs(state, config, one.expand(len(part), -1, -1), part))
        return torch.stack(found)
    for other, valid in zip(every, candidates.valid, strict=True):
        few = min(len(one), int(valid.sum())) < config.neighbours
        found.append(torch.tensor(0.0) if few else pairs(state, config, one[None], other[valid][None])[0])
    return torch.stack(found)


def tokens(images: Features, config) -> Tensor:
    """(n, L, 3 + D): x, y, weight, descriptor."""
    xy = images.xy if images.size is None else images.xy / images.size.max(dim=1).values[:, None, None]
    weight = images.weight
    if config.relative_weight:
        weight = weight / (weight * images.valid).max(dim=1, keepdim=True).values
    return torch.cat([xy, weight[..., None], images.local], dim=2)


def pairs(state, config, x: Tensor, y: Tensor) -> Tensor:
    """Probabilities (B,) of tokens (B, N, 3 + D) against (B, M, 3 + D)."""
    width = config.width

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"], config.eps)

    def sines(xy: Tensor) -> Tensor:
        frequency = torch.tensor([10000 ** (-i / (width // 4)) for i in range(width // 4)])
        parts = [(xy[..., axis, None] * frequency) for axis in (0, 1)]
        return torch.cat([f(part) for part in parts for f in (torch.sin, torch.cos)], dim=-1)

    def block(name: str, x: Tensor) -> Tensor:
        y = linear(f"{name}.attn.qkv", norm(f"{name}.norm1", x))
        q, k, v = (part.unflatten(-1, (config.heads, -1)).transpose(1, 2) for part in y.chunk(3, dim=-1))
        weights = (q @ k.transpose(-2, -1) * (width // config.heads) ** -0.5).softmax(dim=-1)
        x = x + linear(f"{name}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
        return x + linear(f"{name}.mlp.fc2", F.gelu(linear(f"{name}.mlp.fc1", norm(f"{name}.norm2", x))))

    def take(tokens: Tensor, index: Tensor) -> Tensor:
        return torch.stack([one[places] for one, places in zip(tokens, index, strict=True)])

    heads = [torch.cat([side[:, :, :3].clamp(0, 1)], dim=2) for side in (x, y)]
    cosine = F.normalize(x[:, :, 3:], dim=2) @ F.normalize(y[:, :, 3:], dim=2).transpose(1, 2)
    entries = []
    for way in (cosine, cosine.transpose(1, 2)):
        values, places = torch.sort(way, dim=2, descending=True, stable=True)
        values, places = values[..., : config.neighbours], places[..., : config.neighbours]
        own = torch.arange(way.shape[1])[None, :, None].expand_as(places)
        index = (own, places) if way is cosine else (places, own)
        both = [take(side, one) for side, one in zip(heads, index, strict=True)]
        entries.append(torch.cat([*both, values[..., None]], dim=3))
    groups = torch.cat(entries, dim=1)  # (B, N + M, neighbours, 7)
    inner = (linear("pair_head", groups) + sines(groups[..., 3:5])).flatten(0, 1)
    inner = torch.cat([state["cls_token_2"].expand(len(inner), -1, -1), inner], dim=1)
    for name in ("blocks_2.0", "blocks_2.1"):
        inner = block(name, inner)
    said = linear("pair_head_2", norm("decoder_norm", inner)[:, 0]).unflatten(0, groups.shape[:2])
    outer = torch.cat([state["cls_token"].expand(len(x), -1, -1), said + sines(groups[:, :, 0, :2])], dim=1)
    for number in range(config.layers):
        outer = block(f"blocks.{number}", outer)
    logits = linear("decoder_pred", norm("decoder_norm", outer)[:, 0])
    return torch.sigmoid(logits[:, 0]) if config.classes == 1 else logits.softmax(dim=1)[:, 1]
