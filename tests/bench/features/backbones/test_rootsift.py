from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bench.features.backbones.rootsift import RootSift
from bench.features.images import ImageRef, read_grey
from bench.features.layout import MASK, SCALE, X, Y
from bench.features.sift import root_sift


def test_places_are_rows_and_columns_of_the_image(write_images: Callable[[int], list[ImageRef]]) -> None:
    image = replace(write_images(1)[0], box=(10, 5, 110, 85))
    describer = RootSift(side_px=60, top=30)
    described = describer.describe([describer.read(image)])
    (rows,), (size,) = described["local"], described["size"]
    grey = read_grey(image, max_side=60)
    plain = root_sift(grey, length=30)
    real = plain[:, MASK] == 0
    assert real.sum() > 5 and describer.shapes == {"local": rows.shape, "size": (2,)}
    assert size.tolist() == [60, 48] == [*grey.shape[::-1]]
    np.testing.assert_allclose(rows[real, X] * grey.shape[0] - 0.5, plain[real, Y], atol=1e-4)
    np.testing.assert_allclose(rows[real, Y] * grey.shape[1] - 0.5, plain[real, X], atol=1e-4)
    np.testing.assert_array_equal(rows[:, SCALE:], plain[:, SCALE:])
    assert not rows[~real, :MASK].any()
