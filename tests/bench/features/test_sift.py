"""RootSIFT rows: the arithmetic, the selection and its order."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from bench.features.layout import DESCRIPTOR, MASK, SCALE, WEIGHT, X, Y
from bench.features.sift import hellinger, parameters, root_sift

Texture = Callable[[int], np.ndarray]


def test_hellinger_of_a_hand_computed_histogram() -> None:
    sift = np.zeros((2, 128), np.float32)
    sift[0, :3] = 1, 9, 90
    np.testing.assert_allclose(hellinger(sift)[0, :4], [0.1, 0.3, np.sqrt(0.9), 0], rtol=1e-6)
    assert not hellinger(sift)[1].any()


def test_rows_are_unit_length_strongest_first_and_reproducible(texture: Texture) -> None:
    rows = root_sift(texture(0), length=40)
    assert rows.shape == (40, DESCRIPTOR + 128) and rows.dtype == np.float32
    assert not rows[:, MASK].any()
    np.testing.assert_allclose(np.linalg.norm(rows[:, DESCRIPTOR:], axis=1), 1, atol=1e-6)
    assert (np.diff(rows[:, WEIGHT]) <= 0).all() and (rows[:, WEIGHT] > 0).all() and (rows[:, SCALE] > 0).all()
    assert (rows[:, X] < 120).all() and (rows[:, Y] < 90).all() and rows[:, X].max() > 90
    np.testing.assert_array_equal(rows, root_sift(texture(0), length=40))


def test_a_blob_is_found_where_it_is() -> None:
    y, x = np.mgrid[:100, :150]
    blob = 100 + 100 * np.exp(-((x - 90) ** 2 + (y - 30) ** 2) / (2 * 6.0**2))
    first = root_sift(blob.astype(np.uint8), length=5)[0]
    np.testing.assert_allclose(first[[X, Y]], [90, 30], atol=0.1)
    assert first[SCALE] == pytest.approx(2 * 6, rel=0.2)  # OpenCV's size is a diameter


def test_a_shorter_result_is_the_beginning_of_a_longer_one(texture: Texture) -> None:
    # Mirrored halves give pairs of equal responses, so that a cut falls into a tie.
    image = texture(1)
    mirrored = np.hstack([image, image[:, ::-1]])
    longest = root_sift(mirrored, length=60)
    weights = longest[:, WEIGHT]
    assert (np.diff(weights) == 0).any()
    for length in range(1, 60):
        np.testing.assert_array_equal(root_sift(mirrored, length=length), longest[:length])


def test_opencv_returns_more_than_asked_for_and_the_rows_do_not(texture: Texture) -> None:
    image = texture(1)
    mirrored = np.hstack([image, image[:, ::-1]])
    lengths = [n for n in range(1, 60) if len(cv2.SIFT_create(nfeatures=n).detect(mirrored)) > n]
    assert lengths
    assert all(len(root_sift(mirrored, length=n)) == n for n in lengths)


@pytest.mark.parametrize("shape", [(1, 1), (1, 640), (3, 3), (80, 80)])
def test_images_without_texture_give_padding_only(shape: tuple[int, int]) -> None:
    rows = root_sift(np.full(shape, 90, np.uint8), length=7)
    assert (rows[:, MASK] == 1).all()
    assert not np.delete(rows, MASK, axis=1).any()


def test_fewer_descriptors_than_asked_for_are_padded(texture: Texture) -> None:
    rows = root_sift(texture(0), length=1000)
    found = int((rows[:, MASK] == 0).sum())
    assert 40 < found < 1000
    assert (rows[:found, MASK] == 0).all() and not np.delete(rows[found:], MASK, axis=1).any()


def test_parameters_tell_what_changes_the_result() -> None:
    assert parameters(length=5, max_side=640) != parameters(length=6, max_side=640)
    assert parameters(length=5, max_side=640)["opencv"] == cv2.__version__
