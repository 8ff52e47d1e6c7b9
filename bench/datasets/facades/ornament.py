"""Everything that is on a wall only once: reliefs, signs, statues, clocks, posters, paint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from .building import Style, tint
from .canvas import WALL, Canvas, Colour, mix, shade

Draw = Callable[[Canvas, float, float, float, Style, np.random.Generator], None]
"""draw(canvas, x, y, radius, style, rng): the piece around (x, y), within radius metres."""


_PAINTS: tuple[Colour, ...] = (
    (150, 44, 40),
    (40, 66, 116),
    (200, 160, 66),
    (46, 92, 68),
    (226, 220, 204),
    (58, 50, 48),
    (116, 62, 92),
    (188, 108, 58),
    (96, 132, 150),
    (140, 146, 98),
)


def _colour(rng: np.random.Generator) -> Colour:
    return tint(rng, _PAINTS[int(rng.integers(len(_PAINTS)))], 16)


def _circle(x: float, y: float, radius: float, corners: int, turn: float = 0.0) -> list[tuple[float, float]]:
    return [
        (x + radius * math.cos(turn + math.tau * k / corners), y + radius * math.sin(turn + math.tau * k / corners))
        for k in range(corners)
    ]


def rosette(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    petals, turn = int(rng.integers(5, 13)), float(rng.uniform(0, 1))
    c.disc(x, y, r, style.trim, WALL + 16)
    c.disc(x, y, 0.86 * r, shade(style.wall, 0.6), WALL - 14)
    inner = float(rng.uniform(0.4, 0.65)) * r
    for px, py in _circle(x, y, inner, petals, turn):
        c.disc(px, py, r * min(0.24, 1.3 / petals), mix(style.trim, style.glass, float(rng.uniform(0, 0.7))), WALL + 10)
    c.disc(x, y, 0.22 * r, style.accent, WALL + 20)


def relief(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    c.rect(x - r, y - 0.8 * r, x + r, y + 0.8 * r, style.trim, WALL + 14)
    c.rect(x - 0.9 * r, y - 0.7 * r, x + 0.9 * r, y + 0.7 * r, shade(style.trim, 0.8), WALL - 6)
    for _ in range(int(rng.integers(5, 10))):
        px, py = x + float(rng.uniform(-0.7, 0.7)) * r, y + float(rng.uniform(-0.5, 0.5)) * r
        corners = int(rng.integers(3, 9))
        blob = [
            (
                px + float(s) * 0.26 * r * math.cos(math.tau * k / corners),
                py + float(s) * 0.26 * r * math.sin(math.tau * k / corners),
            )
            for k, s in enumerate(rng.uniform(0.4, 1.2, corners))
        ]
        c.polygon(blob, shade(style.trim, float(rng.uniform(0.65, 1.12))), WALL + int(rng.integers(6, 34)))


def shield(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    half, base = 0.75 * r, [(-1.0, 1.0), (1.0, 1.0), (1.0, 0.0), (0.6, -0.7), (0.0, -1.2), (-0.6, -0.7), (-1.0, 0.0)]
    c.polygon([(x + 1.15 * half * a, y + 1.12 * half * b) for a, b in base], style.trim, WALL + 24)
    c.polygon([(x + half * a, y + half * b) for a, b in base], _colour(rng), WALL + 18)
    c.rect(x, y, x + 0.95 * half, y + 0.95 * half, _colour(rng), WALL + 18)
    c.rect(x - 0.95 * half, y - 0.5 * half, x, y, _colour(rng), WALL + 18)
    for sx, sy in ((-0.45, 0.45), (0.45, 0.45), (0.4, -0.4), (-0.4, -0.35)):
        c.polygon(
            _circle(x + sx * half, y + sy * half, 0.3 * half, int(rng.integers(3, 7)), float(rng.uniform(0, 6))),
            _colour(rng),
            WALL + 26,
        )


def mosaic(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    palette, cells = [_colour(rng), _colour(rng), style.accent, style.trim], int(rng.integers(4, 8))
    c.rect(x - r, y - r, x + r, y + r, style.trim, WALL + 8)
    size = 1.8 * r / cells
    for k, pick in enumerate(rng.integers(0, 4, cells * cells)):
        left, low = x - 0.9 * r + size * (k % cells), y - 0.9 * r + size * (k // cells)
        c.rect(left, low, left + 0.9 * size, low + 0.9 * size, palette[pick], WALL + 2)


def niche(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    arch = [
        (x + 0.62 * r * math.cos(math.pi * k / 10), y + 0.5 * r + 0.5 * r * math.sin(math.pi * k / 10))
        for k in range(11)
    ]
    c.polygon(
        [
            (x - 0.8 * r, y - r),
            (x + 0.8 * r, y - r),
            (x + 0.8 * r, y + 0.5 * r),
            (x, y + 1.15 * r),
            (x - 0.8 * r, y + 0.5 * r),
        ],
        style.trim,
        WALL + 16,
    )
    c.polygon([(x - 0.62 * r, y - 0.9 * r), (x + 0.62 * r, y - 0.9 * r), *arch], shade(style.wall, 0.4), WALL - 36)
    stone = shade(style.trim, float(rng.uniform(0.75, 1.05)))
    hip, lean = float(rng.uniform(0.2, 0.42)) * r, float(rng.uniform(-0.15, 0.15)) * r
    c.polygon(
        [
            (x - hip, y - 0.85 * r),
            (x + hip, y - 0.85 * r),
            (x + lean + 0.22 * r, y + 0.35 * r),
            (x + lean - 0.22 * r, y + 0.35 * r),
        ],
        stone,
        WALL - 4,
    )
    c.disc(x + lean, y + 0.5 * r, 0.17 * r, stone, WALL)
    for side in (-1, 1):
        hand = (x + side * float(rng.uniform(0.3, 0.6)) * r, y + float(rng.uniform(-0.4, 0.7)) * r)
        c.stroke([(x + lean + side * 0.2 * r, y + 0.25 * r), hand], 0.13 * r, shade(stone, 0.92), WALL)


def medallion(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    c.polygon(_circle(x, y, r, int(rng.integers(6, 20))), style.trim, WALL + 18)
    c.disc(x, y, 0.8 * r, shade(style.accent, 1.3), WALL + 4)
    profile = [
        (x + 0.5 * r * math.cos(a) * float(s), y + 0.55 * r * math.sin(a) * float(s))
        for a, s in zip(np.linspace(0, 6, 11).tolist(), rng.uniform(0.6, 1.25, 11), strict=True)
    ]
    c.polygon(profile, shade(style.trim, 1.08), WALL + 24)


def festoon(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    sag = float(rng.uniform(0.4, 0.9)) * r
    for k in range(13):
        t = k / 6 - 1
        c.disc(
            x + t * r,
            y + 0.3 * r - sag * (1 - t * t),
            float(rng.uniform(0.08, 0.2)) * r,
            shade(style.trim, float(rng.uniform(0.7, 1.1))),
            WALL + 22,
        )
    for side in (-1, 1):
        c.stroke([(x + side * r, y + 0.4 * r), (x + side * r, y - 0.7 * r)], 0.15 * r, style.trim, WALL + 18)


def lattice(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    c.rect(x - r, y - r, x + r, y + r, style.trim, WALL + 12)
    c.rect(x - 0.88 * r, y - 0.88 * r, x + 0.88 * r, y + 0.88 * r, shade(style.wall, 0.5), WALL - 20)
    for _ in range(int(rng.integers(5, 10))):
        ends = rng.uniform(-0.86, 0.86, (2, 2)) * r
        side = int(rng.integers(2))
        ends[0, side], ends[1, side] = -0.86 * r, 0.86 * r
        c.stroke(np.add(ends, (x, y)).tolist(), 0.09 * r + 0.03, style.trim, WALL + 6)


def clock(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    c.disc(x, y, r, style.accent, WALL + 24)
    c.disc(x, y, 0.85 * r, (238, 234, 220), WALL + 20)
    for k, (px, py) in enumerate(_circle(x, y, 0.7 * r, 12)):
        c.disc(px, py, (0.1 if k % 3 == 0 else 0.05) * r, (30, 30, 34), WALL + 20)
    for long in (0.65, 0.42):
        angle = float(rng.uniform(0, math.tau))
        c.stroke(
            [(x, y), (x + long * r * math.cos(angle), y + long * r * math.sin(angle))],
            0.09 * r,
            (24, 24, 28),
            WALL + 22,
        )


def lettering(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    """A sign of invented letters, twice as wide as r."""
    count, board, dark = int(rng.integers(4, 10)), mix(style.accent, _colour(rng), 0.5), bool(rng.random() < 0.5)
    high = min(0.45, 1.6 * r / count)
    c.rect(x - r - 0.15, y - high - 0.12, x + r + 0.15, y + high + 0.12, shade(board, 0.5 if dark else 1.5), WALL + 16)
    ink = (244, 236, 206) if dark else shade(board, 0.4)
    for k in range(count):
        glyph(c, x - r + 2 * r * (k + 0.15) / count, y - 0.8 * high, 1.3 * r / count, 1.6 * high, ink, rng)


def glyph(c: Canvas, x: float, y: float, w: float, h: float, ink: Colour, rng: np.random.Generator) -> None:
    """One invented letter: strokes between the points of a 3 x 4 lattice."""
    for _ in range(int(rng.integers(2, 5))):
        path = [(x + w * int(rng.integers(3)) / 2, y + h * int(rng.integers(4)) / 3) for _ in range(2)]
        c.stroke(path, max(0.05, 0.16 * w), ink)


def poster(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    paper = tint(rng, (206, 196, 176), 44)
    c.rect(x - 0.6 * r, y - 0.85 * r, x + 0.6 * r, y + 0.85 * r, paper, WALL + 2)
    c.polygon(
        _circle(
            x + float(rng.uniform(-0.2, 0.2)) * r,
            y + 0.15 * r,
            float(rng.uniform(0.2, 0.45)) * r,
            int(rng.integers(3, 9)),
            float(rng.uniform(0, 3)),
        ),
        _colour(rng),
        WALL + 2,
    )
    for k in range(4):
        glyph(c, x + (-0.5 + 0.26 * k) * r, y - 0.75 * r, 0.18 * r, 0.25 * r, shade(paper, 0.3), rng)


def scrawl(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    """Graffiti: one looping sprayed line."""
    angles = np.cumsum(rng.uniform(0.4, 1.5, 16))
    loop = np.stack((x + np.linspace(-r, r, 16) + 0.3 * r * np.cos(angles), y + 0.4 * r * np.sin(angles)), axis=1)
    c.stroke(loop.tolist(), 0.1, shade(_colour(rng), 1.1))


def ivy(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    spots = np.cumsum(rng.uniform((-0.25, -0.12), (0.25, 0.3), (34, 2)), axis=0) * r
    for px, py in spots.tolist():
        leaf = (int(rng.integers(30, 80)), int(rng.integers(80, 135)), int(rng.integers(24, 70)))
        c.disc(
            x + 0.6 * px, y + 0.6 * py, float(rng.uniform(0.08, 0.2)) * r + 0.05, leaf, WALL + int(rng.integers(6, 20))
        )


def plaque(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    c.rect(x - 0.5 * r, y - 0.35 * r, x + 0.5 * r, y + 0.35 * r, shade(style.accent, 0.7), WALL + 10)
    for row in range(3):
        end = float(rng.uniform(0, 0.4)) * r
        c.rect(x - 0.4 * r, y + (0.16 - 0.2 * row) * r, x + end, y + (0.24 - 0.2 * row) * r, (214, 196, 140), WALL + 10)


def motif(width: float, height: float, style: Style, ppm: int, rng: np.random.Generator) -> Canvas:
    """One length of a frieze: a few figures on a plain ground, by which a building is known from all sides."""
    stamp, dark = Canvas(width, height, ppm), bool(rng.random() < 0.5)
    ground = shade(style.trim, 0.62 if dark else 1.0)
    stamp.rect(0, 0, width, height, ground, WALL + 16)
    for _ in range(int(rng.integers(2, 5))):
        x, y = float(rng.uniform(0.15, 0.85)) * width, float(rng.uniform(0.3, 0.7)) * height
        ink = mix(shade(style.trim, 1.05 if dark else 0.6), _colour(rng), float(rng.uniform(0, 0.7)))
        corners, turn = int(rng.integers(3, 8)), float(rng.uniform(0, 6))
        stamp.polygon(_circle(x, y, float(rng.uniform(0.2, 0.5)) * height, corners, turn), ink, WALL + 26)
    path = [(float(a) * width, float(b) * height) for a, b in rng.uniform(0.1, 0.9, (4, 2))]
    stamp.stroke(path, 0.07, shade(style.trim, 1.1 if dark else 0.5), WALL + 28)
    for y in (0.0, height - 0.06):
        stamp.rect(0, y, width, y + 0.06, style.trim, WALL + 30)
    return stamp


def flag(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    side, bands = (-1, 1)[int(rng.integers(2))], int(rng.integers(2, 5))
    for k in range(bands):
        low, high = y - r + 2 * r * k / bands, y - r + 2 * r * (k + 1) / bands
        c.polygon(
            [(x, low), (x, high), (x + side * 0.7 * r, high - 0.2 * r), (x + side * 0.7 * r, low - 0.2 * r)],
            _colour(rng),
            WALL + 40,
        )
    c.stroke([(x, y - 1.1 * r), (x, y + 1.2 * r)], 0.07, (60, 56, 50), WALL + 44)


def awning(c: Canvas, x: float, y: float, r: float, style: Style, rng: np.random.Generator) -> None:
    first, second, strips = _colour(rng), (236, 230, 218), int(rng.integers(5, 12))
    for k in range(strips):
        left = x - r + 2 * r * k / strips
        c.polygon(
            [(left, y + 0.5), (left + 2 * r / strips, y + 0.5), (left + 2.1 * r / strips, y), (left - 0.05, y)],
            second if k % 2 else first,
            WALL + 70,
        )


ORNAMENT_KINDS: Mapping[str, Draw] = {
    "rosette": rosette,
    "relief": relief,
    "shield": shield,
    "mosaic": mosaic,
    "niche": niche,
    "medallion": medallion,
    "festoon": festoon,
    "lattice": lattice,
}
# By where they belong: on the street's level, between windows above it, and one to a building.
STREET: tuple[Draw, ...] = (poster, scrawl, ivy, plaque, poster, flag)
UPPER: tuple[Draw, ...] = (shield, relief, mosaic, medallion, niche, flag, rosette, plaque, ivy, relief, lettering)
