"""Window attention with global tokens, in two forms that give the same numbers.

Everywhere: q, k, v (B, heads, tokens, depth), tokens as a `Layout` keeps them: global ones in front, the rest behind.
A token of the rest reads every global one and those of the rest in its window; a global one reads all. Padding is
never read, and finds nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache, lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rerankers.locore.layout import Layout, blocks


class Reading(ABC):
    """Who reads whom in B lists. valid: (B, tokens), True for a real token; None when all are."""

    def __init__(self, layout: Layout, valid: Tensor | None) -> None:
        self.layout, self.valid = layout, valid

    @property
    def everything(self) -> range:
        """The rows that all tokens of the rest at hand make."""
        return range(self.layout.rest)

    @abstractmethod
    def rest(self, q: Tensor, k: Tensor, v: Tensor, *, window: int, rows: range) -> Tensor:
        """What the rows asked for find, (B, heads, rows, depth). q: of these rows; k, v: of all tokens at hand."""

    def front(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What the global tokens find, (B, heads, front, depth)."""
        return F.scaled_dot_product_attention(q, k, v, None if self.valid is None else self.valid[:, None, None])


class BlockSparse(Reading):
    """Dense attention on blocks of rows, which pay for few keys that they do not read; needs no kernel of its own."""

    def rest(self, q: Tensor, k: Tensor, v: Tensor, *, window: int, rows: range) -> Tensor:
        return in_blocks(q, k, v, self.layout, self.valid, window=window, rows=rows)


def in_blocks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    valid: Tensor | None,
    *,
    window: int,
    rows: range,
    origin: int = 0,
) -> Tensor:
    """What the rows find, block by block. origin: the first token of the rest that k and v hold. valid: of the list."""
    front, found = layout.front, []
    for block in blocks(layout, window, rows):
        keys = slice(front + block.keys.start, front + block.keys.stop)
        read = block.read.to(q.device)
        if valid is not None:
            read = read & torch.cat([valid[:, :front], valid[:, keys]], dim=1)[:, None, None]
        held = slice(keys.start - origin, keys.stop - origin)
        key, value = (torch.cat([part[:, :, :front], part[:, :, held]], dim=2) for part in (k, v))
        found.append(F.scaled_dot_product_attention(q[:, :, block.rows], key, value, read))
    return torch.cat(found, dim=2)


class Flex(Reading):
    """FlexAttention (PyTorch) under a block mask: one fused kernel on CUDA, spelt out elsewhere."""

    def rest(self, q: Tensor, k: Tensor, v: Tensor, *, window: int, rows: range) -> Tensor:
        if self.valid is None:
            mask = _block_mask(self.layout, window, rows, q.device)
        else:
            mask = _block_mask.__wrapped__(self.layout, window, rows, q.device, self.valid)
        found = _flex_attention(q.device.type)(q, k, v, block_mask=mask)
        assert isinstance(found, Tensor)
        return found


@lru_cache(maxsize=16)
def _block_mask(layout: Layout, window: int, rows: range, device: torch.device, valid: Tensor | None = None) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    begins, ends = (end.to(device) + layout.front for end in layout.reaches(rows, window))

    def read(batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        seen = (key < layout.front) | ((key >= begins[row]) & (key < ends[row]))
        return seen if valid is None else seen & valid[batch, key]

    lists = None if valid is None else len(valid)
    return create_block_mask(read, lists, None, len(rows), layout.length, device=device)


@cache
def _flex_attention(device: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False) if device == "cuda" else flex_attention


def reading(layout: Layout, valid: Tensor | None, device: torch.device) -> Reading:
    """The form that suits the device."""
    return (Flex if device.type == "cuda" else BlockSparse)(layout, valid)
