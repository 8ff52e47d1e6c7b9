"""Wall materials and the stains that make each wall its own."""

from __future__ import annotations

import cv2
import numpy as np

from .canvas import WALL, Canvas, Colour, Pixels, mix

_COURSES = {
    "brick": (0.30, 0.10, 20),
    "ashlar": (0.95, 0.42, 12),
    "bands": (40.0, 0.55, 10),
    "plaster": (50.0, 50.0, 2),
}


def lay(
    canvas: Canvas, box: tuple[float, float, float, float], colour: Colour, material: str, rng: np.random.Generator
) -> None:
    """Covers a rectangle (x0, y0, x1, y1) with courses of bricks or blocks, each of its own shade."""
    where = canvas.window(*box)
    height, width = canvas.alpha[where].shape
    if not height or not width:
        return
    long_m, tall_m, spread = _COURSES[material]
    long_px, tall_px = max(4, round(long_m * canvas.ppm)), max(3, round(tall_m * canvas.ppm))
    rows, cols = height // tall_px + 1, width // long_px + 2
    tones = rng.integers(128 - spread, 128 + spread, (rows, cols), dtype=np.int16).astype(np.uint8)
    lines = np.repeat(tones, long_px, axis=1)
    joints = material != "plaster"
    if joints:
        lines[:, long_px - 1 :: long_px] = 112
    lines[1::2] = np.roll(lines[1::2], long_px // 2, axis=1)
    tone = np.repeat(lines[:, :width], tall_px, axis=0)[:height]
    relief = np.full((height, width), WALL, np.uint8)
    if joints:
        tone[tall_px - 1 :: tall_px] = 110
        if material != "brick":
            relief[tall_px - 1 :: tall_px] = WALL - 3
    canvas.colour[where] = tinted(colour, tone)
    canvas.relief[where], canvas.alpha[where] = relief, 255


def tinted(colour: Colour, tone: Pixels) -> Pixels:
    """(h, w) tones around 128 to colours, through one table a channel."""
    ramp = np.arange(256, dtype=np.int32)
    table = np.stack([np.clip(ramp * c >> 7, 0, 255) for c in colour], axis=1).astype(np.uint8)
    return np.asarray(table[tone])


def clouds(rng: np.random.Generator, height: int, width: int, cell_px: int, spread: int) -> Pixels:
    """Smooth noise around 128: the sum of two octaves of random grids, enlarged in exact arithmetic."""
    total = np.full((height, width), 128, np.int16)
    for size, reach in ((cell_px, spread), (max(2, cell_px // 3), spread // 2)):
        grid = rng.integers(128 - reach, 129 + reach, (height // size + 2, width // size + 2), dtype=np.int16)
        smooth = cv2.resize(grid.astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
        total += np.asarray(smooth, np.int16) - 128
    return np.clip(total, 0, 255).astype(np.uint8)


def weather(canvas: Canvas, rng: np.random.Generator) -> None:
    """Stains, damp at the foot, streaks from above: low-frequency shades that no other wall has."""
    height, width = canvas.alpha.shape
    tone = clouds(rng, height, width, canvas.ppm * 3, 26)
    foot = canvas.ppm
    tone[-foot:] = cv2.subtract(
        tone[-foot:], np.arange(foot, dtype=np.uint8)[:, None] // 2 * np.ones_like(tone[-foot:])
    )
    for _ in range(width // canvas.ppm):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        wide, long = int(rng.integers(2, canvas.ppm // 3 + 3)), int(rng.integers(canvas.ppm // 2, canvas.ppm * 4))
        patch = tone[y : y + long, x : x + wide]
        dark = np.linspace(float(rng.uniform(10, 34)), 0, long).astype(np.uint8)[: patch.shape[0], None]
        tone[y : y + long, x : x + wide] = cv2.subtract(patch, np.repeat(dark, patch.shape[1], axis=1))
    cv2.multiply(canvas.colour, cv2.merge((tone, tone, tone)), canvas.colour, scale=1 / 128)


def crack(canvas: Canvas, x: float, y: float, rng: np.random.Generator, colour: Colour) -> None:
    """A random walk down the wall."""
    steps = np.cumsum(rng.uniform((-0.25, -0.45), (0.25, 0.02), (int(rng.integers(6, 14)), 2)), axis=0)
    canvas.stroke(np.add(steps, (x, y)).tolist(), 0.03, mix(colour, (20, 18, 16), 0.7), WALL - 8)
