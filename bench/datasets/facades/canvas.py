"""A drawing surface in metres that keeps colour, relief and coverage side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]  # red, green, blue
Points = Sequence[tuple[float, float]]

WALL = 100  # relief of the plain wall; lower is recessed, higher stands out (about 1 cm a step)
_SHIFT = 3  # sub-pixel bits of OpenCV's drawing coordinates


def shade(colour: Colour, factor: float) -> Colour:
    """The same colour, darker (factor < 1) or lighter (factor > 1)."""
    red, green, blue = (min(255, max(0, round(c * factor))) for c in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, weight: float) -> Colour:
    """weight 0 gives the first colour, 1 the second."""
    red, green, blue = (round(a + (b - a) * weight) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Canvas:
    """colour (h, w, 3), relief (h, w) and alpha (h, w), all uint8; x runs right and y up, in metres."""

    def __init__(self, width_m: float, height_m: float, ppm: int) -> None:
        self.ppm, self.height_m = ppm, height_m
        shape = (max(1, round(height_m * ppm)), max(1, round(width_m * ppm)))
        self.colour: Pixels = np.zeros((*shape, 3), np.uint8)
        self.relief: Pixels = np.full(shape, WALL, np.uint8)
        self.alpha: Pixels = np.zeros(shape, np.uint8)

    def window(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice]:
        """The pixels of a rectangle, cut at the canvas's edge."""
        rows = slice(max(0, round((self.height_m - y1) * self.ppm)), max(0, round((self.height_m - y0) * self.ppm)))
        return rows, slice(max(0, round(x0 * self.ppm)), max(0, round(x1 * self.ppm)))

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, relief: int = WALL) -> None:
        where = self.window(x0, y0, x1, y1)
        self.colour[where], self.relief[where], self.alpha[where] = colour, relief, 255

    def polygon(self, points: Points, colour: Colour, relief: int = WALL) -> None:
        corners = self.fixed(points)
        for layer, value in ((self.colour, colour), (self.relief, relief), (self.alpha, 255)):
            cv2.fillPoly(layer, [corners], value, shift=_SHIFT)

    def disc(self, x: float, y: float, radius: float, colour: Colour, relief: int = WALL) -> None:
        centre = tuple(self.fixed([(x, y)])[0].tolist())
        for layer, value in ((self.colour, colour), (self.relief, relief), (self.alpha, 255)):
            cv2.circle(layer, centre, round(radius * self.ppm * (1 << _SHIFT)), value, -1, shift=_SHIFT)

    def stroke(self, points: Points, width_m: float, colour: Colour, relief: int | None = None) -> None:
        """An open line; relief None leaves the surface as it is (paint on a wall)."""
        line, width_px = [self.fixed(points)], max(1, round(width_m * self.ppm))
        for layer, value in ((self.colour, colour), (self.relief, relief), (self.alpha, 255)):
            if value is not None:
                cv2.polylines(layer, line, False, value, width_px, cv2.LINE_8, _SHIFT)

    def paste(self, stamp: Canvas, x: float, y: float) -> None:
        """Lays a stamp with its lower left corner at (x, y); only what it covers is replaced."""
        top, left = round((self.height_m - y) * self.ppm) - stamp.alpha.shape[0], round(x * self.ppm)
        rows, cols = self.alpha.shape
        r0, c0, r1, c1 = (
            max(0, top),
            max(0, left),
            min(rows, top + stamp.alpha.shape[0]),
            min(cols, left + stamp.alpha.shape[1]),
        )
        if r1 <= r0 or c1 <= c0:
            return
        source, target = (slice(r0 - top, r1 - top), slice(c0 - left, c1 - left)), (slice(r0, r1), slice(c0, c1))
        covered = stamp.alpha[source]
        cv2.copyTo(stamp.colour[source], covered, self.colour[target])
        cv2.copyTo(stamp.relief[source], covered, self.relief[target])
        self.alpha[target] |= covered

    def fixed(self, points: Points) -> NDArray[np.int32]:
        """Metres to OpenCV's fixed-point pixels."""
        scale = self.ppm << _SHIFT
        return np.array([(round(x * scale), round((self.height_m - y) * scale)) for x, y in points], np.int32)
