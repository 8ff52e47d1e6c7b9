"""A pinhole camera in front of a facade: x along the front, y up, z towards the street, in metres."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from .warp import Matrix


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """Looks from `position` at `target` (both x, y, z in metres), rolled by roll radians.

    size is the image's (width, height) and focal the focal length, both in pixels.
    """

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    focal: float
    size: tuple[int, int]
    roll: float = 0.0

    def projection(self) -> Matrix:
        """(3, 4): homogeneous world metres to homogeneous image pixels; the third row is the depth in metres."""
        forward = _unit(np.subtract(self.target, self.position))
        right = _unit(np.array([-forward[2], 0.0, forward[0]]))
        down = np.array(
            [
                forward[1] * right[2] - forward[2] * right[1],
                forward[2] * right[0] - forward[0] * right[2],
                forward[0] * right[1] - forward[1] * right[0],
            ]
        )
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        axes = np.stack((cos * right + sin * down, cos * down - sin * right, forward))
        inner = np.array([[self.focal, 0, self.size[0] / 2], [0, self.focal, self.size[1] / 2], [0, 0, 1.0]])
        return np.asarray(inner @ np.column_stack((axes, -axes @ np.asarray(self.position))))

    def front(self) -> Matrix:
        """(3, 3): homography from the front's metres (x, y, 1) to pixels."""
        return self.projection()[:, [0, 1, 3]]

    def ground(self) -> Matrix:
        """(3, 3): homography from the ground's metres (x, z, 1) to pixels."""
        return self.projection()[:, [0, 2, 3]]

    def azimuth(self, x: float) -> float:
        """Angle in degrees between the front's normal at x and the camera, along the ground."""
        return math.degrees(math.atan2(self.position[0] - x, self.position[2]))


def project(matrix: Matrix, points: Matrix) -> tuple[Matrix, Matrix]:
    """Points (n, d) to pixels (n, 2) and depths (n,); a depth <= 0 is behind the camera, its pixel meaningless."""
    homogeneous = points @ matrix[:, :-1].T + matrix[:, -1]
    depth = homogeneous[:, 2]
    return homogeneous[:, :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[:, None], depth


def inverse(matrix: Matrix) -> Matrix:
    """Of a (3, 3) matrix, up to scale, by cofactors: no library's rounding in it; positive in front of the camera."""
    a, b, c = matrix
    adjugate = np.stack((_cross(b, c), _cross(c, a), _cross(a, b)), axis=1)
    return adjugate / float((a * adjugate[:, 0]).sum())


def jacobian(matrix: Matrix, points: Matrix) -> Matrix:
    """(n, 2, 2): derivatives of the pixels by the plane's metres at points (n, 2)."""
    pixels, depth = project(matrix, points)
    return np.asarray((matrix[:2, :2] - pixels[:, :, None] * matrix[2, :2]) / depth[:, None, None])


def _unit(vector: Matrix) -> Matrix:
    return np.asarray(vector / math.sqrt(float((vector * vector).sum())))


def _cross(a: Matrix, b: Matrix) -> Matrix:
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
