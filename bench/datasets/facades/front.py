"""Paints a building's front, and lights it."""

from __future__ import annotations

import cv2
import numpy as np

from . import wall
from .building import Layout, Section, Style, tint
from .canvas import WALL, Canvas, Pixels, mix, shade
from .openings import LIT_GLASS, MARGIN_M, Tracery, door, outline, sample_tracery, window
from .ornament import ORNAMENT_KINDS, STREET, UPPER, awning, clock, lettering, motif

SUNS = ("left", "right", "high", "overcast")
_VARIANTS = 3  # drawings of each kind of window, so that curtains and reflections differ along a row


def paint(style: Style, layout: Layout, rng: np.random.Generator, *, ppm: int, details: int) -> Canvas:
    """The unlit front; details is how many pieces it has that occur only once."""
    canvas = Canvas(layout.width_m, layout.top_m, ppm)
    _crown(canvas, style, layout, rng)
    for section in layout.sections:
        colour = style.second_wall if section.second_wall else style.wall
        wall.lay(canvas, (section.left_m, 0, section.right_m, layout.eaves_m), colour, style.material, rng)
    plinth = shade(style.trim, 0.78)
    wall.lay(canvas, (0, 0, layout.width_m, 0.9), plinth, "ashlar", rng)
    _frame(canvas, style, layout)
    tracery = [sample_tracery(rng) for _ in style.windows]
    for index in range(len(layout.sections)):
        _bays(canvas, style, layout, index, tracery, rng)
    _cornice(canvas, style, layout)
    _friezes(canvas, style, layout, rng)
    _details(canvas, style, layout, rng, details)
    wall.weather(canvas, rng)
    return canvas


def _frame(canvas: Canvas, style: Style, layout: Layout) -> None:
    """String courses, pilasters and quoins."""
    for floor in layout.floors_m[1:-1]:
        canvas.rect(0, floor - 0.12, layout.width_m, floor + 0.14, style.trim, WALL + 22)
        canvas.rect(0, floor - 0.2, layout.width_m, floor - 0.12, shade(style.trim, 0.8), WALL + 10)
    first = layout.floors_m[1]
    for edge in (*(s.left_m for s in layout.sections), layout.width_m):
        if style.pilasters:
            canvas.rect(edge - 0.32, 0, edge + 0.32, layout.eaves_m, style.trim, WALL + 26)
            canvas.rect(edge - 0.2, 0.9, edge - 0.1, layout.eaves_m - 0.6, shade(style.trim, 0.86), WALL + 18)
            canvas.rect(edge + 0.1, 0.9, edge + 0.2, layout.eaves_m - 0.6, shade(style.trim, 0.86), WALL + 18)
            for y in (first, layout.eaves_m - 0.45):
                canvas.rect(edge - 0.45, y - 0.15, edge + 0.45, y + 0.35, shade(style.trim, 1.05), WALL + 36)
        elif style.quoins:
            for k in range(int(layout.eaves_m / 0.5)):
                half = 0.5 if k % 2 else 0.32
                canvas.rect(edge - half, 0.5 * k, edge + half, 0.5 * k + 0.44, shade(style.trim, 0.94), WALL + 12)


