"""Dense RootSIFT: feature maps that nobody had to train, for re-rankers that read maps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.features.sift import DIM, hellinger

NAME = "dense-rootsift"
#: Pixels of an image to one of its feature map.
STRIDE = 16
#: Of every keypoint, in pixels. A descriptor of OpenCV is 4 bins of 1.5 diameters wide: 2 cells, so that neighbours
#: share half of what they see and a bin is half a cell.
DIAMETER = 2 * STRIDE / 6
#: Octave 0, layer 2 as OpenCV packs them: the blur of the keypoints that its detector gives a diameter of 5.1 pixels.
OCTAVE = 2 << 8
#: Length of a cell's vector, that of OpenCV's SIFT. With length 1, products of norms in CVNet would come near the
#: EPSILON that it adds to them.
NORM = 512.0


class DenseRootSift:
    """The map as a backbone gives it; a backbone without weights. weights: what it runs with, for fingerprints."""

    name, channels, stride = NAME, DIM, STRIDE
    weights = f"OpenCV {cv2.__version__}"

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, 128, H / 16, W / 16), rounded up, of images (B, H, W, 3) in blue, green and red."""
        return np.stack([dense_root_sift(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)) for image in images])


def dense_root_sift(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The map (128, H / 16, W / 16), rounded up, of an image (H, W): an upright RootSIFT of length 512 a cell.

    A cell that the image's border cuts is described at the centre of what is left of it. One without texture is zero.
    """
    height, width = grey.shape
    rows, columns = _centres(height), _centres(width)
    cells = np.zeros((len(rows) * len(columns), DIM), dtype=np.float32)
    kept, sift = _detector().compute(grey, _grid(rows, columns))
    if kept:  # nobody promises that they are all there, or in their order
        cells[[point.class_id for point in kept]] = NORM * hellinger(np.asarray(sift, dtype=np.float32))
    return np.ascontiguousarray(cells.T).reshape(DIM, len(rows), len(columns))


def _centres(side: int) -> tuple[float, ...]:
    """Of the cells along a side, in pixels."""
    return tuple((start + min(start + STRIDE, side)) / 2 for start in range(0, side, STRIDE))


@cache
def _grid(rows: tuple[float, ...], columns: tuple[float, ...]) -> Sequence[cv2.KeyPoint]:
    """A keypoint a cell, row by row; its class is the cell's number."""
    places = [(x, y) for y in rows for x in columns]
    return [cv2.KeyPoint(x, y, DIAMETER, 0, 0, OCTAVE, cell) for cell, (x, y) in enumerate(places)]


@cache
def _detector() -> cv2.SIFT:
    return cv2.SIFT.create()
