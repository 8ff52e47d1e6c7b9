"""RRT written down as its definition says: the oracle of the tests, and the cost to beat.

Every pair carries its own copy of the query, attention weights are materialised, and every row of every layer is
computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from rerankers import Features

#: The official scale of DELG's seven, as its collapsed table reads them.
STEPS = [0.5, math.sqrt(0.5), 1, math.sqrt(2), 2, math.sqrt(8), 4]


def naive_rrt(reranker, query: Features, candidates: Features) -> Tensor:
    """Logits (k,) of an RrtGld or an RrtSop."""
    state, config = reranker.network.state_dict(), reranker.config
    segment, k = state["seg_encoder.weight"], len(candidates)
    if config.global_dim is None:
        images = [torch.stack(query.dense * k), torch.stack(candidates.dense)]
        position = naive_positions(config.width, *images[0].shape[2:])
        one, other = ((image + position).flatten(2).transpose(1, 2) for image in images)
        parts = [segment[0].expand(k, 1, -1), one + segment[2], segment[1].expand(k, 1, -1), other + segment[3]]
        return encode(state, config, torch.cat(parts, dim=1), None)

    def tokens(image: Features, of_global: int, of_local: int) -> list[Tensor]:
        first = F.normalize(F.linear(image.global_, state["remap.weight"], state["remap.bias"]), dim=-1)
        index = torch.tensor(
            [
                [min(max(sum(step <= scale for step in STEPS) - 1, 0), 6) for scale in row]
                for row in (image.scale.double() / config.scale_unit).tolist()
            ]
        ).reshape(image.scale.shape)
        rest = F.normalize(image.local, dim=-1) + state["scale_encoder.weight"][index] + segment[of_local]
        return [part.expand(k, *part.shape[1:]) for part in ((first + segment[of_global])[:, None], rest)]

    parts = [segment[2].expand(k, 1, -1), *tokens(query, 4, 0), segment[3].expand(k, 1, -1), *tokens(candidates, 5, 1)]
    always = torch.ones(k, 2, dtype=torch.bool)
    valid = torch.cat([always, query.valid.expand(k, -1), always, candidates.valid], dim=1)
    return encode(state, config, torch.cat(parts, dim=1), valid)


def encode(state: Mapping[str, Tensor], config, x: Tensor, valid: Tensor | None) -> Tensor:
    width = config.width

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    for at in (f"encoder.layers.{i}" for i in range(config.layers)):

        def attention(x: Tensor, at: str = f"{at}.self_attn") -> Tensor:
            qkv = F.linear(x, state[f"{at}.in_proj_weight"], state[f"{at}.in_proj_bias"])
            q, k, v = (part.unflatten(-1, (config.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
            logits = q @ k.transpose(-2, -1) / (width // config.heads) ** 0.5
            if valid is not None:
                logits = logits.masked_fill(~valid[:, None, None], -torch.inf)
            return linear(f"{at}.out_proj", (logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))

        def feed(x: Tensor, at: str = at) -> Tensor:
            return linear(f"{at}.linear2", getattr(F, config.activation)(linear(f"{at}.linear1", x)))

        if config.norm_first:
            x = x + attention(norm(f"{at}.norm1", x))
            x = x + feed(norm(f"{at}.norm2", x))
        else:
            x = norm(f"{at}.norm1", x + attention(x))
            x = norm(f"{at}.norm2", x + feed(x))
    if config.norm_first:
        x = norm("encoder.norm", x)
    return linear("classifier", x[:, 0])[:, 0]


def naive_positions(width: int, height: int, breadth: int) -> Tensor:
    """(width, height, breadth), number by number."""
    found = torch.empty(width, height, breadth)
    half = width // 2
    for channel in range(width):
        i = channel % half
        period = 10000 ** (2 * (i // 2) / half)
        for y in range(height):
            for x in range(breadth):
                place, size = (y, height) if channel < half else (x, breadth)
                angle = 2 * (place + 1) / (size + 1e-6) / period
                found[channel, y, x] = math.cos(angle) if i % 2 else math.sin(angle)
    return found
