"""What stands between the camera and a front: trees, cars, buses, lamps, people."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from .building import tint
from .canvas import Canvas, Colour, Pixels, shade
from .recipe import PROPS, stream
from .warp import Texture

KINDS = ("tree", "car", "bus", "lamp", "person", "sign", "van")
_PPM = {"tree": 30, "car": 70, "bus": 50, "lamp": 40, "person": 110, "sign": 80, "van": 60}
VARIANTS = 6


@dataclasses.dataclass(frozen=True)
class Sprite:
    """A flat picture that stands upright on the ground and always faces the camera."""

    texture: Texture
    width_m: float
    height_m: float
    ppm: int


@functools.cache
def sprite(kind: str, variant: int) -> Sprite:
    """One of VARIANTS of a kind, always the same."""
    rng = stream(0, PROPS, KINDS.index(kind), variant)
    size = {
        "tree": (float(rng.uniform(4.5, 7)), float(rng.uniform(6, 9.5))),
        "car": (4.4, 1.55),
        "bus": (11.0, 3.2),
        "lamp": (1.8, 6.2),
        "person": (0.8, 1.78),
        "sign": (0.9, 2.7),
        "van": (5.4, 2.5),
    }[kind]
    canvas = Canvas(*size, _PPM[kind])
    _DRAW[kind](canvas, *size, rng)
    pixels: Pixels = np.concatenate((canvas.colour, canvas.alpha[..., None]), axis=2)
    return Sprite(Texture(pixels), *size, _PPM[kind])


def _tree(c: Canvas, w: float, h: float, rng: np.random.Generator) -> None:
    trunk: Colour = (74, 58, 44)
    c.polygon([(w / 2 - 0.2, 0), (w / 2 + 0.2, 0), (w / 2 + 0.1, 0.6 * h), (w / 2 - 0.1, 0.6 * h)], trunk)
    for _ in range(6):
        tip = (w / 2 + float(rng.uniform(-0.35, 0.35)) * w, float(rng.uniform(0.55, 0.85)) * h)
        c.stroke([(w / 2, float(rng.uniform(0.25, 0.5)) * h), tip], 0.1, trunk)
    leaf = tint(rng, (70, 104, 48), 22)
    spots = rng.uniform(-1, 1, (420, 2))
    spots = spots[(spots**2).sum(1) < 1]
    for x, y in spots[np.argsort(-spots[:, 1], kind="stable")[::-1]].tolist():
        lump = shade(leaf, float(rng.uniform(0.78, 0.96)) + 0.35 * max(-0.6, y))
        c.disc(w / 2 + 0.4 * w * x, 0.64 * h + 0.3 * h * y, float(rng.uniform(0.16, 0.42)), lump)


def _wheels(c: Canvas, spots: tuple[float, ...], radius: float) -> None:
    for x in spots:
        c.disc(x, radius, radius, (26, 26, 28))
        c.disc(x, radius, 0.55 * radius, (120, 122, 126))


def _car(c: Canvas, w: float, h: float, rng: np.random.Generator) -> None:
    body: Colour = [(150, 32, 30), (38, 62, 112), (190, 192, 196), (44, 46, 50), (218, 214, 206), (88, 112, 92)][
        int(rng.integers(6))
    ]
    c.polygon([(0.75, 0.9), (1.35, h - 0.02), (3.1, h - 0.02), (3.75, 0.9)], shade(body, 0.9))
    c.polygon([(0.95, 0.93), (1.42, h - 0.12), (2.15, h - 0.12), (2.15, 0.93)], (70, 86, 98))
    c.polygon([(2.25, 0.93), (2.25, h - 0.12), (3.02, h - 0.12), (3.5, 0.93)], (88, 104, 116))
    c.polygon([(0.02, 0.3), (0.1, 0.82), (0.75, 0.95), (3.75, 0.95), (4.3, 0.8), (w - 0.02, 0.3)], body)
    c.rect(0.05, 0.28, w - 0.05, 0.42, shade(body, 0.55))
    c.stroke([(0.12, 0.86), (4.25, 0.86)], 0.03, shade(body, 1.4))
    c.rect(0.04, 0.62, 0.25, 0.76, (236, 220, 160))
    c.rect(w - 0.22, 0.62, w - 0.05, 0.76, (180, 40, 34))
    _wheels(c, (0.9, 3.5), 0.33)


def _van(c: Canvas, w: float, h: float, rng: np.random.Generator) -> None:
    body: Colour = [(228, 226, 220), (212, 182, 66), (70, 92, 128)][int(rng.integers(3))]
    c.polygon([(0.02, 0.35), (0.02, h - 0.05), (3.9, h - 0.02), (4.8, 1.4), (w - 0.02, 1.2), (w - 0.02, 0.35)], body)
    c.polygon([(3.75, 1.4), (3.75, h - 0.3), (3.95, h - 0.3), (4.65, 1.4)], (72, 90, 104))
    c.rect(0.4, 1.2, 3.3, 1.7, tint(rng, (120, 90, 90), 80))
    c.rect(0.02, 0.3, w - 0.02, 0.5, shade(body, 0.5))
    _wheels(c, (1.0, 4.4), 0.38)


def _bus(c: Canvas, w: float, h: float, rng: np.random.Generator) -> None:
    body: Colour = [(178, 36, 38), (42, 96, 72), (208, 168, 44), (52, 84, 140)][int(rng.integers(4))]
    c.rect(0.03, 0.35, w - 0.03, h - 0.03, body)
    c.rect(0.03, 0.35, w - 0.03, 0.7, shade(body, 0.6))
    for k in range(7):
        c.rect(0.5 + 1.42 * k, 1.45, 1.75 + 1.42 * k, 2.7, (64, 82, 96))
        c.polygon(
            [(0.7 + 1.42 * k, 1.45), (1.0 + 1.42 * k, 1.45), (1.5 + 1.42 * k, 2.7), (1.2 + 1.42 * k, 2.7)],
            (98, 116, 130),
        )
    c.rect(0.03, 0.95, w - 0.03, 1.2, (232, 228, 218))
    _wheels(c, (2.1, 8.6), 0.5)


def _lamp(c: Canvas, w: float, h: float, rng: np.random.Generator) -> None:
    iron = tint(rng, (52, 58, 56), 10)
    c.rect(w / 2 - 0.09, 0, w / 2 + 0.09, 0.9, iron)
    c.rect(w / 2 - 0.05, 0, w / 2 + 0.05, h - 0.7, iron)
    arms = (-0.55, 0.55) if rng.random() < 0.5 else (0.0,)
    c.stroke([(w / 2 + min(arms), h - 0.9), (w / 2 + max(arms), h - 0.9)], 0.07, iron)
    for arm in arms:
        c.polygon(
            [
                (w / 2 + arm - 0.14, h - 0.85),
                (w / 2 + arm + 0.14, h - 0.85),
                (w / 2 + arm + 0.24, h - 0.3),
                (w / 2 + arm - 0.24, h - 0.3),
            ],
            (236, 226, 190),
        )
        c.polygon([(w / 2 + arm - 0.3, h - 0.3), (w / 2 + arm + 0.3, h - 0.3), (w / 2 + arm, h - 0.05)], iron)


def _person(c: Canvas, w: float, h: float, rng: np.random.Generator) -> None:
    coat, legs, skin = tint(rng, (90, 80, 90), 75), tint(rng, (50, 54, 66), 26), tint(rng, (186, 140, 112), 34)
    stride = float(rng.uniform(0.06, 0.2))
    for side in (-1, 1):
        c.stroke([(0.4, 0.85), (0.4 + side * stride, 0.04)], 0.15, legs)
        c.stroke([(0.4 + side * 0.17, 1.4), (0.4 + side * (0.2 + stride * 0.6), 0.85)], 0.1, shade(coat, 0.85))
    c.polygon([(0.21, 0.75), (0.59, 0.75), (0.61, 1.42), (0.5, 1.5), (0.3, 1.5), (0.19, 1.42)], coat)
    c.disc(0.4, 1.63, 0.13, skin)
    c.polygon([(0.27, 1.64), (0.53, 1.64), (0.5, 1.77), (0.3, 1.77)], tint(rng, (60, 44, 34), 24))


def _sign(c: Canvas, w: float, h: float, rng: np.random.Generator) -> None:
    c.rect(w / 2 - 0.04, 0, w / 2 + 0.04, h - 0.4, (128, 130, 132))
    if rng.random() < 0.5:
        c.disc(w / 2, h - 0.43, 0.4, (186, 34, 32))
        c.rect(w / 2 - 0.28, h - 0.52, w / 2 + 0.28, h - 0.36, (240, 240, 236))
    else:
        c.rect(w / 2 - 0.4, h - 0.82, w / 2 + 0.4, h - 0.03, (40, 84, 150))
        c.polygon([(w / 2 - 0.2, h - 0.65), (w / 2 + 0.25, h - 0.42), (w / 2 - 0.2, h - 0.2)], (240, 240, 236))


_DRAW = {"tree": _tree, "car": _car, "bus": _bus, "lamp": _lamp, "person": _person, "sign": _sign, "van": _van}