def _bays(
    canvas: Canvas, style: Style, layout: Layout, index: int, tracery: list[Tracery], rng: np.random.Generator
) -> None:
    section = layout.sections[index]
    wide = section.window_m[0]
    for floor, (low, high) in enumerate(zip(layout.floors_m, layout.floors_m[1:], strict=False)):
        if floor == 0 and section.ground != "windows":
            {"shop": _shop, "arcade": _arcade}[section.ground](canvas, style, section, high, rng)
            continue
        tall = (high - low) * section.window_m[1]
        kind = style.windows[section.windows[floor]]
        bars = tracery[section.windows[floor]]
        stamps = [window(style, kind, wide, tall, canvas.ppm, rng, bars, lit=k == 0) for k in range(_VARIANTS)]
        base = low + 0.45 * (high - low - tall) + (0.25 if floor == 0 else 0.1)
        for bay, x in enumerate(section.bays_m):
            if floor == 0 and (index, bay) in layout.doors:
                leaf = door(style, min(wide + 0.5, 2.2), 0.74 * high, canvas.ppm, rng)
                canvas.paste(leaf, x - leaf.colour.shape[1] / canvas.ppm / 2, 0)
            elif (floor, index, bay) in layout.blanks:
                kind_of = style.ornaments[int(rng.integers(len(style.ornaments)))]
                ORNAMENT_KINDS[kind_of](canvas, x, (low + high) / 2, min(0.75 * wide, 1.1), style, rng)
            else:
                canvas.paste(stamps[int(rng.integers(_VARIANTS))], x - wide / 2 - MARGIN_M, base - MARGIN_M)
                if (floor, index, bay) in layout.balconies:
                    _balcony(canvas, style, x, base, wide)


def _shop(canvas: Canvas, style: Style, section: Section, high: float, rng: np.random.Generator) -> None:
    """Shop windows between posts, each with its own sign, some with an awning."""
    left, right = section.left_m + 0.5, section.right_m - 0.5
    count = max(1, round((right - left) / 4.5))
    for k in range(count):
        x0, x1 = left + (right - left) * k / count + 0.15, left + (right - left) * (k + 1) / count - 0.15
        frame = tint(rng, style.accent, 30)
        canvas.rect(x0, 0, x1, high - 0.3, shade(frame, 0.7), WALL + 10)
        canvas.rect(x0 + 0.15, 0.55, x1 - 0.15, high - 1.15, shade(style.glass, 0.55), LIT_GLASS)
        entry = x0 + (x1 - x0) * float(rng.uniform(0.1, 0.65))
        for _ in range(int(rng.integers(3, 8))):  # goods behind the glass
            x, tall = float(rng.uniform(x0 + 0.3, x1 - 0.7)), float(rng.uniform(0.3, 1.2))
            canvas.rect(x, 0.6, x + float(rng.uniform(0.2, 0.5)), 0.6 + tall, tint(rng, (150, 120, 100), 70), LIT_GLASS)
        canvas.polygon(
            [(x0 + 0.4, 0.55), (x0 + 0.9, 0.55), (x0 + 1.6, high - 1.15), (x0 + 1.1, high - 1.15)],
            mix(style.glass, (215, 225, 235), 0.4),
            LIT_GLASS,
        )
        canvas.rect(entry, 0, entry + 0.95, high - 1.25, shade(frame, 1.2), WALL - 10)
        canvas.rect(entry + 0.14, 0.6, entry + 0.81, high - 1.4, shade(style.glass, 0.8), LIT_GLASS)
        lettering(canvas, (x0 + x1) / 2, high - 0.72, 0.4 * (x1 - x0), style, rng)
        if rng.random() < 0.45:
            awning(canvas, (x0 + x1) / 2, high - 1.65, 0.48 * (x1 - x0), style, rng)


