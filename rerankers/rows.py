"""Layers on a pair's only row, so that a score does not depend on how many candidates are scored beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """What the layer makes of x (B, S, D). A pair's only row goes alone."""
    return alone(x, layer.weight, layer.bias) if x.shape[1] == 1 else layer(x)


def alone(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """F.linear of x (B, 1, D), a product a row: in a product of few rows, a row rounds by how many there are."""
    return torch.bmm(x, weight.t().expand(len(x), -1, -1)) + bias
