"""AMES written down as its definition says, masks and all: the oracle of the tests, and the cost to beat.

Every pair carries its own copy of the query, both attentions run over the whole sequence of matching token, query
and candidate under boolean masks, and every row of every layer is computed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def naive_ames(
    state: Mapping[str, Tensor],
    query: Tensor,
    candidates: Tensor,
    query_valid: Tensor,
    candidate_valid: Tensor,
    *,
    heads: int,
    norm_first: bool = False,
) -> Tensor:
    """Logits (k,) of full-precision AMES with ReLU in evaluation mode, from a state dict with official keys.

    query: (k, Q, D), the same image k times. candidates: (k, T, D). The valid fields are (k, Q) and (k, T).
    """
    width = len(state["mtc_token"])

    def layer_norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def remap(x: Tensor) -> Tensor:
        return layer_norm("remap_local.1", linear("remap_local.0", F.normalize(x, dim=-1)))

    def attention(name: str, x: Tensor, seen: Tensor) -> Tensor:
        qkv = F.linear(x, state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"])
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        logits = (q @ k.transpose(-2, -1) / (width // heads) ** 0.5).masked_fill(~seen, -torch.inf)
        return linear(f"{name}.out_proj", (logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))

    pairs = len(query)
    token = state["mtc_token"].expand(pairs, 1, width)
    x = torch.cat([token, remap(query), remap(candidates).half().to(token)], dim=1)
    valid = torch.cat([torch.ones(pairs, 1, dtype=torch.bool), query_valid, candidate_valid], dim=1)
    image = torch.tensor([0] + [1] * query.shape[1] + [2] * candidates.shape[1])
    hub = (image[:, None] == 0) | (image[None, :] == 0)
    same, other = hub | (image[:, None] == image), hub | (image[:, None] != image)
    masks = {"self_attn": same & valid[:, None, None, :], "cross_attn": other & valid[:, None, None, :]}

    depth = len({name.split(".")[2] for name in state if name.startswith("decoder.layers")})
    for at in (f"decoder.layers.{i}" for i in range(depth)):

        def feed_forward(x: Tensor, at: str = at) -> Tensor:
            return linear(f"{at}.linear2", F.relu(linear(f"{at}.linear1", x)))

        steps = [lambda x, at=at, name=name: attention(f"{at}.{name}", x, masks[name]) for name in masks]
        for number, step in enumerate([*steps, feed_forward], start=1):
            norm = f"{at}.norm{number}"
            x = x + step(layer_norm(norm, x)) if norm_first else layer_norm(norm, x + step(x))
    return linear("classifier", layer_norm("decoder.norm", x[:, 0]) if norm_first else x[:, 0])[:, 0]