def _arcade(canvas: Canvas, style: Style, section: Section, high: float, rng: np.random.Generator) -> None:
    """Open arches on columns, dark within."""
    left, right = section.left_m + 0.35, section.right_m - 0.35
    count = max(1, round((right - left) / 3.1))
    step = (right - left) / count
    for k in range(count):
        middle, wide = left + step * (k + 0.5), step - 0.7
        shapes = (
            (0.24, style.trim, WALL + 22),
            (0.1, shade(style.trim, 0.85), WALL + 8),
            (0.0, (38, 36, 40), WALL - 70),
        )
        for grow, colour, relief in shapes:
            arch = [(x + middle, max(0.0, y)) for x, y in outline("arch", wide, high - 0.75, grow)]
            canvas.polygon(arch, colour, relief)
        back = shade(style.second_wall, float(rng.uniform(0.3, 0.5)))
        canvas.rect(middle - 0.3 * wide, 0.1, middle + 0.3 * wide, 0.55 * high, back, WALL - 70)
    for k in range(count + 1):
        x = left + step * k
        for part, tone in ((-0.24, 0.82), (-0.08, 1.06), (0.08, 0.92)):
            canvas.rect(x + part, 0.3, x + part + 0.16, 0.62 * high, shade(style.trim, tone), WALL + 30)
        canvas.rect(x - 0.36, 0, x + 0.36, 0.34, shade(style.trim, 0.9), WALL + 38)
        canvas.rect(x - 0.36, 0.6 * high, x + 0.36, 0.6 * high + 0.26, style.trim, WALL + 38)


def _balcony(canvas: Canvas, style: Style, x: float, y: float, wide: float) -> None:
    half, iron = wide / 2 + 0.4, shade(style.accent, 0.5)
    canvas.rect(x - half, y - 0.3, x + half, y - 0.1, shade(style.trim, 0.9), WALL + 80)
    canvas.rect(x - half, y + 0.78, x + half, y + 0.86, iron, WALL + 80)
    for k in range(int(2 * half / 0.17) + 1):
        canvas.rect(x - half + 0.17 * k, y - 0.1, x - half + 0.17 * k + 0.05, y + 0.8, iron, WALL + 70)


def _cornice(canvas: Canvas, style: Style, layout: Layout) -> None:
    top, trim = layout.eaves_m, style.trim
    canvas.rect(0, top - 0.45, layout.width_m, top + 0.2, trim, WALL + 40)
    canvas.rect(0, top + 0.02, layout.width_m, top + 0.2, shade(trim, 1.08), WALL + 64)
    for k in range(int(layout.width_m / 0.6)):
        canvas.rect(0.6 * k + 0.1, top - 0.42, 0.6 * k + 0.34, top - 0.08, shade(trim, 0.82), WALL + 56)


def _friezes(canvas: Canvas, style: Style, layout: Layout, rng: np.random.Generator) -> None:
    """A band of one repeated motif, the building's own, at each floor and under the cornice."""
    wide, tall = float(rng.uniform(0.8, 1.5)), 0.62
    motifs = [motif(wide, tall, style, canvas.ppm, rng) for _ in range(2)]
    for floor in layout.floors_m[1:]:
        stamp, low = (motifs[1], floor - 0.98) if floor == layout.eaves_m else (motifs[0], floor - 0.31)
        for k in range(int(layout.width_m / wide) + 1):
            canvas.paste(stamp, wide * k, low)


