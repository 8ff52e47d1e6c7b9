"""Sizes that files of images claim, before anything is decoded."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.errors import BenchError
from bench.features.headers import MOST_PIXELS, too_large
from bench.features.images import ImageRef, read_colour

IMAGE = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)


def png(width: int, height: int, behind: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + behind + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_images_that_encoders_write(ending: str) -> None:
    for image in (IMAGE, IMAGE[..., 0], np.zeros((3000, 3000), np.uint8)):
        content = cv2.imencode(ending, image)[1].tobytes()
        assert too_large(content) is None
        assert too_large(content[:12]) is not None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (png(60_000, 60_000), "claims 60,000 x 60,000 pixels"),
        (png(5_000, 5_000), "claims 5,000 x 5,000"),
        (png(0, 7), "claims 0 x 7"),
        (png(30, 20, struct.pack(">I", 0xE0000080) + b"IDAT"), "cut short, or damaged"),
        (cv2.imencode(".jpg", IMAGE)[1].tobytes().replace(b"\0\x14\0\x1e", b"\xff\xff\xff\xff"), "claims 65,535"),
        (cv2.imencode(".jpg", IMAGE)[1].tobytes() + b"\xff\xda" * 64, "more passes than any encoder makes"),
        (cv2.imencode(".gif", IMAGE)[1].tobytes(), "begins like none of them"),
    ],
)
def test_what_is_not_decoded(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BenchError, match=f"{why}.*up to {MOST_PIXELS:,} pixels"):
        read_colour(ImageRef(tmp_path / "a.png"))
