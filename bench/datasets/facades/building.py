"""What a building looks like (its style) and where its parts are (its layout), before anything is drawn."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TypeVar

import numpy as np

from .canvas import Colour, shade

_T = TypeVar("_T")

WALLS: tuple[Colour, ...] = (
    (158, 84, 62),
    (176, 106, 78),
    (132, 70, 58),
    (206, 184, 148),
    (222, 206, 172),
    (190, 176, 156),
    (214, 164, 112),
    (226, 196, 132),
    (204, 138, 118),
    (150, 164, 170),
    (172, 186, 160),
    (218, 214, 204),
    (186, 148, 122),
    (140, 132, 124),
    (228, 178, 150),
    (196, 204, 196),
    (120, 92, 80),
    (166, 142, 96),
)
TRIMS: tuple[Colour, ...] = (
    (232, 226, 212),
    (206, 196, 176),
    (178, 168, 152),
    (238, 234, 226),
    (150, 140, 128),
    (222, 202, 166),
)
ROOFS: tuple[Colour, ...] = ((84, 88, 96), (150, 78, 56), (98, 112, 104), (74, 66, 64), (128, 96, 78), (112, 140, 128))
ACCENTS: tuple[Colour, ...] = (
    (44, 82, 68),
    (120, 36, 36),
    (36, 58, 98),
    (92, 62, 40),
    (58, 58, 60),
    (160, 120, 48),
    (86, 40, 70),
    (40, 96, 104),
)
MATERIALS = ("brick", "ashlar", "plaster", "bands")
WINDOWS = ("plain", "arch", "pointed", "segment", "twin", "cross")
HOODS = ("none", "flat", "pediment", "bow", "keystone")
ORNAMENTS = ("rosette", "relief", "shield", "mosaic", "niche", "medallion", "festoon", "lattice")
CROWNS = ("parapet", "pitched", "balustrade", "mansard")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """What look-alikes share: colours, wall, windows and ornaments, but no position."""

    wall: Colour
    second_wall: Colour
    trim: Colour
    roof: Colour
    accent: Colour
    material: str
    windows: tuple[str, ...]
    hood: str
    panes: tuple[int, int]
    shutters: bool
    ornaments: tuple[str, ...]
    crown: str
    pilasters: bool
    quoins: bool
    glass: Colour


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the front with its own rhythm of bays; windows is the kind of each floor, ground what is below."""

    left_m: float
    right_m: float
    bays_m: tuple[float, ...]
    window_m: tuple[float, float]
    windows: tuple[int, ...]
    ground: str
    second_wall: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peak:
    """A gable, stepped gable or tower above the eaves."""

    left_m: float
    right_m: float
    top_m: float
    kind: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything is, in metres, x from the left edge and y from the ground."""

    width_m: float
    eaves_m: float
    top_m: float
    floors_m: tuple[float, ...]  # bottom of each floor and, last, the eaves
    sections: tuple[Section, ...]
    peaks: tuple[Peak, ...]
    doors: frozenset[tuple[int, int]]  # (section, bay)
    blanks: frozenset[tuple[int, int, int]]  # (floor, section, bay) with an ornament for a window
    balconies: frozenset[tuple[int, int, int]]


def _pick(rng: np.random.Generator, options: tuple[_T, ...]) -> _T:
    return options[int(rng.integers(len(options)))]


def tint(rng: np.random.Generator, colour: Colour, spread: int) -> Colour:
    """A neighbouring colour, each channel up to spread away."""
    red, green, blue = (int(np.clip(c + rng.integers(-spread, spread + 1), 12, 250)) for c in colour)
    return red, green, blue


def sample_style(rng: np.random.Generator) -> Style:
    wall = tint(rng, _pick(rng, WALLS), 14)
    kinds, ornaments = rng.permutation(len(WINDOWS)), rng.permutation(len(ORNAMENTS))
    second = tint(rng, shade(wall, float(rng.uniform(0.78, 1.18))), 12) if rng.random() < 0.7 else _pick(rng, WALLS)
    return Style(
        wall=wall,
        second_wall=second,
        trim=tint(rng, _pick(rng, TRIMS), 10),
        roof=tint(rng, _pick(rng, ROOFS), 12),
        accent=tint(rng, _pick(rng, ACCENTS), 14),
        material=_pick(rng, MATERIALS),
        windows=tuple(WINDOWS[k] for k in kinds[:3]),
        hood=_pick(rng, HOODS),
        panes=(int(rng.integers(2, 4)), int(rng.integers(2, 6))),
        shutters=bool(rng.random() < 0.25),
        ornaments=tuple(ORNAMENTS[k] for k in ornaments[:4]),
        crown=_pick(rng, CROWNS),
        pilasters=bool(rng.random() < 0.45),
        quoins=bool(rng.random() < 0.5),
        glass=tint(rng, (62, 78, 92), 16),
    )


def look_alike(rng: np.random.Generator, style: Style) -> Style:
    """A landmark's style with colours a touch off, as of another house by the same builder."""
    return dataclasses.replace(
        style,
        wall=tint(rng, style.wall, 6),
        second_wall=tint(rng, style.second_wall, 6),
        trim=tint(rng, style.trim, 5),
        roof=tint(rng, style.roof, 6),
    )


