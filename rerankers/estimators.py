"""Robust transforms between two sets of matched points, and how many of the points agree with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

Model = Literal["affine", "homography", "similarity", "fundamental"]
Method = Literal["ransac", "magsac", "delg"]

_OPENCV: dict[Model, Callable[..., tuple[np.ndarray | None, np.ndarray | None]]] = {
    "affine": cv2.estimateAffine2D,
    "homography": cv2.findHomography,
    "similarity": cv2.estimateAffinePartial2D,
    "fundamental": cv2.findFundamentalMat,
}
#: How OpenCV refuses too few or degenerate points, in 4.12 to 5.0; any other of its errors is passed on.
_REFUSALS = {cv2.Error.STS_ERROR, cv2.Error.STS_ASSERT, cv2.Error.STS_VEC_LENGTH_ERR}
#: Residuals held at once by `affine_trials`: 512 KiB.
_BLOCK = 1 << 16


class Status(IntEnum):
    """What came of an estimate."""

    NO_MODEL = 0
    FOUND = 1
    REFUSED = 2
    NOT_FINITE = 3


@dataclass(frozen=True)
class Estimate:
    """matrix: (2 or 3, 3) source to destination. mask: (n,) bool, the inliers. Both None where there is no model."""

    status: Status
    matrix: np.ndarray | None = None
    mask: np.ndarray | None = None

    @property
    def inliers(self) -> int:
        """Size of the consensus set, 0 without a finite model."""
        return int(np.count_nonzero(self.mask)) if self.status is Status.FOUND and self.mask is not None else 0


def estimate(
    src: np.ndarray,
    dst: np.ndarray,
    *,
    model: Model,
    method: Literal["ransac", "magsac"] = "ransac",
    threshold_px: float,
    max_iterations: int = 1000,
    confidence: float = 0.995,
) -> Estimate:
    """OpenCV's transform of src (n, 2) onto dst (n, 2), float32 pixels.

    OpenCV draws from a generator of its own with a fixed seed: the same points in the same order give the same answer.
    An inlier lies within threshold_px of its match in the destination image, inclusive. OpenCV has no "magsac" for a
    similarity.
    """
    try:
        matrix, mask = _OPENCV[model](
            src,
            dst,
            method=cv2.RANSAC if method == "ransac" else cv2.USAC_MAGSAC,
            ransacReprojThreshold=threshold_px,
            maxIters=max_iterations,
            confidence=confidence,
        )
    except cv2.error as error:
        if error.code not in _REFUSALS:
            raise
        return Estimate(Status.REFUSED)
    if matrix is None:
        return Estimate(Status.NO_MODEL)
    status = Status.FOUND if np.isfinite(matrix).all() else Status.NOT_FINITE
    return Estimate(status, matrix, None if mask is None else mask.ravel().astype(bool))


def affine_trials(
    src: np.ndarray, dst: np.ndarray, *, threshold_px: float, trials: int = 1000, seed: int = 0
) -> Estimate:
    """The affine transform of src (n, 2) onto dst (n, 2) by DELG's rule: every trial is made, none is refined.

    Each trial fits 3 matches drawn as skimage.measure.ransac 0.26 draws them, so that a seed gives the same count.
    The one with most residuals strictly below threshold_px wins, then the one with the smallest sum of squares.
    Samples on a line have no affine transform and are passed over. Source: DELG (Cao et al., ECCV 2020), whose
    retrieval script takes 1,000 trials and 20 px; 3 or fewer matches have no model.
    """
    if len(src) <= 3:
        return Estimate(Status.NO_MODEL)
    source, target = src.astype(np.float64), dst.astype(np.float64)
    drawn = _draws(len(src), trials, seed)
    matrices = _through_three_points(source[drawn], target[drawn])
    if len(matrices) == 0:
        return Estimate(Status.NO_MODEL)
    homogeneous = np.column_stack((source, np.ones(len(source)))).T
    counts, sums = np.empty(len(matrices), np.int64), np.empty(len(matrices))
    step = max(1, _BLOCK // len(src))
    for start in range(0, len(matrices), step):
        residual = matrices[start : start + step] @ homogeneous
        residual -= target.T
        squared = np.square(residual, out=residual).sum(axis=1)
        counts[start : start + step] = np.count_nonzero(squared < threshold_px**2, axis=1)
        sums[start : start + step] = squared.sum(axis=1)
    best = matrices[np.lexsort((sums, -counts))[0]]
    return Estimate(Status.FOUND, best, np.square(best @ homogeneous - target.T).sum(axis=0) < threshold_px**2)


@lru_cache(maxsize=1024)
def _draws(count: int, trials: int, seed: int) -> np.ndarray:
    """(trials, 3) of `count` matches. Kept, for numpy takes 5 ms to draw them one by one: 12 KB each."""
    generator = np.random.default_rng(seed)
    drawn = np.array([generator.choice(count, 3, replace=False) for _ in range(trials)], np.int32).reshape(trials, 3)
    drawn.flags.writeable = False
    return drawn


def _through_three_points(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(t, 2, 3) affine matrices that map source (t, 3, 2) to target, without those that do not exist."""
    edges, moved = source[:, 1:] - source[:, :1], target[:, 1:] - target[:, :1]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    sound = (area != 0) & (moved != 0).any(axis=(1, 2))
    edges, moved, area = edges[sound], moved[sound], area[sound]
    inverse = np.stack((edges[:, 1, ::-1] * (1, -1), edges[:, 0, ::-1] * (-1, 1)), axis=1) / area[:, None, None]
    linear = moved.transpose(0, 2, 1) @ inverse
    shift = target[sound, 0] - (linear @ source[sound, 0, :, None])[..., 0]
    return np.concatenate((linear, shift[..., None]), axis=2)
