"""Types and shapes of datasets and attributes, as numpy has them."""

from __future__ import annotations

import numpy as np

from bench.features.hdf5.content import Cursor, Damaged

INTEGER, FLOAT, STRING, COMPOUND, VARIABLE, ARRAY = 0, 1, 3, 6, 9, 10
#: Exponent's place and width, mantissa's place and width, bias: of IEEE's numbers, by their bytes.
IEEE = {2: (10, 5, 0, 10, 15), 4: (23, 8, 0, 23, 127), 8: (52, 11, 0, 52, 1023)}
#: Types within types; ours have an array within a compound.
DEEPEST = 8
#: Text of any length, which lies elsewhere in the file.
TEXT = np.dtype("O")


def dtype_of(message: Cursor, depth: int = 0) -> np.dtype:
    """The type in a message; Damaged for one that is not known."""
    head = message.number(1)
    kind, version, bits, size = head & 15, head >> 4, message.number(3), message.number(4)
    if depth > DEEPEST:
        raise Damaged("types within types")
    if kind in (INTEGER, FLOAT):
        order = ">" if bits & 1 else "<"
        place, precision = message.numbers(2, 2)
        if kind == INTEGER:
            known = place == 0 and size in (1, 2, 4, 8) and precision == 8 * size
            name = f"{order}{'i' if bits & 8 else 'u'}{size}"
        else:
            form = (*message.numbers(4, 1), message.number(4))
            known = not bits & 64 and place == 0 and precision == 8 * size and form == IEEE.get(size)
            name = f"{order}f{size}"
        if not known:
            raise Damaged(f"numbers of {size} bytes that no processor has")
        return np.dtype(name)
    if kind == STRING and 0 < size <= 1 << 16:
        return np.dtype(f"S{size}")
    if kind == VARIABLE and bits & 15 == 1:
        return TEXT
    if kind == COMPOUND:
        return _compound(message, version, bits & 0xFFFF, size, depth)
    if kind == ARRAY:
        rank = message.number(1)
        message.take(3 if version < 3 else 0)
        shape = message.numbers(rank, 4)
        message.take(4 * rank if version < 3 else 0)
        return np.dtype((dtype_of(message, depth + 1), shape))
    raise Damaged(f"a type of class {kind}")


def _compound(message: Cursor, version: int, members: int, size: int, depth: int) -> np.dtype:
    names, formats, offsets = [], [], []
    for _ in range(members):
        names.append(message.text(padded=version < 3))
        offsets.append(message.number(4 if version < 3 else (size.bit_length() + 7) // 8))
        shape: tuple[int, ...] = ()
        if version == 1:
            rank = message.number(1)
            message.take(11)
            shape = message.numbers(4, 4)[:rank]
        inner = dtype_of(message, depth + 1)
        formats.append(np.dtype((inner, shape)) if shape else inner)
    if TEXT in formats:  # numpy would take what stands there for addresses
        raise Damaged("text of any length in a compound")
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


def shape_of(message: Cursor) -> tuple[int, ...] | None:
    """The shape in a message: () for one value, None for nothing at all."""
    version, rank, _ = message.numbers(3, 1)
    if version == 1:
        message.take(5)
    elif version != 2:
        raise Damaged(f"a shape of version {version}")
    elif message.number(1) == 2:
        return None
    return message.numbers(rank)
