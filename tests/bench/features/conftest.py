"""Small textured images, the same every time."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.features.images import ImageRef


def draw(seed: int, *, width: int = 120, height: int = 90) -> np.ndarray:
    """A grey image of overlapping rectangles, which SIFT finds corners in."""
    generator = np.random.default_rng(seed)
    image = np.full((height, width), 128, np.uint8)
    for _ in range(25):
        x, y = generator.integers(0, width), generator.integers(0, height)
        w, h = generator.integers(5, 40, 2)
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), int(generator.integers(256)), -1)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


@pytest.fixture
def texture() -> Callable[[int], np.ndarray]:
    """Draws the image of a seed."""
    return draw


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[[int], list[ImageRef]]:
    """Writes so many images into a folder of the test."""

    def write(count: int) -> list[ImageRef]:
        folder = tmp_path / "images"
        folder.mkdir()
        paths = [folder / f"{number}.png" for number in range(count)]
        for number, path in enumerate(paths):
            cv2.imwrite(str(path), draw(number))
        return [ImageRef(path) for path in paths]

    return write
