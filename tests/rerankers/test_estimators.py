import cv2
import numpy as np
import pytest

from rerankers import estimators
from rerankers.estimators import Status, affine_trials, estimate


def shifted(inliers: int, outliers: int) -> tuple[np.ndarray, np.ndarray]:
    """Points moved by (5, -3); the last `outliers` of them go far away, each by another vector."""
    points = np.random.default_rng(0).uniform(0, 640, (inliers + outliers, 2)).astype(np.float32)
    moved = points + np.float32((5, -3))
    moved[inliers:] += np.random.default_rng(1).uniform(2_000, 90_000, (outliers, 2)).astype(np.float32)
    return points, moved


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("affine", "ransac"),
        ("homography", "ransac"),
        ("similarity", "ransac"),
        ("affine", "magsac"),
        ("homography", "magsac"),
    ],
)
def test_a_translation_with_outliers(model, method):
    found = estimate(*shifted(20, 6), model=model, method=method, threshold_px=3)
    assert (found.status, found.inliers) == (Status.FOUND, 20)
    assert found.mask.tolist() == [True] * 20 + [False] * 6
    np.testing.assert_allclose(found.matrix[:2], [[1, 0, 5], [0, 1, -3]], atol=1e-3)


def test_trials_find_the_translation_exactly():
    found = affine_trials(*shifted(20, 6), threshold_px=3)
    assert found.mask.tolist() == [True] * 20 + [False] * 6
    np.testing.assert_allclose(found.matrix, [[1, 0, 5], [0, 1, -3]], atol=1e-4)


def test_trials_take_residuals_strictly_below_the_threshold():
    square = np.float32([[0, 0], [8, 0], [0, 8], [8, 8]])
    off = square.copy()
    off[3, 0] += 2  # a transform through any three of the corners misses the fourth by 2
    assert affine_trials(square, off, threshold_px=2).inliers == 3
    assert affine_trials(square, off, threshold_px=2.01).inliers == 4


def test_trials_draw_as_the_published_estimator():
    generator = np.random.default_rng(7)
    expected = [generator.choice(12, 3, replace=False).tolist() for _ in range(5)]
    assert estimators._draws(12, 5, 7).tolist() == expected
    assert len({tuple(sorted(draw)) for draw in expected}) > 1


def test_trials_without_an_affine_transform():
    line = np.float32([[i, 2 * i] for i in range(10)])
    scattered = np.random.default_rng(0).uniform(0, 100, (10, 2)).astype(np.float32)
    assert affine_trials(line, scattered, threshold_px=10).status is Status.NO_MODEL
    assert affine_trials(scattered, np.zeros_like(scattered), threshold_px=10).status is Status.NO_MODEL
    assert affine_trials(scattered[:3], scattered[:3], threshold_px=10).inliers == 0


def test_refusals_are_told_from_other_errors(monkeypatch):
    points = np.zeros((2, 2), np.float32)
    assert estimate(points, points, model="homography", threshold_px=5).status is Status.REFUSED

    def out_of_memory(*_args, **_options):
        error = cv2.error("no memory")
        error.code = cv2.Error.STS_NO_MEM
        raise error

    monkeypatch.setitem(estimators._OPENCV, "homography", out_of_memory)
    with pytest.raises(cv2.error, match="no memory"):
        estimate(points, points, model="homography", threshold_px=5)