def _crown(canvas: Canvas, style: Style, layout: Layout, rng: np.random.Generator) -> None:
    """Roof, dormers, chimneys, then gables and towers in front of them."""
    eaves, width = layout.eaves_m, layout.width_m
    if style.crown in ("pitched", "mansard"):
        rise, inset = (2.2, 1.6) if style.crown == "pitched" else (2.8, 0.5)
        for x in rng.uniform(1.5, width - 1.5, int(rng.integers(2, 6))).tolist():
            canvas.rect(x, eaves, x + 0.9, eaves + rise + float(rng.uniform(0.2, 0.55)), shade(style.wall, 0.7), WALL)
        canvas.polygon(
            [(0, eaves), (width, eaves), (width - inset, eaves + rise), (inset, eaves + rise)], style.roof, WALL - 20
        )
        for k in range(1, int(rise / 0.28)):
            canvas.stroke([(inset, eaves + 0.28 * k), (width - inset, eaves + 0.28 * k)], 0.04, shade(style.roof, 0.82))
        for x in np.arange(2.0, width - 2, float(rng.uniform(3.0, 5.5))).tolist():
            canvas.rect(x - 0.55, eaves, x + 0.55, eaves + 1.5, style.trim, WALL + 10)
            canvas.polygon([(x - 0.7, eaves + 1.45), (x + 0.7, eaves + 1.45), (x, eaves + 2.0)], style.trim, WALL + 20)
            canvas.rect(x - 0.38, eaves + 0.25, x + 0.38, eaves + 1.3, shade(style.glass, 0.7), WALL - 20)
    else:
        canvas.rect(0, eaves, width, eaves + 0.9, shade(style.trim, 0.94), WALL + 10)
        if style.crown == "balustrade":
            for k in range(int(width / 0.42)):
                canvas.rect(0.42 * k, eaves + 0.25, 0.42 * k + 0.2, eaves + 0.75, shade(style.trim, 0.5), WALL - 20)
        for x in rng.uniform(1.0, width - 1.0, int(rng.integers(2, 7))).tolist():
            canvas.rect(x - 0.2, eaves + 0.9, x + 0.2, eaves + 1.3, style.trim, WALL + 20)
            canvas.disc(x, eaves + 1.5, float(rng.uniform(0.2, 0.38)), shade(style.trim, 0.95), WALL + 20)
    for peak in layout.peaks:
        _peak(canvas, style, eaves, peak.left_m, peak.right_m, peak.top_m, peak.kind, rng)


def _peak(
    canvas: Canvas,
    style: Style,
    eaves: float,
    left: float,
    right: float,
    top: float,
    kind: str,
    rng: np.random.Generator,
) -> None:
    middle, half, rise = (left + right) / 2, (right - left) / 2, top - eaves
    if kind == "tower":
        body = eaves + 0.55 * rise
        wall.lay(canvas, (left + 0.2, eaves, right - 0.2, body), style.second_wall, style.material, rng)
        canvas.rect(left, body - 0.3, right, body, style.trim, WALL + 40)
        canvas.polygon([(left, body), (right, body), (middle, top)], style.roof, WALL)
    elif kind == "stepped":
        steps = int(rng.integers(3, 6))
        for k in range(steps):
            reach = half * (1 - k / steps)
            canvas.rect(middle - reach, eaves, middle + reach, eaves + rise * (k + 1) / steps, style.trim, WALL + 20)
            canvas.rect(
                middle - reach + 0.16,
                eaves,
                middle + reach - 0.16,
                eaves + rise * (k + 1) / steps - 0.16,
                mix(style.second_wall, style.wall, 0.5),
                WALL,
            )
    else:
        angles = np.linspace(0, np.pi, 17)
        shape = (
            [(left, eaves), (right, eaves), (middle, top)]
            if kind == "gable"
            else [(middle + half * float(np.cos(a)), eaves + rise * float(np.sin(a))) for a in angles]
        )
        inner = [(middle + (x - middle) * 0.84, eaves + (y - eaves) * 0.84) for x, y in shape]
        canvas.polygon(shape, style.trim, WALL + 34)
        canvas.polygon(inner, style.second_wall, WALL)
    piece = ORNAMENT_KINDS[style.ornaments[int(rng.integers(len(style.ornaments)))]]
    piece(canvas, middle, eaves + 0.32 * rise, min(0.32 * half, 0.24 * rise) + 0.2, style, rng)


