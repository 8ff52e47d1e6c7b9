"""Variables of MATLAB's files of version 5, in Python: scipy's reader in C crashes on damaged ones."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HEADING_BYTES = 128
#: What a file may unfold to: lists of names and numbers.
MOST_BYTES = 128 << 20
#: Values within values; ours are numbers in a structure.
DEEPEST = 4
MATRIX, PACKED = 14, 15
CELL, STRUCTURE, TEXT = 1, 2, 4
#: Types of numbers on the disk, and of text.
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CHARACTERS = {1: "latin1", 2: "latin1", 4: "utf-16", 16: "utf8", 17: "utf-16"}


class Damaged(Exception):
    """What was seen in a file that MATLAB did not write, or that holds something else."""


def read_variables(path: Path) -> dict[str, Any]:
    """By name: arrays of numbers; text; lists of the values of a cell; lists of structures, as dicts by field.

    Columns come one after the other. Raises Damaged, or whatever bytes at random lead to.
    """
    content = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise Damaged("it does not begin as such files do")
    found = {}
    for kind, data in _elements(content[HEADING_BYTES:], order):
        if kind == PACKED:
            unfolded = zlib.decompressobj().decompress(data, MOST_BYTES)
            kind, data = next(_elements(unfolded, order))
        if kind == MATRIX:
            name, value = _matrix(data, order, 0)
            found[name] = value
    return found


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 8 <= len(data):
        kind, length = struct.unpack_from(f"{order}II", data, place)
        if kind >> 16:  # a small one, within its own heading
            kind, length, start, place = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        else:
            start = place + 8
            place = start + (length if kind == PACKED else -(-length // 8) * 8)
        if start + length > len(data):
            raise Damaged("it is cut short")
        yield kind, data[start : start + length]


def _matrix(data: bytes, order: str, depth: int) -> tuple[str, Any]:
    if depth > DEEPEST:
        raise Damaged("values within values")
    if not data:  # an empty one
        return "", []
    parts = _elements(data, order)
    flags, shape, name = (next(parts)[1] for _ in range(3))
    (kind,) = struct.unpack_from(f"{order}I", flags)
    kind, count = kind & 0xFF, math.prod(np.frombuffer(shape, f"{order}i4").tolist())
    if kind == CELL:
        value: Any = [_matrix(part, order, depth + 1)[1] for _, part in parts]
    elif kind == STRUCTURE:
        (width,) = struct.unpack_from(f"{order}I", next(parts)[1])
        names = next(parts)[1]
        if not 0 < width <= len(names):
            raise Damaged("fields without names")
        fields = [names[at : at + width].split(b"\0")[0].decode("ascii") for at in range(0, len(names), width)]
        values = [_matrix(part, order, depth + 1)[1] for _, part in parts]
        value = [
            dict(zip(fields, values[at : at + len(fields)], strict=True)) for at in range(0, len(values), len(fields))
        ]
    elif kind == TEXT:
        stored, text = next(parts, (1, b""))
        encoding = CHARACTERS[stored]
        value = text.decode(encoding + {"<": "-le", ">": "-be"}[order] if encoding == "utf-16" else encoding)
        count = len(value)
    else:
        stored, numbers = next(parts)
        value = np.frombuffer(numbers, f"{order}{NUMBERS[stored]}")
    if len(value) != count:
        raise Damaged(f"{len(value)} values, where {count} are said to be")
    return name.decode("ascii"), value
