"""What is rendered: named presets, and the random streams that everything is drawn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from bench.errors import BenchError

VERSION = 2  # raise it whenever a change to this package changes a single byte of what it renders


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides the bytes of a rendered folder, besides VERSION and the versions of NumPy and OpenCV.

    distractors counts images; each distractor building is seen distractor_views times. look_alikes is the share
    of distractor buildings that borrow a landmark's style (palette, wall, windows, ornaments) but not its layout.
    """

    name: str
    seed: int
    landmarks: int
    views: int
    queries: int = 0
    distractors: int = 0
    distractor_views: int = 6
    look_alikes: float = 0.4
    long_side_px: int = 480
    pixels_per_metre: int = 36

    def __post_init__(self) -> None:
        if not 64 <= self.long_side_px <= 512:  # the clouds and the grain are not larger
            raise BenchError(
                f"images of {self.long_side_px} pixels", wanted="a long side of 64 to 512", cure="Change long_side_px."
            )
        if min(self.landmarks, self.views, self.distractor_views) < 1 or min(self.queries, self.distractors) < 0:
            raise BenchError(
                f"recipe {self.name!r} with {self.landmarks} landmarks, {self.views} views, {self.queries} queries, "
                f"{self.distractors} distractors in views of {self.distractor_views}",
                wanted="at least one landmark and view, and no negative count",
                cure="Change the recipe.",
            )

    @property
    def gallery_size(self) -> int:
        return self.landmarks * self.views + self.distractors

    @property
    def query_count(self) -> int:
        return self.landmarks * self.queries


SUBSETS: Mapping[str, Recipe] = MappingProxyType(
    {
        "facades": Recipe(name="facades", seed=2024, landmarks=35, views=30, queries=2, distractors=2950),
        "facades-mini": Recipe(
            name="facades-mini",
            seed=7,
            landmarks=4,
            views=8,
            queries=2,
            distractors=30,
            long_side_px=320,
            pixels_per_metre=24,
        ),
        "facades-train": Recipe(name="facades-train", seed=4048, landmarks=200, views=4),
        "facades-train-large": Recipe(name="facades-train-large", seed=4048, landmarks=320, views=20, distractors=3200),
        "facades-val": Recipe(name="facades-val", seed=6072, landmarks=35, views=30, queries=2, distractors=2950),
    }
)


def training_recipe(landmarks: int) -> Recipe:
    """facades-train with as many landmarks as asked for; the first ones are the same whatever the number."""
    return dataclasses.replace(SUBSETS["facades-train"], landmarks=landmarks)


# The first number of a stream's key says what is drawn from it.
ORDER, STYLE, LAYOUT, PAINT, SHOT, SENSOR, PROPS, SKY = range(8)


def stream(seed: int, *key: int) -> np.random.Generator:
    """The random numbers of one thing, independent of all others, so that any image can be rendered alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))
