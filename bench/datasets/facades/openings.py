"""Windows and doors, drawn once as stamps and then pasted."""

from __future__ import annotations

import math

import numpy as np

from .building import Style, tint
from .canvas import WALL, Canvas, Points, mix, shade

Tracery = tuple[tuple[tuple[float, float], tuple[float, float]], ...]
GLASS, LIT_GLASS = WALL - 30, WALL - 31  # by its relief the glass is told that is lit at night
MARGIN_M = 0.55  # room around the opening for its surround, hood and sill


def outline(kind: str, width: float, height: float, grow: float = 0.0) -> list[tuple[float, float]]:
    """The opening's contour around x = 0 from y = 0 upwards; grow widens it for the surround."""
    half, top = width / 2 + grow, height + grow
    rise = {"arch": half, "twin": half, "pointed": 1.5 * half, "segment": 0.4 * half}.get(kind, 0.0)
    if not rise:
        return [(-half, -grow), (half, -grow), (half, top), (-half, top)]
    angles = [math.pi * k / 14 for k in range(15)]
    if kind == "pointed":
        arc = [
            (
                half * (1 - (1 - abs(math.cos(a))) ** 1.0) * (1 if math.cos(a) > 0 else -1),
                top - rise + rise * math.sqrt(max(0.0, 1 - math.cos(a) ** 2)) ** 1.6,
            )
            for a in angles
        ]
    else:
        arc = [(half * math.cos(a), top - rise + rise * math.sin(a)) for a in angles]
    return [(-half, -grow), (half, -grow), *arc]


def sample_tracery(rng: np.random.Generator) -> Tracery:
    """Strokes of the bars in a window's upper part, in shares of its width and height: every building has its own."""
    ends = [((float(a), 0.5 + 0.5 * float(b)), (float(c), 0.5 + 0.5 * float(d))) for a, b, c, d in rng.random((5, 4))]
    return tuple(ends[: int(rng.integers(2, 6))])


def window(
    style: Style,
    kind: str,
    width: float,
    height: float,
    ppm: int,
    rng: np.random.Generator,
    tracery: Tracery,
    *,
    lit: bool = False,
) -> Canvas:
    """A window with its surround; the same arguments with another rng differ in curtains, blinds and reflections."""
    stamp = Canvas(width + 2 * MARGIN_M, height + 2 * MARGIN_M, ppm)
    middle = width / 2 + MARGIN_M
    if style.shutters and kind in ("plain", "cross", "segment"):
        _shutters(stamp, style, middle, width, height)
    _hood(stamp, style, middle, width, height)
    stamp.polygon(_moved(outline(kind, width, height, 0.14), middle, MARGIN_M), style.trim, WALL + 14)
    stamp.rect(
        middle - width / 2 - 0.2, MARGIN_M - 0.2, middle + width / 2 + 0.2, MARGIN_M - 0.03, style.trim, WALL + 26
    )
    mask = Canvas(width + 2 * MARGIN_M, height + 2 * MARGIN_M, ppm)
    mask.polygon(_moved(outline(kind, width, height), middle, MARGIN_M), (1, 1, 1))
    inside = Canvas(width + 2 * MARGIN_M, height + 2 * MARGIN_M, ppm)
    _glass(inside, style, middle, width, height, LIT_GLASS if lit else GLASS, rng)
    _bars(inside, style, kind, middle, width, height)
    for (x0, y0), (x1, y1) in tracery:
        ends = [(middle + (x - 0.5) * width, MARGIN_M + y * height) for x, y in ((x0, y0), (x1, y1))]
        inside.stroke(ends, 0.1, mix(style.trim, (250, 250, 248), 0.5), WALL - 16)
    inside.alpha = mask.alpha
    stamp.paste(inside, 0, 0)
    return stamp


def door(style: Style, width: float, height: float, ppm: int, rng: np.random.Generator) -> Canvas:
    """A panelled door with a lintel light, under an arch."""
    stamp = Canvas(width + 2 * MARGIN_M, height + MARGIN_M, ppm)
    middle = width / 2 + MARGIN_M
    stamp.polygon(_moved(outline("arch", width, height, 0.32), middle), style.trim, WALL + 24)
    stamp.polygon(_moved(outline("arch", width, height, 0.12), middle), shade(style.trim, 0.85), WALL + 12)
    stamp.polygon(_moved(outline("arch", width, height), middle), shade(style.accent, 0.45), WALL - 28)
    stamp.rect(middle - width / 2, 0, middle + width / 2, height - width / 2, style.accent, WALL - 24)
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    cell_w, cell_h = width / columns, (height - width / 2) / rows
    for column in range(columns):
        for row in range(rows):
            x, y = middle - width / 2 + column * cell_w, row * cell_h
            stamp.rect(x + 0.08, y + 0.1, x + cell_w - 0.06, y + cell_h - 0.06, shade(style.accent, 1.25), WALL - 20)
    for angle in range(1, 6):
        tip = (
            middle + width / 2 * math.cos(math.pi * angle / 6),
            height - width / 2 + width / 2 * math.sin(math.pi * angle / 6),
        )
        stamp.stroke([(middle, height - width / 2), tip], 0.06, style.accent, WALL - 20)
    return stamp


