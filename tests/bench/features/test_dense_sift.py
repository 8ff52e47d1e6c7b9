from __future__ import annotations

import cv2
import numpy as np
import pytest

from bench.features import dense_sift
from bench.features.dense_sift import NORM, STRIDE, DenseRootSift, dense_root_sift


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise with structure at the scale of the descriptor's bins."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "grid"), [((256, 192), (16, 12)), ((250, 161), (16, 11)), ((16, 17), (1, 2)), ((1, 1), (1, 1))]
)
def test_a_cell_stands_for_16_by_16_pixels_begun(size, grid):
    found = dense_root_sift(textured(*size))
    assert found.shape == (128, *grid) and found.dtype == np.float32 and found.flags.c_contiguous


def test_every_cell_of_a_textured_image_has_its_vector_at_the_border_too():
    norms = np.linalg.norm(dense_root_sift(textured(250, 161)), axis=0)
    np.testing.assert_allclose(norms, NORM, rtol=1e-5)


def test_a_shifted_image_shifts_the_map():
    whole = textured(256, 256)
    found = dense_root_sift(whole)
    moved = dense_root_sift(np.ascontiguousarray(whole[2 * STRIDE :, STRIDE:]))
    inner = (slice(None), slice(2, -2), slice(2, -2))  # a descriptor sees one cell around it, the blur a little more
    np.testing.assert_array_equal(moved[inner], found[:, 2:, 1:][inner])
    assert not np.array_equal(found[:, 2:, 1:][inner], found[:, :-2, :-1][inner])


def test_the_map_turns_when_the_image_does():
    whole = textured(128, 128)
    mirrored = dense_root_sift(np.ascontiguousarray(whole[:, ::-1]))[:, :, ::-1]
    vectors, others = (one.reshape(128, -1).T / NORM for one in (dense_root_sift(whole), mirrored))
    bins = np.arange(128).reshape(4, 4, 8)  # rows, columns, orientations
    turned = bins[:, ::-1][:, :, (4 - np.arange(8)) % 8].ravel()
    assert (vectors * others[:, turned]).sum(axis=1).min() > 0.9  # OpenCV's places are whole pixels, half a one off
    assert np.median((vectors * others).sum(axis=1)) < 0.9


def test_a_descriptor_sees_two_cells_each_way():
    whole = textured(176, 176)
    found = dense_root_sift(whole)
    other = whole.copy()
    cell = slice(5 * STRIDE, 6 * STRIDE)
    other[cell, cell] = textured(STRIDE, STRIDE, seed=1)
    changed = np.abs(dense_root_sift(other) - found).max(axis=0)
    assert (changed[4:7, 4:7] > 0).all()
    assert not changed[:3].any() and not changed[8:].any() and not changed[:, :3].any() and not changed[:, 8:].any()


def test_the_same_image_gives_the_same_map_whoever_stands_beside_it():
    images = np.stack([np.repeat(textured(64, 48, seed)[..., None], 3, axis=2) for seed in range(3)])
    maps = DenseRootSift().maps(images)
    assert maps.shape == (3, 128, 4, 3) and maps.dtype == np.float32
    for image, one in zip(images, maps, strict=True):
        np.testing.assert_array_equal(one, DenseRootSift().maps(image[None])[0])
        np.testing.assert_array_equal(one, dense_root_sift(image[..., 0]))


def test_cells_without_texture_are_zero():
    assert not dense_root_sift(np.full((64, 80), 77, dtype=np.uint8)).any()
    half = np.full((128, 128), 77, dtype=np.uint8)
    half[:, :32] = textured(128, 32)
    found = dense_root_sift(half)
    assert np.isfinite(found).all() and found[:, :, :2].any(axis=0).all() and not found[:, :, 4:].any()


def test_cells_are_told_by_their_number_not_by_the_order_of_the_answer(monkeypatch):
    whole = textured(64, 64)
    found = dense_root_sift(whole)

    class Careless:
        def compute(self, grey, points):
            points, vectors = cv2.SIFT.create().compute(grey, points)
            return points[:4:-1], vectors[:4:-1]

    monkeypatch.setattr(dense_sift, "_detector", Careless)
    some = dense_root_sift(whole).reshape(128, -1)
    assert not some[:, :5].any()
    np.testing.assert_array_equal(some[:, 5:], found.reshape(128, -1)[:, 5:])
