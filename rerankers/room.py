"""Memory that large results are put into again and again."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rerankers.rows import linear


class Room:
    """Where the candidates of one query are worked on, a few after the other.

    Fresh memory can cost as much time as the product that fills it: the kernel hands it out page by page. A result lies
    here until the next one of its name overwrites it. While gradients are wanted, results get memory of their own.
    """

    def __init__(self) -> None:
        self.taken: dict[str, Tensor] = {}

    def place(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Memory for a result of this shape, of the type of `like` and on its device; it holds anything."""
        size, taken = math.prod(shape), self.taken.get(name)
        if taken is None or taken.numel() < size or taken.dtype != like.dtype or taken.device != like.device:
            taken = self.taken[name] = like.new_empty(size)
        return taken[:size].view(shape)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """The matrix product (m, n), or a batch of them (B, m, n)."""
        multiply = torch.mm if left.ndim == 2 else torch.bmm
        if _own_memory(left):
            return multiply(left, right)
        return multiply(left, right, out=self.place("product", left, *left.shape[:-1], right.shape[-1]))

    def hidden(self, x: Tensor, layer: nn.Linear) -> Tensor:
        """What the layer makes of x (B, S, D)."""
        if _own_memory(x) or x.shape[1] == 1:
            return linear(x, layer)
        place = self.place("hidden", x, *x.shape[:2], layer.out_features)
        torch.addmm(layer.bias, x.flatten(0, 1), layer.weight.t(), out=place.flatten(0, 1))
        return place


def added_(x: Tensor, y: Tensor) -> Tensor:
    """x + y, in the place of x unless the sum is of another type. x: a result that nothing else reads."""
    return x.add_(y) if x.dtype == y.dtype else x + y


def gelu_(x: Tensor) -> Tensor:
    """GELU in the place of x, unless a gradient will need what x was."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def softmax_(x: Tensor) -> Tensor:
    """Softmax along the last dimension in the place of x, unless a gradient will need what x was."""
    return x.softmax(dim=-1) if _own_memory(x) else torch.softmax(x, dim=-1, out=x)


def _own_memory(x: Tensor) -> bool:
    """Whether results need memory of their own: for gradients, or because autocast chooses their type."""
    return torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type)
