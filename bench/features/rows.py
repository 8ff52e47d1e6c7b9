"""How rows of descriptors lie on the disk, and reading a few of them, or a block, without touching the rest.

Rows are read, not mapped, when they are few and scattered: the kernel maps much more of a file than is touched. They
are mapped for as long as a block of them is in use: then the file's pages are not copied, and do not stay resident.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from bench.features.layout import cut_short

#: Longest row of an image, its descriptors or its map.
LONGEST_BYTES = 256 << 20
PART = 32  # rows read at once, where they are worked on after that


class FileRows:
    """Rows (N, ...) of float16 or float32 in either byte order, one after the other in a file that stays open.

    stride_bytes: from one row to the next, where something else lies between them; None: nothing does. They stay those
    of the file that was opened, even when another takes its name.
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        offset: int = 0,
        *,
        stride_bytes: int | None = None,
    ) -> None:
        """Raises BenchError when the file is too short for the shape."""
        self.path, self.dtype, self.shape, self.offset = path, dtype, shape, offset
        self.row_bytes = math.prod(shape[1:]) * dtype.itemsize
        self.stride_bytes = self.row_bytes if stride_bytes is None else stride_bytes
        seen, wanted = path.stat().st_size, offset + (shape[0] - 1) * self.stride_bytes + self.row_bytes
        if seen < wanted:
            raise cut_short(path, seen, wanted)
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Of all rows as an array, mapped; float16 as it is."""
        found: NDArray[Any] = self._mapped(0, self.shape[0], mmap.ACCESS_READ)[key]
        return found

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows [start, stop) as float32; not copied where they lie in the file as float32."""
        if self.dtype == np.float32:
            return self._mapped(start, stop, mmap.ACCESS_READ)
        return to_float32(self._mapped(start, stop, mmap.ACCESS_COPY))  # torch takes only what it could write to

    def _mapped(self, start: int, stop: int, access: int) -> NDArray[Any]:
        """Rows [start, stop); the mapping ends with the array."""
        place = self.offset + start * self.stride_bytes
        before = place % mmap.ALLOCATIONGRANULARITY
        if stop <= start:
            return np.empty((0, *self.shape[1:]), self.dtype)
        length = (stop - start - 1) * self.stride_bytes + self.row_bytes
        pages = mmap.mmap(self._file, before + length, access=access, offset=place - before)
        inner = np.empty((1, *self.shape[1:]), self.dtype).strides[1:]
        return np.ndarray((stop - start, *self.shape[1:]), self.dtype, pages, before, (self.stride_bytes, *inner))

    def take(self, chosen: NDArray[np.int64], count: int | None = None) -> NDArray[Any]:
        """A copy of the chosen rows, of each only the first `count` entries; None: all."""
        inner = self.shape[1:] if count is None else (count, *self.shape[2:])
        taken = np.empty((len(chosen), *inner), self.dtype)
        content = taken.view(np.uint8).reshape(len(chosen), int(np.prod(inner)) * self.dtype.itemsize)
        order = np.argsort(chosen, kind="stable")  # as they lie in the file
        places = self.offset + chosen[order] * self.stride_bytes
        for row, place in zip(order.tolist(), places.tolist(), strict=True):
            if os.preadv(self._file, (content[row],), place) != content.shape[1]:
                raise cut_short(self.path, os.fstat(self._file).st_size, place + content.shape[1])
        return taken


class Stored(Protocol):
    """Rows (N, ...) of float16 or float32 on the disk, of which some are read."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def take(self, chosen: NDArray[np.int64], count: int | None = None) -> NDArray[Any]:
        """See `take`."""

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `block`."""


#: Rows on the disk or in memory.
Rows: TypeAlias = Stored | NDArray[np.float32]


def take(rows: Rows, chosen: NDArray[np.int64], count: int | None = None) -> NDArray[Any]:
    """A copy of the chosen rows, of each only the first `count` entries; None: all. float16 may stay float16."""
    if not isinstance(rows, np.ndarray):
        return rows.take(chosen, count)
    return rows[chosen] if count is None else rows[chosen, :count]


def take_in_parts(
    rows: Rows, chosen: NDArray[np.int64], count: int | None = None
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """`take` of some of the chosen rows at a time, which are still in the cache when they are worked on.

    All at once where there is more to gain from that: float16 is converted by all cores, a chunk read once.
    """
    step = PART if rows.dtype == np.float32 and isinstance(rows, FileRows | np.ndarray) else max(1, len(chosen))
    for start in range(0, len(chosen), step):
        part = slice(start, start + step)
        yield part, take(rows, chosen[part], count)


def block(rows: Rows, start: int, stop: int) -> NDArray[np.float32]:
    """Rows [start, stop) as float32; not copied where they lie in the file as float32."""
    return to_float32(rows[start:stop]) if isinstance(rows, np.ndarray) else rows.block(start, stop)


def to_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """The same array where it is float32, else converted."""
    if array.dtype == np.float32:
        return array
    converted = np.empty(array.shape, np.float32)
    copy_to(converted, array)
    return converted


def copy_to(target: NDArray[np.float32], array: NDArray[Any]) -> None:
    """Fills `target` with the array, converted; float16 by torch, which does it several times faster than numpy."""
    if array.dtype == np.float16:
        torch.from_numpy(target).copy_(torch.from_numpy(array))
    else:
        np.copyto(target, array)
