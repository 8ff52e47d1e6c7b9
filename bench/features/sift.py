"""RootSIFT (Arandjelovic and Zisserman, CVPR 2012, section 2) over OpenCV's SIFT, in the store's layout."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.features.layout import DESCRIPTOR, MASK, SCALE, WEIGHT, X, Y

DIM = 128


def root_sift(grey: NDArray[np.uint8], *, length: int) -> NDArray[np.float32]:
    """The `length` strongest RootSIFT descriptors of an image (height, width): rows (length, 5 + 128).

    Columns as in the store: x and y in pixels of this image, scale (the keypoint's diameter in pixels), mask
    (1 for padding), weight (the detector's response), descriptor (unit L2 norm). Rows descend by response;
    equal responses are ordered by position, so that a shorter result is the beginning of a longer one.
    An image without texture, or too small for any, gives padding only.
    """
    rows = np.zeros((length, DESCRIPTOR + DIM), dtype=np.float32)
    rows[:, MASK] = 1
    points, sift = _detector(length).detectAndCompute(grey, None)
    if not points:
        return rows
    table = np.array([(p.pt[0], p.pt[1], p.size, p.response, p.angle) for p in points], dtype=np.float32)
    root = hellinger(np.asarray(sift, dtype=np.float32))
    x, y, scale, response, angle = table.T
    # OpenCV returns more than asked for where responses tie, in no promised order.
    order = np.lexsort((angle, scale, x, y, -response))
    order = order[root[order].any(axis=1)][:length]
    kept = rows[: len(order)]
    kept[:, X], kept[:, Y], kept[:, SCALE], kept[:, WEIGHT] = x[order], y[order], scale[order], response[order]
    kept[:, MASK] = 0
    kept[:, DESCRIPTOR:] = root[order]
    return rows


def hellinger(sift: NDArray[np.float32]) -> NDArray[np.float32]:
    """RootSIFT of SIFT (n, 128): L1-normalised, then the square root, which makes the L2 norm 1.

    The inner product of two is the Hellinger kernel of the histograms. A zero histogram stays zero.
    """
    total = np.abs(sift).sum(axis=1, keepdims=True)
    return np.sqrt(np.abs(sift) / np.where(total > 0, total, 1)).astype(np.float32, copy=False)


def parameters(*, length: int, max_side: int) -> dict[str, str | int]:
    """What these descriptors depend on beside the image; part of a store's identity."""
    return {"name": "rootsift", "dim": DIM, "length": length, "max_side": max_side, "opencv": cv2.__version__}


@cache
def _detector(length: int) -> cv2.SIFT:
    # Precise upscaling takes away a shift of a quarter of a pixel from the doubled first octave.
    return cv2.SIFT.create(nfeatures=length, enable_precise_upscale=True)
