"""Rows that do not lie one after the other: in chunks that may be compressed, or in several files."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.features.hdf5 import Chunked, Damaged
from bench.features.hdf5.content import Content
from bench.features.hdf5.layouts import DEFLATE, FLETCHER32, SHUFFLE
from bench.features.layout import described
from bench.features.rows import Stored, to_float32


class ChunkRows:
    """Rows (N, ...) in the chunks of an HDF5 file, each read once for all rows that are asked for together.

    stored: the type that chunks consist of; field: of it, by name, where it is a compound; then rows are (N, *shape of
    the field), and chunks cut the first axis alone.
    """

    def __init__(
        self,
        content: Content,
        stored: np.dtype[Any],
        shape: tuple[int, ...],
        layout: Chunked,
        *,
        field: str | None = None,
    ) -> None:
        inner = stored if field is None else stored[field]
        self.content, self.stored, self.layout, self.field = content, stored, layout, field
        self.dtype: np.dtype[Any] = inner.base
        self.shape: tuple[int, ...] = (*shape, *inner.shape)
        self._chunk: tuple[int, ...] = (*layout.chunk, *inner.shape)
        self._grid = [-(-side // part) for side, part in zip(self.shape, self._chunk, strict=True)]

    @property
    def path(self) -> Path:
        return self.content.path

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, chosen: NDArray[np.int64], count: int | None = None) -> NDArray[Any]:
        inner = self.shape[1:] if count is None else (count, *self.shape[2:])
        taken = np.empty((len(chosen), *inner), self.dtype)
        bands = chosen // self._chunk[0]
        with described(self.path):
            for band in np.unique(bands).tolist():
                where = np.flatnonzero(bands == band)
                within = chosen[where] - band * self._chunk[0]
                for number, place in enumerate(np.ndindex(*self._grid[1:])):
                    starts = [at * side for at, side in zip(place, self._chunk[1:], strict=True)]
                    if any(start >= whole for start, whole in zip(starts, inner, strict=True)):
                        continue  # behind what is asked for
                    ends = [
                        min(at + side, whole) for at, side, whole in zip(starts, self._chunk[1:], inner, strict=True)
                    ]
                    part = self._decoded(band * math.prod(self._grid[1:]) + number)[within]
                    here = tuple(slice(end - start) for start, end in zip(starts, ends, strict=True))
                    there = tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))
                    taken[(slice(None), *there)][where] = part[(slice(None), *here)]
        return taken

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        return to_float32(self.take(np.arange(start, min(stop, len(self)))))

    def _decoded(self, number: int) -> NDArray[Any]:
        """A chunk by its number in the grid."""
        layout = self.layout
        place, size, skipped = (int(column[number]) for column in (layout.places, layout.sizes, layout.skipped))
        data = os.pread(self.content.file, size, place)
        wanted = math.prod(layout.chunk) * self.stored.itemsize
        for bit, kind in reversed(list(enumerate(layout.filters))):
            if not skipped >> bit & 1:
                data = UNDO[kind](data, wanted, self.stored.itemsize)
        if len(data) != wanted:
            raise Damaged(f"a chunk of {len(data)} bytes, wanted {wanted}")
        found = np.frombuffer(data, self.stored).reshape(layout.chunk)
        return found if self.field is None else found[self.field]


class PartRows:
    """Rows of several stores, one after the other, as virtual datasets have them."""

    def __init__(self, parts: Sequence[tuple[Stored, int, int]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """parts: a store, and the rows [first, last) of it that count."""
        self.parts, self.shape, self.dtype = parts, shape, dtype
        self._ends = np.cumsum([last - first for _, first, last in parts])

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, chosen: NDArray[np.int64], count: int | None = None) -> NDArray[Any]:
        inner = self.shape[1:] if count is None else (count, *self.shape[2:])
        taken = np.empty((len(chosen), *inner), self.dtype)
        owner = np.searchsorted(self._ends, chosen, side="right")
        for number in np.unique(owner).tolist():
            store, _, last = self.parts[number]
            where = owner == number
            taken[where] = store.take(chosen[where] - (self._ends[number] - last), count)
        return taken

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        return to_float32(self.take(np.arange(start, min(stop, len(self)))))


def _inflated(data: bytes, wanted: int, _: int) -> bytes:
    # a few bytes more, which a checksum behind the content takes
    return zlib.decompressobj().decompress(data, wanted + 64)


def _unshuffled(data: bytes, _: int, item: int) -> bytes:
    """All first bytes, all second ones, ... of items; what is behind the last whole item stays."""
    whole = len(data) // item * item
    return np.frombuffer(data, np.uint8, whole).reshape(item, -1).T.tobytes() + data[whole:]


def _checked(data: bytes, _: int, __: int) -> bytes:
    content, said = data[:-4], int.from_bytes(data[-4:], "little")
    words = np.frombuffer(content + b"\0" * (len(content) % 2), ">u2").astype(np.int64)
    first = int(words.sum()) % 65535
    second = int((words * (np.arange(len(words), 0, -1) % 65535) % 65535).sum()) % 65535
    if len(data) < 4 or ((said & 0xFFFF) % 65535, (said >> 16) % 65535) != (first, second):
        raise Damaged("a chunk whose checksum does not match")
    return content


UNDO = {DEFLATE: _inflated, SHUFFLE: _unshuffled, FLETCHER32: _checked}
