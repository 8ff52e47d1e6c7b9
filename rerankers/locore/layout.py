"""Where the tokens of a list stand, and which of them a row reads.

A list is the query and its candidates; an image is its features (global descriptor if any, then local ones) and SEP.
Tokens that all others read, and that read all, are *global*: every SEP, and the query's. The network keeps them in
front and the rest behind, both in their order. So a row's keys are two slices, and no token is gathered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

#: Rows of a block at most, and how much wider than a window the keys of a block may be: attention over a block costs
#: its rows times its keys, read or not.
BLOCK = 192


@dataclass(frozen=True)
class Layout:
    """A list of `images` images, the query first, with so many `features` each."""

    images: int
    features: int
    query_global: bool

    @property
    def length(self) -> int:
        """Tokens in all."""
        return self.images * (self.features + 1)

    @property
    def first(self) -> int:
        """The first image whose features are not global."""
        return 1 if self.query_global else 0

    @property
    def front(self) -> int:
        """How many tokens are global."""
        return self.first * self.features + self.images

    @property
    def rest(self) -> int:
        """How many are not."""
        return (self.images - self.first) * self.features

    @cached_property
    def order(self) -> Tensor:
        """(length,) place in the list of each token, as the network keeps them."""
        places = torch.arange(self.length).view(self.images, self.features + 1)
        features, seps = places[:, :-1], places[:, -1]
        return torch.cat([features[: self.first].flatten(), seps, features[self.first :].flatten()])

    def rows(self, *, features: slice = slice(None)) -> range:
        """Which tokens of the rest are the candidates': all their features, or one."""
        before = (1 - self.first) * self.features
        if features == slice(None):
            return range(before, self.rest)
        slot = range(self.features)[features][0]
        return range(before + slot, self.rest, self.features)

    def reaches(self, rows: range, window: int) -> tuple[Tensor, Tensor]:
        """The tokens of the rest in the window of each row: first ones and, exclusive, last ones, (rows,) each."""
        places = self.order[self.front :]
        asked = places[rows.start : rows.stop : rows.step].contiguous()
        half = window // 2
        return torch.searchsorted(places, asked - half), torch.searchsorted(places, asked + half, right=True)


@dataclass(frozen=True)
class Block:
    """Neighbouring rows that are worked on at once.

    rows: which of the rows asked for. keys: the tokens of the rest that one of them reads.
    read: (rows, front + keys) bool, True where the row reads the key: every global one, and those in its window.
    """

    rows: slice
    keys: slice
    read: Tensor


@lru_cache(maxsize=16)
def blocks(layout: Layout, window: int, rows: range) -> tuple[Block, ...]:
    """The rows of the rest in blocks, for one window."""
    begins, ends = layout.reaches(rows, window)
    first, last = begins.tolist(), ends.tolist()
    found, start = [], 0
    while start < len(rows):
        stop, widest = start, window + BLOCK
        while stop < len(rows) and stop - start < BLOCK and last[stop] - first[start] <= widest:
            stop += 1
        keys = torch.arange(first[start], last[stop - 1])
        read = torch.ones(stop - start, layout.front + len(keys), dtype=torch.bool)
        read[:, layout.front :] = (keys >= begins[start:stop, None]) & (keys < ends[start:stop, None])
        found.append(Block(slice(start, stop), slice(first[start], last[stop - 1]), read))
        start = stop
    return tuple(found)
