"""Images of every kind that is read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import cv2
import numpy as np

from bench.features.images import ImageRef, read_colour, read_grey, read_whole
from tests.fuzz.reading import Reader, edit

SMALL = np.random.default_rng(0).integers(0, 255, (9, 12, 4)).astype(np.uint8)
KINDS: dict[str, tuple[tuple[int, ...], ...]] = {
    ".jpg": ((), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)),
    ".png": ((),),
    ".webp": ((cv2.IMWRITE_WEBP_QUALITY, 50), (cv2.IMWRITE_WEBP_QUALITY, 101)),
    ".tif": (
        (),
        (cv2.IMWRITE_TIFF_COMPRESSION, 8),
        (cv2.IMWRITE_TIFF_COMPRESSION, 1),
        (cv2.IMWRITE_TIFF_COMPRESSION, 7),
    ),
    ".bmp": ((),),
}


def encoded(_: Path, *, ending: str) -> Iterator[bytes]:
    for options in KINDS[ending]:
        for channels in (1, 3, 4):
            if channels < 4 or ending in (".png", ".webp", ".tif"):
                yield packed(ending, SMALL[..., :channels], options)
    if ending in (".png", ".tif"):
        yield packed(ending, SMALL[..., :3].astype(np.uint16) * 200)


def packed(ending: str, image: np.ndarray, options: tuple[int, ...] = ()) -> bytes:
    done, content = cv2.imencode(ending, image, options)
    assert done
    return content.tobytes()


def edit_chunk(content: bytes, rng: Random) -> bytes:
    """A PNG file with one chunk edited, or what is packed in it, and its checksum right."""
    chunks, place = [], 8
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return edit(content, rng)
    chosen = rng.randrange(len(chunks))
    kind, data = chunks[chosen]
    if kind == b"IDAT" and rng.random() < 0.5:
        try:
            data = zlib.compress(edit(zlib.decompress(data), rng))
        except zlib.error:
            data = edit(data, rng)
    else:
        data = edit(data, rng)
    chunks[chosen] = kind, data
    if rng.random() < 0.1:
        chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
    whole = (
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in chunks
    )
    return content[:8] + b"".join(whole)


def read(path: Path) -> None:
    """One way of reading an image, by the length of its file: each decodes it anew."""
    ref = ImageRef(path)
    with path.open("rb") as file:
        way = file.seek(0, 2) % 3
    if way == 0:
        read_grey(ref, max_side=8)
    elif way == 1:
        read_colour(ref, max_side=8)
    else:
        read_whole(ref)


READERS = tuple(
    Reader(
        f"image-{ending[1:]}",
        f"case{ending}",
        partial(encoded, ending=ending),
        read,
        mutate=edit_chunk if ending == ".png" else edit,
    )
    for ending in KINDS
)
