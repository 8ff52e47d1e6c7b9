"""CVNet's re-ranker written down as its definition says: the oracle of the tests, and the cost to beat.

One pair at a time; the query's maps are convolved again for each, nine correlation tensors are resized in four
dimensions, and strided convolutions take their inputs from the whole tensor.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rerankers import Features


def naive_cvnet(reranker, query: Features, candidates: Features) -> Tensor:
    """Probabilities (k,) of a Cvnet."""
    state, config = reranker.network.state_dict(), reranker.network.config
    return torch.stack([pair(state, config, query.dense[0][None], one[None]) for one in candidates.dense])


def pair(state, config, query: Tensor, candidate: Tensor) -> Tensor:
    def levels(image: Tensor) -> list[Tensor]:
        sizes = [[round(side * math.sqrt(scale)) for side in image.shape[2:]] for scale in config.scales]
        return [
            F.conv2d(resize(image, size), state[f"conv2ds.{number}.weight"], padding=1)[0]
            for number, size in enumerate(sizes)
        ]

    planes = []
    for one in levels(query):
        for other in levels(candidate):
            product = torch.einsum("chw,cij->hwij", one, other)
            product = product / (one.norm(dim=0)[:, :, None, None] * other.norm(dim=0) + 1e-8)
            h, w, i, j = product.shape
            product = resize(product.reshape(1, h, w, i * j).permute(0, 3, 1, 2), query.shape[2:])
            h, w = query.shape[2:]
            product = resize(product[0].reshape(i, j, h * w).permute(2, 0, 1)[None], candidate.shape[2:])
            planes.append(product.reshape(h, w, *candidate.shape[2:]))
    x = torch.stack(planes)[None].clamp(min=0)  # (1, 9, h, w, i, j)
    for block, strides in enumerate([[2], [1, 2], [1, 1, 2], [1, 1, 1]], 1):
        for number, stride in enumerate(strides):
            at = f"cv_learner.block{block}"
            x = layer(state, f"{at}.{3 * number}", f"{at}.{3 * number + 1}", x, stride)
    hidden = F.linear(x.flatten(2).mean(2), state["cv_learner.mlp.0.weight"], state["cv_learner.mlp.0.bias"]).relu()
    return F.linear(hidden, state["cv_learner.mlp.2.weight"], state["cv_learner.mlp.2.bias"]).softmax(dim=1)[0, 1]


def layer(state, conv: str, norm: str, x: Tensor, stride: int) -> Tensor:
    """x: (1, C, h, w, i, j)."""
    x = x[0]

    def over(name: str, images: Tensor) -> Tensor:
        weight, bias = state[f"{conv}.{name}.weight"], state[f"{conv}.{name}.bias"]
        return F.conv2d(images, weight, bias, stride, weight.shape[-1] // 2)

    thin = x[:, :, :, ::stride, ::stride]
    by_query = over("conv1", thin.permute(3, 4, 0, 1, 2).flatten(0, 1)).unflatten(0, thin.shape[3:])
    thin = x[:, ::stride, ::stride]
    by_candidate = over("conv2", thin.permute(1, 2, 0, 3, 4).flatten(0, 1)).unflatten(0, thin.shape[1:3])
    found = by_query.permute(2, 3, 4, 0, 1) + by_candidate.permute(2, 0, 1, 3, 4)
    return F.group_norm(found[None], 4, state[f"{norm}.weight"], state[f"{norm}.bias"]).relu()


def resize(image: Tensor, size) -> Tensor:
    return F.interpolate(image, size=tuple(size), mode="bilinear", align_corners=True)
