"""Where the rows of a dataset lie: in one piece, in chunks, or in datasets of this file and of others beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.features.hdf5.attributes import heap_object
from bench.features.hdf5.content import UNDEFINED, Content, Cursor, Damaged, Short
from bench.features.hdf5.selections import rows_of

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL = range(4)
SINGLE, IMPLICIT, FIXED = 1, 2, 3
#: A chunk of descriptors has some kilobytes or megabytes.
LARGEST_CHUNK_BYTES = 128 << 20
#: More than deflate can shrink anything.
MOST_SHRUNK = 1100
MOST_SOURCES = 4096


@dataclass(frozen=True)
class Contiguous:
    """One row behind the other."""

    offset: int


@dataclass(frozen=True)
class Chunked:
    """chunk: its shape. places, sizes, skipped: of all chunks, in the order of their places in the dataset; skipped is
    a bit for each filter that a chunk was stored without. filters: as they were applied."""

    chunk: tuple[int, ...]
    places: NDArray[np.int64]
    sizes: NDArray[np.int64]
    skipped: NDArray[np.int64]
    filters: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """Rows [start, stop) of a virtual dataset are those from `first` on of a dataset in a file, "." for this one."""

    file: str
    dataset: str
    start: int
    stop: int
    first: int


@dataclass(frozen=True)
class Virtual:
    sources: tuple[Source, ...]


Layout = Contiguous | Chunked | Virtual


def layout_of(
    content: Content, message: Cursor, shape: tuple[int, ...], item_bytes: int, filters: tuple[int, ...]
) -> Layout:
    """The layout in a message, for a dataset of this shape; Damaged where it does not hold all of it."""
    version, kind = message.numbers(2, 1)
    if version not in (3, 4, 5):
        raise Damaged(f"a layout of version {version}")
    whole = math.prod(shape) * item_bytes
    if kind == CONTIGUOUS:
        offset, length = message.numbers(2)
        if offset == UNDEFINED or length < whole:
            raise Damaged("a dataset that was never written")
        if offset + whole > content.size:
            raise Short(content.size, offset + whole)
        return Contiguous(offset)
    if kind == CHUNKED:
        most = content.size * (MOST_SHRUNK if DEFLATE in filters else 1)
        if whole > most:
            raise Damaged(f"{whole} bytes of rows in a file of {content.size}")
        return _chunked(content, message, version, shape, item_bytes, filters)
    if kind == VIRTUAL:
        address = message.number(8)
        return _virtual(content, address, message.number(4), shape)
    raise Damaged("a dataset within its own header")


def filters_of(message: Cursor) -> tuple[int, ...]:
    version, count = message.numbers(2, 1)
    message.take(6 if version == 1 else 0)
    found = []
    for _ in range(count):
        number = message.number(2)
        named = message.number(2) if version == 1 or number >= 256 else 0
        _, values = message.numbers(2, 2)
        message.take(-(-named // 8) * 8 if version == 1 else named)
        message.take(4 * (values + (values % 2 if version == 1 else 0)))
        found.append(number)
    if strange := set(found) - {DEFLATE, SHUFFLE, FLETCHER32}:
        raise Damaged(f"filter {min(strange)}, where only deflate, shuffle and fletcher32 are known")
    return tuple(found)


def _chunked(
    content: Content,
    message: Cursor,
    version: int,
    shape: tuple[int, ...],
    item_bytes: int,
    filters: tuple[int, ...],
) -> Chunked:
    flags = message.number(1) if version > 3 else 0
    rank = message.number(1)
    address = message.number(8) if version == 3 else UNDEFINED
    chunk = message.numbers(rank, 4 if version == 3 else message.number(1))[:-1]
    size = math.prod(chunk) * item_bytes
    if len(chunk) != len(shape) or not 0 < size <= LARGEST_CHUNK_BYTES:
        raise Damaged(f"chunks of shape {chunk}")
    count = math.prod(-(-side // part) for side, part in zip(shape, chunk, strict=True))
    if count > content.size:  # each has a byte
        raise Damaged(f"{count} chunks in a file of {content.size} bytes")
    index = message.number(1) if version > 3 else 0
    skipped = np.zeros(count, np.int64)
    if version == 3:
        places, sizes, skipped = _tree(content, address, shape, chunk)
    elif index == SINGLE:
        length, mask = (message.number(8), message.number(4)) if flags & 2 else (size, 0)
        places, sizes, skipped = np.array([[message.number(8)], [length], [mask]], np.uint64).astype(np.int64)
    elif index == IMPLICIT:
        places, sizes = message.number(8) + size * np.arange(count), np.full(count, size)
    elif index == FIXED:
        page = 1 << min(message.number(1), 62)
        places, sizes, skipped = _array(content, message.number(8), count, page, size)
    else:
        raise Damaged("an index of chunks that can grow in several ways")
    if len(places) != count or (places < 0).any():
        raise Damaged("chunks that were never written")
    beyond = places > content.size - sizes
    if beyond.any() or (sizes < 1).any():
        raise Short(content.size, int(places[beyond.argmax()]) + int(sizes[beyond.argmax()]))
    return Chunked(chunk, places, sizes, skipped, filters)


def _tree(
    content: Content, address: int, shape: tuple[int, ...], chunk: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Places, sizes and masks of all chunks, in order, from a B-tree of version 1; -1 for those that are not there."""
    grid = [-(-side // part) for side, part in zip(shape, chunk, strict=True)]
    places, sizes, skipped = (np.full(math.prod(grid), -1, dtype=np.int64) for _ in range(3))
    key = 16 + 8 * len(shape)
    entry = np.dtype([("size", "<u4"), ("mask", "<u4"), ("at", "<u8", (len(shape) + 1,)), ("child", "<u8")])
    waiting, seen = [(address, -1)], {address}
    while waiting and address != UNDEFINED:
        place, above = waiting.pop()
        node = content.cursor(place, 8, b"TREE")
        kind, level, used = node.number(1), node.number(1), node.number(2)
        if kind != 1 or (above >= 0 and level != above - 1):
            raise Damaged("a tree of something else")
        entries = np.frombuffer(content.read(place + 24, used * (key + 8)), entry)
        if level:
            fresh = set(entries["child"].tolist()) - seen
            seen |= fresh
            waiting += [(child, level) for child in fresh]
            continue
        if not used:
            continue
        at = entries["at"][:, :-1] // np.array(chunk, dtype=np.uint64)
        if (at >= np.array(grid, dtype=np.uint64)).any():
            raise Damaged("a chunk outside its dataset")
        number = np.ravel_multi_index(tuple(at.T.astype(np.int64)), tuple(grid))
        places[number], sizes[number] = entries["child"].astype(np.int64), entries["size"]
        skipped[number] = entries["mask"]
    return places, sizes, skipped


def _array(
    content: Content, address: int, count: int, page: int, chunk_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Places, sizes and masks of all chunks from a fixed array."""
    head = content.cursor(address, 28, b"FAHD")
    _, filtered, width, _ = head.numbers(4, 1)
    total, block = head.numbers(2)
    if total != count or not (width >= 13 if filtered else width == 8):
        raise Damaged("an array of chunks of another shape")
    place, pages = block + 14, [count]
    content.cursor(block, 14, b"FADB")
    if count > page:  # a bit for each page, and a checksum behind each
        pages = [min(page, count - start) for start in range(0, count, page)]
        place += -(-len(pages) // 8) + 4
    rows = []
    for many in pages:
        rows.append(np.frombuffer(content.read(place, many * width), np.uint8).reshape(many, width))
        place += many * width + 4
    entries = np.concatenate(rows)
    places = entries[:, :8].copy().view("<i8")[:, 0]
    if not filtered:
        return places, np.full(count, chunk_bytes), np.zeros(count, np.int64)
    sizes = np.zeros((count, 8), np.uint8)
    sizes[:, : width - 12] = entries[:, 8 : width - 4][:, :8]
    return places, sizes.view("<i8")[:, 0], entries[:, -4:].copy().view("<u4")[:, 0].astype(np.int64)


def _virtual(content: Content, address: int, number: int, shape: tuple[int, ...]) -> Virtual:
    heap = Cursor(heap_object(content, address, number))
    version, count = heap.number(1), heap.number(8)
    if version != 0 or count > MOST_SOURCES:
        raise Damaged(f"{count} sources, in version {version}")
    found = []
    for _ in range(count):
        file, dataset = heap.text(), heap.text()
        source, own = rows_of(heap, None), rows_of(heap, shape)
        if own is None:
            own = 0, shape[0]
        first, many = (0, own[1] - own[0]) if source is None else (source[0], source[1] - source[0])
        if many != own[1] - own[0]:
            raise Damaged("a source of another number of rows")
        found.append(Source(file, dataset, *own, first))
    found.sort(key=lambda one: one.start)
    ends = [0, *(one.stop for one in found)]
    if [one.start for one in found] != ends[:-1] or ends[-1] != shape[0]:
        raise Damaged("sources that do not follow each other, from the first row to the last")
    return Virtual(tuple(found))