def _moved(points: Points, dx: float, dy: float = 0.0) -> Points:
    return [(x + dx, y + dy) for x, y in points]


def _glass(
    pane: Canvas, style: Style, middle: float, width: float, height: float, depth: int, rng: np.random.Generator
) -> None:
    left, right, low, high = middle - width / 2, middle + width / 2, MARGIN_M, MARGIN_M + height
    top = mix(style.glass, (170, 190, 205), float(rng.uniform(0.1, 0.7)))
    for k in range(8):
        y = low + height * k / 8
        pane.rect(left, y, right, y + height / 8, mix(shade(style.glass, 0.6), top, k / 7), depth)
    slant, start = float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.1, 0.7)) * width
    pane.polygon(
        [
            (left + start, low),
            (left + start + 0.3 * width, low),
            (left + start + (0.3 + slant) * width, high),
            (left + start + slant * width, high),
        ],
        mix(top, (215, 225, 235), 0.35),
        depth,
    )
    lot = rng.random()
    cloth = tint(rng, (206, 196, 182), 34)
    if lot < 0.35:
        fold = float(rng.uniform(0.12, 0.3)) * width
        pane.polygon([(left, low), (left + fold * 0.5, low), (left + fold, high), (left, high)], cloth, depth)
        pane.polygon([(right, low), (right - fold * 0.5, low), (right - fold, high), (right, high)], cloth, depth)
    elif lot < 0.65:
        pane.rect(left, high - float(rng.uniform(0.15, 0.7)) * height, right, high, cloth, depth)


def _bars(pane: Canvas, style: Style, kind: str, middle: float, width: float, height: float) -> None:
    paint, (columns, rows) = mix(style.trim, (250, 250, 248), 0.5), style.panes
    if kind == "cross":
        columns, rows = 2, 3
    left, low = middle - width / 2, MARGIN_M
    for k in range(1, columns):
        pane.rect(
            left + width * k / columns - 0.035, low, left + width * k / columns + 0.035, low + height, paint, WALL - 18
        )
    for k in range(1, rows):
        pane.rect(
            left, low + height * k / rows - 0.035, left + width, low + height * k / rows + 0.035, paint, WALL - 18
        )
    thick = 0.14 if kind == "twin" else 0.06
    if kind in ("twin", "cross"):
        pane.rect(middle - thick, low, middle + thick, low + height, style.trim, WALL + 6)
    pane.rect(left, low, left + 0.06, low + height, paint, WALL - 18)
    pane.rect(left + width - 0.06, low, left + width, low + height, paint, WALL - 18)


def _shutters(stamp: Canvas, style: Style, middle: float, width: float, height: float) -> None:
    leaf = min(0.42, MARGIN_M - 0.08)
    for x in (middle - width / 2 - leaf - 0.1, middle + width / 2 + 0.1):
        stamp.rect(x, MARGIN_M, x + leaf, MARGIN_M + height, style.accent, WALL + 8)
        for k in range(int(height / 0.16)):
            y = MARGIN_M + 0.08 + 0.16 * k
            stamp.rect(x + 0.05, y, x + leaf - 0.05, y + 0.05, shade(style.accent, 0.7), WALL + 4)


def _hood(stamp: Canvas, style: Style, middle: float, width: float, height: float) -> None:
    half, top = width / 2 + 0.28, MARGIN_M + height
    if style.hood == "flat":
        stamp.rect(middle - half, top + 0.2, middle + half, top + 0.36, style.trim, WALL + 36)
    elif style.hood == "pediment":
        stamp.polygon(
            [(middle - half, top + 0.16), (middle + half, top + 0.16), (middle, top + 0.52)], style.trim, WALL + 32
        )
    elif style.hood == "bow":
        arc = [
            (middle + half * math.cos(math.pi * k / 10), top + 0.15 + 0.36 * math.sin(math.pi * k / 10))
            for k in range(11)
        ]
        stamp.polygon(arc, style.trim, WALL + 32)
    elif style.hood == "keystone":
        stamp.polygon(
            [
                (middle - 0.12, top - 0.1),
                (middle + 0.12, top - 0.1),
                (middle + 0.2, top + 0.42),
                (middle - 0.2, top + 0.42),
            ],
            style.trim,
            WALL + 34,
        )
