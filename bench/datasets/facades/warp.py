"""Perspective sampling in fixed-point arithmetic, so that every machine rounds every pixel alike."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .canvas import Pixels

Matrix = NDArray[np.float64]
_FAR = 32000.0  # outside any texture, and inside the 16 bits of OpenCV's fixed-point maps


class Texture:
    """An image that is halved on demand, along each axis by itself, so that slanted views neither flicker nor blur."""

    def __init__(self, pixels: Pixels) -> None:
        self._levels: dict[tuple[int, int], Pixels] = {(0, 0): pixels}

    def level(self, across: int, down: int) -> Pixels:
        """The image halved `across` times in width and `down` times in height."""
        if (across, down) not in self._levels:
            finer = self.level(across - 1, down) if across else self.level(across, down - 1)
            first, second = (finer[:, :-1:2], finer[:, 1::2]) if across else (finer[:-1:2], finer[1::2])
            self._levels[across, down] = np.asarray(cv2.addWeighted(first, 0.5, second, 0.5, 0), np.uint8)
        return self._levels[across, down]

    def sample(
        self,
        to_texture: Matrix,
        size: tuple[int, int],
        *,
        shrink: tuple[float, float],
        offset: tuple[int, int] = (0, 0),
        wrap: bool = False,
    ) -> Pixels:
        """The texture as seen through a homography from image pixels to texture pixels.

        size is (width, height) of the piece of the image wanted, offset its upper left corner; shrink says how many
        texture pixels fall on an image pixel along x and y. Outside the texture, and behind the camera, all is 0.
        """
        across, down = (min(4, max(0, round(np.log2(max(s, 1.0)) - 0.2))) for s in shrink)
        while min(self._levels[0, 0].shape[1] >> across, self._levels[0, 0].shape[0] >> down) < 2:
            across, down = max(0, across - 1), max(0, down - 1)
        halve = np.array([[0.5**across, 0, 0.5 * (0.5**across - 1)], [0, 0.5**down, 0.5 * (0.5**down - 1)], [0, 0, 1]])
        coarse, fine = _maps(halve @ to_texture, size, offset)
        border = cv2.BORDER_WRAP if wrap else cv2.BORDER_CONSTANT
        return np.asarray(cv2.remap(self.level(across, down), coarse, fine, cv2.INTER_LINEAR, borderMode=border))


def _maps(
    matrix: Matrix, size: tuple[int, int], offset: tuple[int, int]
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """OpenCV's fixed-point maps (whole pixels, and 5 bits of fraction an axis)."""
    x = (np.arange(size[0]) + offset[0]).astype(np.float64)[None, :]
    y = (np.arange(size[1]) + offset[1]).astype(np.float64)[:, None]
    along, down = matrix[:, 0, None, None] * x, matrix[:, 1, None, None] * y + matrix[:, 2, None, None]
    along, down = along.astype(np.float32), down.astype(np.float32)
    depth = along[2] + down[2]
    behind = depth <= 1e-9
    some_behind = bool(behind.any())
    if some_behind:
        depth[behind] = 1.0
    per_pixel = np.divide(np.float32(32), depth, out=depth)
    coarse = np.empty((size[1], size[0], 2), np.int16)
    fine = np.zeros((size[1], size[0]), np.uint16)
    for axis in (0, 1):
        position = along[axis] + down[axis]
        position *= per_pixel
        np.clip(position, -_FAR * 32, _FAR * 32, out=position)
        if some_behind:
            position[behind] = -_FAR * 32
        fixed = np.rint(position, out=position).astype(np.int32)
        coarse[..., axis] = fixed >> 5
        fixed &= 31
        fine |= (fixed << (5 * axis)).astype(np.uint16)
    return coarse, fine


def lay_over(image: Pixels, piece: Pixels, left: int = 0, top: int = 0) -> None:
    """Blends an RGBA piece into the image at (left, top), where both overlap."""
    rows, cols = image.shape[:2]
    r0, c0, r1, c1 = max(0, top), max(0, left), min(rows, top + piece.shape[0]), min(cols, left + piece.shape[1])
    if r1 <= r0 or c1 <= c0:
        return
    part, target = piece[r0 - top : r1 - top, c0 - left : c1 - left], image[r0:r1, c0:c1]
    cover = np.ascontiguousarray(part[..., 3])
    cv2.copyTo(np.ascontiguousarray(part[..., :3]), (cover == 255).view(np.uint8), target)
    edge = np.flatnonzero((cover > 0) & (cover < 255))
    if edge.size:
        y, x = np.divmod(edge, c1 - c0)
        weight = cover[y, x, None].astype(np.uint32)
        target[y, x] = (part[y, x, :3] * weight + target[y, x] * (255 - weight) + 127) // 255
