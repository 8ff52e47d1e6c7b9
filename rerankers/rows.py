"""Products with a pair's only row, so that a score does not depend on how many candidates are scored beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Numbers in a matrix up to which a batch of products with vectors is quicker than one after the other.
BATCHED_UP_TO = 1 << 12


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """What the layer makes of x (B, S, D). A pair's only row goes alone."""
    return alone(x, layer.weight, layer.bias) if x.shape[1] == 1 else layer(x)


def alone(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """F.linear of x (B, 1, D), a product a row: in a product of few rows, a row rounds by how many there are."""
    return torch.bmm(x, weight.t().expand(len(x), -1, -1)) + bias


def products(left: Tensor, right: Tensor) -> Tensor:
    """Matrix products (B, m, n), of which a single one rounds as among others: it is made twice on a CPU."""
    if len(left) > 1 or left.device.type != "cpu" or torch.is_grad_enabled():
        return torch.bmm(left, right)
    return torch.bmm(left.expand(2, -1, -1), right.expand(2, -1, -1))[:1]


def times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Products (B, m) of matrices (B, m, n) with a vector (B, n) each, where one rounds as among others.

    A batch of them rounds otherwise than a single one does, and by MKL takes ten times as long where they are large: so
    these go one by one. A single small one goes as two, the upper rows and the lower.
    """
    columns, (pairs, rows, width) = vectors[:, :, None], matrices.shape
    if matrices.device.type != "cpu" or torch.is_grad_enabled():
        return torch.bmm(matrices, columns)[:, :, 0]
    if rows * width > BATCHED_UP_TO:
        return torch.cat([torch.bmm(*one) for one in zip(matrices.split(1), columns.split(1), strict=True)])[:, :, 0]
    if pairs == 1 and rows % 2 == 0:
        return torch.bmm(matrices.view(2, rows // 2, width), columns.expand(2, -1, -1)).view(1, rows)
    return torch.bmm(matrices, columns)[:, :, 0]
