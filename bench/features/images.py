"""Reading an image as detectors and backbones want it: cut to its box, and no larger than asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import BenchError
from bench.features.headers import MOST_PIXELS, too_large

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


def read_whole(image: ImageRef) -> tuple[NDArray[np.uint8], int]:
    """The image in blue, green and red (height, width, 3), cut to its box but not resized; and the longer side in
    pixels of what it was cut from.

    The box is cut to whole numbers, not rounded, as published extractions do. Raises as `read_grey`.
    """
    whole = _decode(image.path, cv2.IMREAD_COLOR)
    return (whole if image.box is None else _cut(whole, image, to_integer=np.trunc)), max(whole.shape[:2])


def quantised_px(side_px: int, scale: float, patch_px: int) -> int:
    """`side_px` times `scale`, rounded to a multiple of the patch, but at least one; ties go to the even multiple."""
    return patch_px * max(round(side_px * scale / patch_px), 1)


def bicubic(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """(3, height, width) in red, green and blue from 0 to 1: `pixels` as read, resized with antialiasing.

    As in the extraction of ELViS: it overshoots at edges, and is not clamped.
    """
    rgb = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).permute(2, 0, 1)[None].float() / 255
    if rgb.shape[2:] == size:
        return rgb[0]
    return F.interpolate(rgb, size=size, mode="bicubic", align_corners=False, antialias=True)[0]


def scaled(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """`pixels` at another scale: by area where they get fewer, else linearly, as in the extraction of CVNet."""
    if scale == 1:
        return pixels
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    # not to a size: OpenCV would take the step between samples from its rounded sides
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=how).astype(np.uint8, copy=False)


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
        content = path.read_bytes()
    except OSError as error:
        raise BenchError(
            f"cannot read the image {path} ({error.strerror or error})",
            wanted="a file that exists and may be read",
            cure="Check the path and the data set's list of images.",
        ) from error
    refused, found = too_large(content), None
    if refused is None:
        try:
            found = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
        except cv2.error as error:
            refused = str(error.err)
    if found is None:
        raise BenchError(
            f"cannot decode the image {path} ({len(content):,} bytes){f': {refused}' if refused else ''}",
            wanted=f"a whole JPEG, PNG, WebP, TIFF or BMP file, 8 or 16 bits a channel, up to {MOST_PIXELS:,} pixels",
            cure="Fetch or convert this file again, or take it out of the data set.",
        )
    return found.astype(np.uint8, copy=False)


def _cut(whole: NDArray[np.uint8], image: ImageRef, *, to_integer: Callable[[Any], Any] = np.rint) -> NDArray[np.uint8]:
    box = np.asarray(image.box, dtype=np.float64)
    height, width = whole.shape[:2]
    if box.shape != (4,) or not np.isfinite(box).all():
        left = top = right = bottom = 0
    else:
        limits = np.array([width, height, width, height])
        left, top, right, bottom = (int(edge) for edge in np.clip(to_integer(box), 0, limits))
    if right - left < MIN_BOX or bottom - top < MIN_BOX:
        raise BenchError(
            f"box {image.box} of {path_and_size(image.path, width, height)}",
            wanted=f"(left, top, right, bottom) that share at least {MIN_BOX} x {MIN_BOX} pixels with the image",
            cure="Correct the box in the ground truth; it is in pixels of the full image.",
        )
    return whole[top:bottom, left:right]


def path_and_size(path: Path, width: int, height: int) -> str:
    return f"{path} ({width} x {height} pixels)"