def _details(canvas: Canvas, style: Style, layout: Layout, rng: np.random.Generator, count: int) -> None:
    """One-of-a-kind pieces on the piers between windows, spread so that every part can be told from others."""
    gaps = [  # x and the free half width beside it
        ((first + second) / 2, (second - first - section.window_m[0]) / 2)
        for section in layout.sections
        for first, second in zip(
            (section.left_m - 0.3, *section.bays_m), (*section.bays_m, section.right_m + 0.3), strict=True
        )
    ]
    spots = [(x, room, floor) for x, room in gaps for floor in range(len(layout.floors_m) - 1)]
    for k in sorted(rng.permutation(len(spots))[:count].tolist()):
        x, room, floor = spots[k]
        low, high = layout.floors_m[floor], layout.floors_m[floor + 1]
        kinds = STREET if floor == 0 else UPPER
        draw = kinds[int(rng.integers(len(kinds)))]
        size = min(0.85, max(0.36, room + 0.1)) * float(rng.uniform(0.85, 1.1))
        if draw is lettering:
            lettering(canvas, x, high - 0.42, float(rng.uniform(0.9, 2.2)), style, rng)
        else:
            draw(
                canvas, x, low + (1.6 if floor == 0 else float(rng.uniform(0.4, 0.65)) * (high - low)), size, style, rng
            )
        if k % 3 == 0:
            wall.crack(canvas, x, layout.eaves_m - float(rng.uniform(0.5, 4)), rng, style.wall)
    for x in rng.uniform(1, layout.width_m - 1, int(rng.integers(2, 5))).tolist():  # rain pipes
        canvas.rect(x - 0.06, 0.4, x + 0.06, layout.eaves_m - 0.4, mix(style.accent, (90, 90, 90), 0.6), WALL + 24)
    if rng.random() < 0.6:
        section = layout.sections[int(rng.integers(len(layout.sections)))]
        clock(
            canvas,
            (section.left_m + section.right_m) / 2,
            layout.eaves_m - 0.9,
            float(rng.uniform(0.7, 1.1)),
            style,
            rng,
        )


def light(canvas: Canvas, sun: str) -> Pixels:
    """The front (h, w, 4) under a sun, RGB and coverage: raised edges shine, and what stands out casts a shadow."""
    side = {"left": 1, "right": -1}.get(sun, 0)
    relief, scale = canvas.relief, canvas.ppm / 36
    edge = _moved(relief, side, 1)
    tone = cv2.add(cv2.subtract(np.full_like(relief, 128), cv2.subtract(edge, relief)), cv2.subtract(relief, edge))
    if sun not in ("overcast", "night"):
        caster = np.zeros_like(relief)
        for step in (2, 5, 9, 14):
            reach = round(step * scale)
            moved = _moved(relief, side * reach * 3 // 4, reach)
            np.maximum(caster, cv2.subtract(moved, np.full_like(moved, round(step * 3.4))), out=caster)
        shadow = cv2.blur(np.where(cv2.subtract(caster, relief) > 3, 34, 0).astype(np.uint8), (3, 3))
        tone = cv2.subtract(tone, shadow)
    else:
        tone = cv2.subtract(tone, cv2.subtract(_moved(relief, 0, round(4 * scale)), relief) // 2)
    if sun == "night":  # dark walls, lamplight from below, warm windows
        lamps = np.linspace(46, 92, tone.shape[0]).astype(np.uint8)[:, None]
        tone = cv2.multiply(tone, np.repeat(lamps, tone.shape[1], axis=1), scale=1 / 128)
        warm, cold = cv2.add(tone, tone // 16), cv2.add(tone, tone // 4)
        lit = cv2.multiply(canvas.colour, cv2.merge((warm, tone, cold)), scale=1 / 128)
        glow = cv2.add(canvas.colour // 2, np.array([150, 112, 40, 0], np.float64))
        cv2.copyTo(glow, (relief == LIT_GLASS).view(np.uint8), lit)
    else:
        lit = cv2.multiply(canvas.colour, cv2.merge((tone, tone, tone)), scale=1 / 128)
    return np.asarray(cv2.merge((*cv2.split(lit), canvas.alpha)))


def _moved(layer: Pixels, right: int, down: int) -> Pixels:
    """The layer shifted, its border repeated."""
    rows, cols = layer.shape
    return np.asarray(
        cv2.copyMakeBorder(layer, down, 0, max(0, right), max(0, -right), cv2.BORDER_REPLICATE)[
            :rows, max(0, -right) : max(0, -right) + cols
        ]
    )
