"""RootSIFT in the published layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.features.images import ImageRef, read_grey
from bench.features.layout import DESCRIPTOR, MASK, X, Y
from bench.features.learned import LOCAL_KIND, SIZE_KIND
from bench.features.sift import DIM, root_sift

Reading: TypeAlias = tuple[NDArray[np.float32], tuple[int, int]]


class RootSift:
    """Describes images by their `top` strongest RootSIFT. side_px: of the longer side, which is never enlarged."""

    def __init__(self, *, side_px: int, top: int) -> None:
        self.side_px, self.top = side_px, top
        self.shapes: dict[str, tuple[int, ...]] = {LOCAL_KIND: (top, DESCRIPTOR + DIM), SIZE_KIND: (2,)}

    def read(self, image: ImageRef) -> Reading:
        """Rows (top, 5 + 128): those of `root_sift`, but row and column from 0 to 1 instead of x and y in pixels; and
        the image's width and height."""
        grey = read_grey(image, max_side=self.side_px)
        rows = root_sift(grey, length=self.top)
        real = rows[:, MASK] == 0
        height, width = grey.shape
        x, y = rows[real, X], rows[real, Y]
        rows[real, X], rows[real, Y] = (y + 0.5) / height, (x + 0.5) / width
        return rows, (width, height)

    def describe(
        self, readings: Sequence[tuple[NDArray[np.float32], tuple[int, int]]]
    ) -> dict[str, NDArray[np.float32]]:
        rows, sizes = zip(*readings, strict=True)
        return {LOCAL_KIND: np.stack(rows), SIZE_KIND: np.array(sizes, dtype=np.float32)}