def sample_layout(rng: np.random.Generator, *, wide: bool) -> Layout:
    """wide fronts (landmarks) are long enough for views that share nothing with each other."""
    width = float(rng.uniform(32, 42) if wide else rng.uniform(20, 36))
    heights = [float(rng.uniform(4.0, 5.2)), *(float(h) for h in rng.uniform(3.1, 4.2, int(rng.integers(2, 4))))]
    floors = (0.0, *np.cumsum(heights).tolist())
    eaves = floors[-1]
    cuts = np.cumsum(rng.uniform(0.7, 1.6, int(rng.integers(3, 6 if wide else 5))))
    edges = [0.0, *(cuts / cuts[-1] * width).tolist()]
    sections = tuple(_sample_section(rng, left, right, len(heights)) for left, right in itertools.pairwise(edges))
    spots = [
        (f, s, b) for s, section in enumerate(sections) for b in range(len(section.bays_m)) for f in range(len(heights))
    ]
    lots = rng.random(len(spots))
    ground = [(s, b) for f, s, b in spots if f == 0]
    doors = frozenset(ground[k] for k in rng.permutation(len(ground))[: int(rng.integers(2, 5))])
    peaks = _sample_peaks(rng, sections, eaves)
    return Layout(
        width_m=width,
        eaves_m=eaves,
        top_m=max([eaves + 3.4, *(p.top_m + 0.6 for p in peaks)]),
        floors_m=floors,
        sections=sections,
        peaks=peaks,
        doors=doors,
        blanks=frozenset(s for s, lot in zip(spots, lots, strict=True) if lot < 0.13 and s[1:] not in doors),
        balconies=frozenset(s for s, lot in zip(spots, lots, strict=True) if lot > 0.88 and s[0] > 0),
    )


def _sample_section(rng: np.random.Generator, left: float, right: float, floors: int) -> Section:
    pitch = float(rng.uniform(2.3, 3.9))
    count = max(1, int((right - left - 0.6) / pitch))
    margin = (right - left) / count
    bays = left + margin * (np.arange(count) + 0.5) + rng.uniform(-0.12, 0.12, count) * margin
    return Section(
        left_m=left,
        right_m=right,
        bays_m=tuple(bays.tolist()),
        window_m=(float(rng.uniform(0.4, 0.58)) * margin if margin < 4 else 1.9, float(rng.uniform(0.52, 0.68))),
        windows=tuple(int(k) for k in rng.integers(0, 3, floors)),
        second_wall=bool(rng.random() < 0.4),
        ground=_pick(rng, ("windows", "windows", "shop", "arcade")),
    )


def _sample_peaks(rng: np.random.Generator, sections: tuple[Section, ...], eaves: float) -> tuple[Peak, ...]:
    peaks = []
    for section in sections:
        if rng.random() < 0.5:
            wide = section.right_m - section.left_m
            half = min(wide / 2, float(rng.uniform(2.0, 4.0)))
            centre = (section.left_m + section.right_m) / 2
            peaks.append(
                Peak(
                    left_m=centre - half,
                    right_m=centre + half,
                    top_m=eaves + float(rng.uniform(1.0, 1.7)) * half + 1.0,
                    kind=_pick(rng, ("gable", "stepped", "tower", "round")),
                )
            )
    return tuple(peaks)
