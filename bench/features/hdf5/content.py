"""Bytes of a file, each read held against its size."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

#: An address that leads nowhere.
UNDEFINED = (1 << 64) - 1
#: Longest piece of metadata; chunk indices are read node by node.
LONGEST_BYTES = 16 << 20


class Damaged(Exception):
    """What was seen in a file that is no whole HDF5 file, or a kind of it that is not read."""


class Short(Damaged):
    """A file of `seen` bytes that should have `wanted`."""

    def __init__(self, seen: int, wanted: int) -> None:
        super().__init__(f"{seen} bytes, wanted {wanted}")
        self.seen, self.wanted = seen, wanted


class Content:
    """The bytes of a file that stays open as long as this."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.file)
        self.size = os.fstat(self.file).st_size

    def read(self, place: int, length: int) -> bytes:
        """Exactly these bytes."""
        if place + length > self.size:
            raise Short(self.size, place + length)
        if length > LONGEST_BYTES:
            raise Damaged(f"{length} bytes of metadata")
        return os.pread(self.file, length, place)

    def cursor(self, place: int, length: int, signature: bytes = b"") -> Cursor:
        """The bytes from `place` on, behind a signature."""
        found = Cursor(self.read(place, length))
        if found.take(len(signature)) != signature:
            raise Damaged(f"no {signature.decode()} at {place}")
        return found


class Cursor:
    """Bytes that are read one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.place

    def take(self, length: int) -> bytes:
        if not 0 <= length <= self.left:
            raise Damaged(f"{length} bytes wanted of {self.left}")
        self.place += length
        return self.data[self.place - length : self.place]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def numbers(self, count: int, width: int = 8) -> tuple[int, ...]:
        data = self.take(count * width)
        return tuple(int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width))

    def text(self, *, padded: bool = False) -> str:
        """Up to a zero byte; padded: to a multiple of eight bytes with it."""
        end = self.data.find(b"\0", self.place)
        if end < 0:
            raise Damaged("a name without an end")
        found = self.take(end - self.place)
        self.take(len(found) // 8 * 8 + 8 - len(found) if padded else 1)
        return found.decode("utf8")
