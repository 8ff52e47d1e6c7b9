"""First stage of 70 queries in 100,000 images, beside what it is built on."""

import faiss
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.search import search

QUERIES, GALLERY, WIDTH, LENGTH = 70, 100_000, 256, 400


@pytest.fixture(scope="module")
def descriptors() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    gallery = generator.standard_normal((GALLERY, WIDTH), dtype=np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries = gallery[:QUERIES] + 0.05 * generator.standard_normal((QUERIES, WIDTH), dtype=np.float32)
    return queries / np.linalg.norm(queries, axis=1, keepdims=True), gallery


@pytest.mark.parametrize("length", [LENGTH, GALLERY])
def test_search(benchmark: BenchmarkFixture, descriptors: tuple[np.ndarray, np.ndarray], length: int) -> None:
    found = benchmark(search, *descriptors, length)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(QUERIES))


def test_faiss_alone(benchmark: BenchmarkFixture, descriptors: tuple[np.ndarray, np.ndarray]) -> None:
    _, found = benchmark(faiss.knn, *descriptors, LENGTH, metric=faiss.METRIC_INNER_PRODUCT)
    np.testing.assert_array_equal(found[:, 0], np.arange(QUERIES))


def test_numpy_sorting_everything(benchmark: BenchmarkFixture, descriptors: tuple[np.ndarray, np.ndarray]) -> None:
    queries, gallery = descriptors
    found = benchmark(lambda: np.argsort(-(queries @ gallery.T), axis=1, kind="stable"))
    np.testing.assert_array_equal(found[:, 0], np.arange(QUERIES))
