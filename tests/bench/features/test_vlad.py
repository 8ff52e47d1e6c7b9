"""VLAD and its whitening: by hand, by definition, and at the edges."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bench.errors import BenchError
from bench.features.vlad import Vocabulary, vlad


@dataclass
class Held:
    """Local descriptors in memory."""

    descriptors: np.ndarray
    valid: np.ndarray

    def __len__(self) -> int:
        return len(self.descriptors)

    def chunks(self, size: int, *, locals: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.descriptors[part, :locals], self.valid[part, :locals]


def held(images: int, *, length: int = 30, dim: int = 6, seed: int = 0) -> Held:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(images, 1, dim)) + 2 * generator.normal(size=(5, dim))[None, [0, 1, 2, 3, 4] * 6]
    descriptors = centres + generator.normal(size=(images, length, dim))
    return Held(descriptors.astype(np.float32), np.ones((images, length), bool))


def test_two_centroids_in_the_plane_by_hand() -> None:
    centroids = np.array([[0, 0], [10, 0]], np.float32)
    descriptors = np.array([[[1, 0], [3, -9], [10, 4], [99, 99]]], np.float32)
    valid = np.array([[True, True, True, False]])
    # Residuals: (1 + 3, 0 - 9) to the first, (0, 4) to the second; of unit length (4, -9) / sqrt(97) and (0, 1).
    roots = np.array([2, -3, 0, 97**0.25]) / 97**0.25
    length = np.sqrt(13 / np.sqrt(97) + 1)
    np.testing.assert_allclose(vlad(descriptors, valid, centroids)[0], roots / length, rtol=1e-6)


def test_vlad_is_its_definition() -> None:
    source = held(4)
    source.valid[1, 7:] = False
    centroids = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    for image, described in enumerate(vlad(source.descriptors, source.valid, centroids)):
        sums = np.zeros((7, 6))
        for x in source.descriptors[image][source.valid[image]]:
            nearest = np.argmin(((x - centroids) ** 2).sum(axis=1))
            sums[nearest] += x - centroids[nearest]
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        root = np.sign(sums) * np.sqrt(np.abs(sums))
        np.testing.assert_allclose(described, root.ravel() / np.linalg.norm(root), atol=2e-6)


def test_the_covariance_of_the_training_images_is_whitened() -> None:
    source = held(200)
    vocabulary = Vocabulary.learn(source, centroids=5, width=16, locals=30)
    vlads = vlad(source.descriptors, source.valid, vocabulary.centroids)
    whitened = vlads @ vocabulary.projection.T + vocabulary.bias
    assert whitened.shape == (200, 16)
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(whitened.T, bias=True), np.eye(16), atol=1e-3)
    described = vocabulary.describe(source.descriptors, source.valid)
    np.testing.assert_allclose(described, whitened / np.linalg.norm(whitened, axis=1, keepdims=True), atol=1e-5)


def test_the_same_seed_gives_the_same_vocabulary() -> None:
    one, same = (Vocabulary.learn(held(60), centroids=5, width=8, locals=30, seed=3) for _ in range(2))
    other = Vocabulary.learn(held(60), centroids=5, width=8, locals=30, seed=4)
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_an_image_without_descriptors_is_zeros_and_not_nan() -> None:
    source = held(60)
    source.valid[7] = False
    vocabulary = Vocabulary.learn(source, centroids=5, width=8, locals=30)
    described = vocabulary.describe(source.descriptors, source.valid)
    assert np.isfinite(described).all() and not described[7].any()
    np.testing.assert_allclose(np.linalg.norm(np.delete(described, 7, axis=0), axis=1), 1, rtol=1e-5)


def test_only_the_strongest_locals_are_read() -> None:
    source = held(60)
    vocabulary = Vocabulary.learn(source, centroids=5, width=8, locals=12)
    expected = vocabulary.describe(source.descriptors[:, :12], source.valid[:, :12])
    np.testing.assert_array_equal(vocabulary.describe(source.descriptors, source.valid), expected)
    shorter = Held(source.descriptors[:, :12], source.valid[:, :12])
    assert Vocabulary.learn(shorter, centroids=5, width=8, locals=12).fingerprint == vocabulary.fingerprint


def test_the_width_is_what_the_images_support(caplog: pytest.LogCaptureFixture) -> None:
    assert Vocabulary.learn(held(10), centroids=5, width=256, locals=30).dim == 9
    assert "9 wide, not 256" in caplog.text
    twins = held(10)
    twins.descriptors[5:] = twins.descriptors[:5]
    vocabulary = Vocabulary.learn(twins, centroids=5, width=256, locals=30)
    assert vocabulary.dim == 4
    assert np.isfinite(vocabulary.describe(twins.descriptors, twins.valid)).all()


def test_too_little_to_learn_from() -> None:
    with pytest.raises(BenchError, match="60 local descriptors to learn 64 centroids"):
        Vocabulary.learn(held(2), locals=30)
    with pytest.raises(BenchError, match="2 images with descriptors"):
        Vocabulary.learn(held(2), centroids=5, locals=30)
    with pytest.raises(BenchError, match="0 local descriptors"):
        Vocabulary.learn(held(0), locals=30)


def test_descriptors_of_another_width_are_refused() -> None:
    vocabulary = Vocabulary.learn(held(60), centroids=5, width=8, locals=30)
    with pytest.raises(BenchError, match=r"of shape \(2, 30, 7\); wanted \(n, L, 6\)"):
        vocabulary.describe(held(2, dim=7).descriptors, held(2).valid)


def test_a_vocabulary_survives_its_file(tmp_path: Path) -> None:
    vocabulary = Vocabulary.learn(held(60), centroids=5, width=8, locals=30)
    vocabulary.save(tmp_path / "new" / "v.safetensors")
    loaded = Vocabulary.load(tmp_path / "new" / "v.safetensors")
    assert loaded.fingerprint == vocabulary.fingerprint and loaded.locals == 30
    source = held(3, seed=9)
    described = loaded.describe(source.descriptors, source.valid)
    np.testing.assert_array_equal(described, vocabulary.describe(source.descriptors, source.valid))


def test_files_that_are_no_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    with pytest.raises(BenchError, match=r"cannot read the vocabulary .*v\.safetensors"):
        Vocabulary.load(path)
    Vocabulary.learn(held(60), centroids=5, width=8, locals=30).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BenchError, match="cannot read the vocabulary"):
        Vocabulary.load(path)
    save_file({name: np.zeros((2, 2), np.float32) for name in ("centroids", "projection", "bias")}, path)
    with pytest.raises(BenchError, match="format None"):
        Vocabulary.load(path)
