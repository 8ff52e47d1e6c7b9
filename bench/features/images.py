"""Reading an image as detectors and backbones want it: cut to its box, and no larger than asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError

MIN_BOX = 4  # pixels a side; less than this holds nothing to describe


@dataclass(frozen=True)
class ImageRef:
    """An image file, and the part of it that counts.

    box: (left, top, right, bottom) in pixels of the image as displayed, that is after its EXIF orientation,
    as the query boxes of Revisited Oxford; None for the whole image.
    """

    path: Path
    box: tuple[float, float, float, float] | None = None


def read_grey(image: ImageRef, *, max_side: int = 640) -> NDArray[np.uint8]:
    """The image in grey (height, width), cut to its box, then reduced until no side exceeds `max_side` pixels.

    It is never enlarged. Colour, alpha, 16 bits and EXIF orientation are OpenCV's business.
    Raises BenchError when the file cannot be read or decoded, or when the box leaves next to nothing.
    """
    return _read(image, cv2.IMREAD_GRAYSCALE, max_side)


def read_colour(image: ImageRef, *, max_side: int = 640) -> NDArray[np.uint8]:
    """The same in blue, green and red (height, width, 3)."""
    return _read(image, cv2.IMREAD_COLOR, max_side)


def _read(image: ImageRef, mode: int, max_side: int) -> NDArray[np.uint8]:
    whole = _decode(image.path, mode)
    if image.box is not None:
        whole = _cut(whole, image)
    height, width = whole.shape[:2]
    shrink = max_side / max(height, width)
    if shrink >= 1:
        return whole
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    return cv2.resize(whole, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _decode(path: Path, mode: int) -> NDArray[np.uint8]:
    # Not cv2.imread: it says None alike for a missing file, a forbidden one and a broken one.
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise BenchError(
            f"cannot read the image {path} ({error.strerror or error})",
            wanted="a file that exists and may be read",
            cure="Check the path and the data set's list of images.",
        ) from error
    try:
        found = cv2.imdecode(content, mode) if len(content) else None
    except cv2.error:
        found = None
    if found is None:
        raise BenchError(
            f"cannot decode the image {path} ({len(content):,} bytes)",
            wanted="a whole JPEG, PNG, WebP, TIFF or BMP file of 8 or 16 bits a channel",
            cure="Fetch or convert this file again, or take it out of the data set.",
        )
    return found.astype(np.uint8, copy=False)


def _cut(whole: NDArray[np.uint8], image: ImageRef) -> NDArray[np.uint8]:
    box = np.asarray(image.box, dtype=np.float64)
    height, width = whole.shape[:2]
    if box.shape != (4,) or not np.isfinite(box).all():
        left = top = right = bottom = 0
    else:
        limits = np.array([width, height, width, height])
        left, top, right, bottom = (int(edge) for edge in np.clip(np.rint(box), 0, limits))
    if right - left < MIN_BOX or bottom - top < MIN_BOX:
        raise BenchError(
            f"box {image.box} of {path_and_size(image.path, width, height)}",
            wanted=f"(left, top, right, bottom) that share at least {MIN_BOX} x {MIN_BOX} pixels with the image",
            cure="Correct the box in the ground truth; it is in pixels of the full image.",
        )
    return whole[top:bottom, left:right]


def path_and_size(path: Path, width: int, height: int) -> str:
    return f"{path} ({width} x {height} pixels)"
