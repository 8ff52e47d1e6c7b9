"""Attributes of an object: numbers and text, no longer than words about a file are."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.features.hdf5.content import Content, Cursor, Damaged
from bench.features.hdf5.objects import ATTRIBUTE, ATTRIBUTE_INFO, Messages, check_compact
from bench.features.hdf5.types import TEXT, dtype_of, shape_of


def attributes(content: Content, object_: Messages) -> dict[str, Any]:
    """Numbers and text by name; what is of another type, or a list, is left out."""
    check_compact(object_, ATTRIBUTE_INFO, counter_bytes=2, many="very many or very long attributes")
    found = {}
    for data in object_.get(ATTRIBUTE, ()):
        name, value = _attribute(content, Cursor(data))
        if value is not None:
            found[name] = value
    return found


def _attribute(content: Content, message: Cursor) -> tuple[str, Any]:
    version, flags = message.numbers(2, 1)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise Damaged("an attribute of another version, or of a shared type")
    lengths = message.numbers(3, 2)
    message.take(1 if version == 3 else 0)
    name, kind, space = (message.take(-(-one // 8) * 8 if version == 1 else one) for one in lengths)
    said = name.split(b"\0")[0].decode("utf8")
    try:
        dtype = dtype_of(Cursor(kind))
    except Damaged:
        return said, None
    if shape_of(Cursor(space)) != ():
        return said, None
    if dtype == TEXT:
        length, address, number = message.number(4), message.number(8), message.number(4)
        return said, heap_object(content, address, number)[:length].decode("utf8") if length else ""
    if dtype.kind == "S":
        return said, message.take(dtype.itemsize).split(b"\0")[0].decode("utf8")
    if dtype.kind in "iuf":
        return said, np.frombuffer(message.take(dtype.itemsize), dtype)[0].item()
    return said, None


def heap_object(content: Content, address: int, number: int) -> bytes:
    """An object of a global heap, where what has no fixed length lies."""
    head = content.cursor(address, 16, b"GCOL")
    head.take(4)
    heap = content.cursor(address + 16, max(0, head.number(8) - 16))
    while heap.left >= 16:
        found = heap.number(2)
        heap.take(6)
        length = heap.number(8)
        if found == 0:
            break
        if found == number:
            return heap.take(length)
        heap.take(min(-(-length // 8) * 8, heap.left))
    raise Damaged(f"no object {number} in the heap at {address}")
