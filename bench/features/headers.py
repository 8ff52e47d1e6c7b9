"""What an image file says of its size, before anything is decoded: a small file may claim any number of pixels."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

#: Cameras of 100 million pixels are sold; in three bytes each, and turned upright, they take 600 MB.
MOST_PIXELS = 100_000_000
#: So many may be in a file of any size, as one colour packs well; beyond, at most so many a byte.
FREE_PIXELS, PIXELS_A_BYTE = 16_000_000, 1000
#: Passes over a progressive JPEG; encoders make ten.
MOST_SCANS = 64

Size = tuple[int, int]


def too_large(content: bytes) -> str | None:
    """Why these bytes are not decoded, None when they may be. Of kinds that are not known nothing is decoded."""
    read = next((one for start, one in KINDS.items() if re.match(start, content, re.DOTALL)), None)
    if read is None:
        return "it begins like none of them"
    try:
        sizes = list(read(content))
    except (struct.error, IndexError):
        return "it is cut short, or damaged"
    if not sizes:
        return "it does not say its size"
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if min(width, height) < 1 or width * height > min(MOST_PIXELS, max(FREE_PIXELS, PIXELS_A_BYTE * len(content))):
        return f"it claims {width:,} x {height:,} pixels"
    if read is _jpeg and content.count(b"\xff\xda") > MOST_SCANS:
        return "it has more passes than any encoder makes"
    return None


def _jpeg(content: bytes) -> Iterator[Size]:
    place = 2
    while True:
        while content[place] != 0xFF:  # as decoders do, what is between two markers is passed over
            place += 1
        marker = content[place + 1]
        place += 1 if marker == 0xFF else 2
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        if marker in (0xD9, 0xDA):
            return
        (length,) = struct.unpack_from(">H", content, place)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, place + 3)
            yield width, height
        place += length


def _png(content: bytes) -> Iterator[Size]:
    """Damaged where a chunk is longer than the file: OpenCV takes memory for what a chunk says that it is."""
    place, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, place)
        if length > len(content) - place - 12:
            raise IndexError(place)
        if kind == b"IHDR":
            yield struct.unpack_from(">II", content, place + 8)
        elif kind == b"fcTL":
            yield struct.unpack_from(">II", content, place + 12)
        place += 12 + length


def _webp(content: bytes) -> Iterator[Size]:
    place = 12
    while place + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, place)
        place += 8
        if kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", content, place + 6)
            yield width & 0x3FFF, height & 0x3FFF
        elif kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", content, place + 1)
            yield (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"VP8X":
            yield _three(content, place + 4) + 1, _three(content, place + 7) + 1
        elif kind == b"ANMF":
            yield _three(content, place + 6) + 1, _three(content, place + 9) + 1
        place += length + length % 2


def _three(content: bytes, place: int) -> int:
    low, high = struct.unpack_from("<HB", content, place)
    return int(high << 16 | low)


def _tiff(content: bytes) -> Iterator[Size]:
    """Of the image and of its tiles."""
    order = "<" if content[:1] == b"I" else ">"
    (place,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, place)
    tags = {}
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind, _, value = struct.unpack_from(f"{order}HHI4s", content, entry)
        tags[tag] = struct.unpack(f"{order}H" if kind == 3 else f"{order}I", value[:2] if kind == 3 else value)[0]
    yield tags.get(256, 0), tags.get(257, 0)
    if 322 in tags or 323 in tags:
        yield tags.get(322, 0), tags.get(323, 0)


def _bmp(content: bytes) -> Iterator[Size]:
    (header,) = struct.unpack_from("<I", content, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", content, 18)
    yield abs(width), abs(height)


#: How files begin, as a pattern, and who reads on.
KINDS: dict[bytes, Callable[[bytes], Iterator[Size]]] = {
    rb"\xff\xd8\xff": _jpeg,
    rb"\x89PNG\r\n\x1a\n": _png,
    rb"RIFF....WEBP": _webp,
    rb"II\*\0|MM\0\*": _tiff,
    rb"BM": _bmp,
}
