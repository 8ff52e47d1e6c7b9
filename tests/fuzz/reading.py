"""What is fuzzed: a function that reads a file of somebody else's, and whole files of its kind to begin with."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from rerankers.errors import RerankError

#: How a reader may refuse; anything else that it raises is found.
REFUSALS = (BenchError, RerankError)
#: What numbers in files are replaced by: edges of what fits into one, two, four and eight bytes.
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)

Mutate = Callable[[bytes, random.Random], bytes]


def edit(content: bytes, rng: random.Random) -> bytes:
    """A few bytes flipped, replaced, taken out, doubled or swapped."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(found) + 1)
        length = rng.choice((1, 2, 4, 8, 64))
        kind = rng.randrange(7)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[at : at + length] = rng.randbytes(len(found[at : at + length]))
        elif kind == 2:
            del found[at : at + length]
        elif kind == 3:
            found[at:at] = found[at : at + length] * rng.choice((1, 2, 50))
        elif kind == 4:
            width = rng.choice((1, 2, 4, 8))
            value = (rng.choice(EDGES) + rng.choice((0, 0, -1, 1))) % (1 << 8 * width)
            found[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))
        elif kind == 5:
            source = rng.randrange(len(found) + 1)
            found[at : at + length] = found[source : source + length]
        else:
            del found[at:]
    return bytes(found)


def edit_members(content: bytes, rng: random.Random) -> bytes:
    """A zip file with one member edited and all checksums right, as bytes at random would never have them."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # an edited one
        return edit(content, rng)
    if not members:
        return edit(content, rng)
    chosen, packed = rng.randrange(len(members)), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, (name, data) in enumerate(members):
            archive.writestr(zipfile.ZipInfo(name), edit(data, rng) if number == chosen else data)
    return packed.getvalue()


@dataclass(frozen=True)
class Reader:
    """A kind of file, and what reads it.

    file: the name that the bytes get, in a folder of their own. seeds: whole files of this kind, small ones; made in
    the folder given. read: reads the file as commands do, to its last row, and raises one of REFUSALS for bad bytes.
    prepare: puts beside it what the reader looks for. mutate: edits that leave the container whole, if it has one.
    """

    name: str
    file: str
    seeds: Callable[[Path], Iterable[bytes]]
    read: Callable[[Path], object]
    prepare: Callable[[Path], None] = lambda folder: None
    mutate: Mutate = edit
