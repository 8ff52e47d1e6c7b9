"""One photograph before it is taken: where the camera stands, what is in its way, the light and the film."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from .building import Layout
from .camera import Camera, project
from .front import SUNS
from .props import KINDS, VARIANTS

# framing (the width of the view as a share of the front), |azimuth| in degrees, objects in front
_ROLES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[int, int]]] = {
    "query": ((0.45, 0.65), (0, 20), (0, 2)),
    "whole": ((0.68, 1.0), (0, 24), (1, 4)),
    "part": ((0.45, 0.68), (0, 25), (0, 3)),
    "oblique": ((0.42, 0.75), (32, 58), (0, 3)),
    "detail": ((0.18, 0.32), (0, 35), (0, 2)),
    "far": ((1.5, 2.6), (0, 45), (3, 8)),
    "blocked": ((0.4, 0.8), (10, 45), (18, 26)),
}
# The roles of a building's views, in order: already the first few are varied.
_CYCLE = (
    "whole",
    "part",
    "oblique",
    "part",
    "detail",
    "part",
    "whole",
    "far",
    "part",
    "whole",
    "oblique",
    "part",
    "blocked",
    "part",
    "whole",
    "part",
    "oblique",
    "detail",
    "part",
    "whole",
    "part",
    "far",
    "oblique",
    "part",
    "part",
    "whole",
    "oblique",
    "part",
    "blocked",
    "part",
)
_SIZES = ((1.0, 0.75), (1.0, 2 / 3), (0.75, 1.0), (1.0, 0.75))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prop:
    """An occluder: its picture, and where it stands on the ground (x, z in metres)."""

    kind: str
    variant: int
    x_m: float
    z_m: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Film:
    """Everything after the lens: light, blur, noise and compression."""

    sun: str
    sky: int
    gain: tuple[float, float, float]
    gamma: float
    lift: int
    blur: float
    noise: int
    grain: tuple[int, int]
    quality: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shot:
    camera: Camera
    props: tuple[Prop, ...]
    film: Film
    role: str


def role_of(view: int) -> str:
    return _CYCLE[view % len(_CYCLE)]


def sample_shot(rng: np.random.Generator, layout: Layout, *, role: str, long_side_px: int) -> Shot:
    """A photograph of the role's kind."""
    camera = _camera(rng, layout, role, long_side_px)
    return Shot(camera=camera, props=_props(rng, camera, role), film=_film(rng, role), role=role)


def _camera(rng: np.random.Generator, layout: Layout, role: str, long_side_px: int) -> Camera:
    framing, slant, _ = _ROLES[role]
    aspect = _SIZES[int(rng.integers(len(_SIZES)))]
    size = (round(long_side_px * aspect[0]), round(long_side_px * aspect[1]))
    share = math.exp(float(rng.uniform(math.log(framing[0]), math.log(framing[1]))))
    azimuth = math.radians(float(rng.uniform(*slant))) * (1 if rng.random() < 0.5 else -1)
    view_m = share * layout.width_m
    # a slanted front looks narrower: step closer so that the same share of it fills the image
    across = view_m * (math.cos(azimuth) + 0.25 * abs(math.sin(azimuth)))
    focal = size[0] * float(rng.uniform(0.75, 1.25))
    distance = max(5.0, across * focal / size[0])
    free = max(0.0, (layout.width_m - 0.75 * view_m) / 2)
    x = layout.width_m / 2 + free * float(rng.uniform(-1, 1))
    tall = across * size[1] / size[0]
    lowest = min(0.42 * tall, 0.5 * layout.eaves_m)
    y = float(rng.uniform(lowest, max(lowest + 0.1, min(layout.eaves_m - 0.2 * tall, 0.75 * layout.eaves_m))))
    eye = float(rng.uniform(1.5, 1.9)) if rng.random() < 0.85 else float(rng.uniform(3, 9))
    return Camera(
        position=(x + distance * math.sin(azimuth), eye, distance * math.cos(azimuth)),
        target=(x, y, 0.0),
        focal=focal,
        size=size,
        roll=math.radians(float(rng.uniform(-3, 3)) * (2.5 if rng.random() < 0.15 else 1)),
    )


def _props(rng: np.random.Generator, camera: Camera, role: str) -> tuple[Prop, ...]:
    low, high = _ROLES[role][2]
    weights = (0.2, 0.22, 0.05, 0.12, 0.26, 0.08, 0.07) if role != "blocked" else (0.5, 0.05, 0.3, 0.0, 0.05, 0.0, 0.1)
    eye, aim, found = camera.position, camera.target, []
    for _ in range(int(rng.integers(low, high + 1))):
        kind = KINDS[min(int(np.searchsorted(np.cumsum(weights), float(rng.random()))), len(KINDS) - 1)]
        reach = float(rng.uniform(0.6 if kind in ("tree", "bus", "van") else 0.4, 0.93))
        half = 0.55 * reach * math.dist(eye, aim) * camera.size[0] / camera.focal
        aside, variant = float(rng.uniform(-half, half)), int(rng.integers(VARIANTS))
        ground = math.hypot(aim[0] - eye[0], aim[2] - eye[2])
        along, across = (aim[0] - eye[0]) / ground, (aim[2] - eye[2]) / ground
        x = eye[0] + reach * (aim[0] - eye[0]) - aside * across
        z = eye[2] + reach * (aim[2] - eye[2]) + aside * along
        if z > 1.0:
            found.append(Prop(kind=kind, variant=variant, x_m=x, z_m=z))
    ends = np.array([(p.x_m, p.z_m) for p in found]).reshape(-1, 2)
    depth = project(camera.ground(), ends)[1]
    return tuple(found[k] for k in np.argsort(-depth, kind="stable") if depth[k] > 2.0)


def _film(rng: np.random.Generator, role: str) -> Film:
    mild = role == "query"
    warmth, green = float(rng.normal(0, 0.05 if mild else 0.1)), float(rng.normal(0, 0.02 if mild else 0.04))
    night = not mild and rng.random() < 0.07
    exposure = (
        float(rng.uniform(0.8, 1.1)) if night else float(rng.uniform(0.85, 1.15) if mild else rng.uniform(0.7, 1.25))
    )
    cast = (1 + warmth, 1 + green, 1 - warmth)
    red, green_gain, blue = (exposure * c for c in cast)
    return Film(
        sun="night" if night else SUNS[int(rng.integers(len(SUNS)))],
        sky=-1 if night else int(rng.integers(1 << 16)),
        gain=(red, green_gain, blue),
        gamma=float(rng.uniform(0.9, 1.1) if mild else rng.uniform(0.82, 1.22)),
        lift=0 if mild or rng.random() < 0.7 else int(rng.integers(8, 44)),
        blur=0.0 if mild or rng.random() < 0.6 else float(rng.uniform(0.4, 1.0)),
        noise=3 * int(rng.integers(0, 2 if mild else 4)),
        grain=(int(rng.integers(128)), int(rng.integers(128))),
        quality=int(rng.integers(50, 91)),
    )
