"""Which rows a virtual dataset takes from where: runs of whole rows are read, no other selections."""

from __future__ import annotations

from bench.features.hdf5.content import Cursor, Damaged

HYPERSLAB, ALL = 2, 3


def rows_of(message: Cursor, shape: tuple[int, ...] | None) -> tuple[int, int] | None:
    """The rows [start, stop) of a selection, None for all. shape: of the whole, where it is known."""
    kind, version = message.numbers(2, 4)
    if kind == ALL:
        message.take(8)
        return None
    if kind != HYPERSLAB or version not in (1, 2, 3):
        raise Damaged(f"a selection of kind {kind}, version {version}")
    if version == 1:
        message.take(8)
        rank, blocks = message.numbers(2, 4)
        if blocks != 1:
            raise Damaged("a selection in pieces")
        first, last = message.numbers(rank, 4), message.numbers(rank, 4)
        sides = [(start, end + 1) for start, end in zip(first, last, strict=True)]
    else:
        flags = message.number(1)
        width = 8 if version == 2 else message.number(1)
        message.take(4 if version == 2 else 0)
        rank = message.number(4)
        if not flags & 1 or rank > 32 or width not in (2, 4, 8):
            raise Damaged("a selection in pieces")
        sides = [_side(*message.numbers(4, width)) for _ in range(rank)]
    if not sides or any(start or (shape and stop != shape[axis]) for axis, (start, stop) in enumerate(sides) if axis):
        raise Damaged("a selection of parts of rows")
    return sides[0]


def _side(start: int, stride: int, count: int, block: int) -> tuple[int, int]:
    if count > 1 and stride != block:
        raise Damaged("a selection with gaps")
    return start, start + count * block
