"""First stage of 70 queries, from memory and from a file, beside what it is built on.

SEARCH_IMAGES and SEARCH_WIDTH set the size of the gallery: 1000000 and 768 (3 GB of disk, and of memory for faiss's own
index) for the figures that are aimed at.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import search as room
from bench.features.store import GlobalStore
from bench.search import places, search

QUERIES, LENGTH = 70, 400
GALLERY, WIDTH = int(os.environ.get("SEARCH_IMAGES", 100_000)), int(os.environ.get("SEARCH_WIDTH", 256))
ROUNDS = {"rounds": 5, "warmup_rounds": 1}

IN_A_PROCESS = """
import json, sys
from pathlib import Path
import numpy as np
from bench.features.store import GlobalStore
from bench.measure.memory import host_memory
from bench.search import search

path, count, queries = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
gallery = GlobalStore.open(path, count=count)
memory, _ = host_memory(lambda: search(gallery.block(0, queries), gallery, 400))
print(json.dumps({"peak_bytes": memory.peak_bytes, "baseline_bytes": memory.baseline_bytes}))
"""


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> GlobalStore:
    generator, path = np.random.default_rng(0), tmp_path_factory.mktemp("gallery") / "global.pt"
    with path.open("wb") as file:
        for start in range(0, GALLERY, 10_000):
            rows = generator.standard_normal((min(10_000, GALLERY - start), WIDTH), dtype=np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            file.write(rows.data)
    return GlobalStore.open(path, count=GALLERY)


@pytest.fixture(scope="module")
def queries(gallery: GlobalStore) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal((QUERIES, WIDTH), dtype=np.float32)
    queries = gallery.rows(np.arange(QUERIES)) + 0.5 * noise / np.sqrt(WIDTH, dtype=np.float32)
    return queries / np.linalg.norm(queries, axis=1, keepdims=True)


@pytest.mark.benchmark(group="first stage, top 400")
def test_search_in_a_file(benchmark: BenchmarkFixture, queries: np.ndarray, gallery: GlobalStore) -> None:
    found = benchmark.pedantic(search, (queries, gallery, LENGTH), **ROUNDS)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(QUERIES))
    command = [sys.executable, "-c", IN_A_PROCESS, str(gallery.path), str(GALLERY), str(QUERIES)]
    environment = {**os.environ, "PYTHONPATH": str(Path(room.__file__).parents[1])}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    benchmark.extra_info.update(json.loads(run.stdout))


@pytest.mark.benchmark(group="first stage, top 400")
@pytest.mark.parametrize("settings", ["as it comes", "our settings"])
def test_faiss_flat_index_in_memory(
    benchmark: BenchmarkFixture, queries: np.ndarray, gallery: GlobalStore, settings: str
) -> None:
    index, before = faiss.IndexFlatIP(WIDTH), {name: getattr(faiss.cvar, name) for name in room.ON_CPU}
    for start in range(0, GALLERY, 50_000):
        index.add(gallery.block(start, min(start + 50_000, GALLERY)))
    try:
        room._set(before if settings == "as it comes" else room.ON_CPU)
        _, found = benchmark.pedantic(index.search, (queries, LENGTH), **ROUNDS)
    finally:
        room._set(before)
    np.testing.assert_array_equal(found[:, 0], np.arange(QUERIES))


@pytest.mark.benchmark(group="whole lists")
@pytest.mark.skipif(GALLERY > 200_000, reason="whole lists of so many images fill the memory")
def test_search_of_whole_lists(benchmark: BenchmarkFixture, queries: np.ndarray, gallery: GlobalStore) -> None:
    found = benchmark.pedantic(search, (queries, gallery.array()), **ROUNDS)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(QUERIES))


@pytest.mark.benchmark(group="whole lists")
@pytest.mark.skipif(GALLERY > 200_000, reason="whole lists of so many images fill the memory")
def test_numpy_sorting_everything(benchmark: BenchmarkFixture, queries: np.ndarray, gallery: GlobalStore) -> None:
    found = benchmark.pedantic(lambda: np.argsort(-(queries @ gallery.array().T), axis=1, kind="stable"), **ROUNDS)
    np.testing.assert_array_equal(found[:, 0], np.arange(QUERIES))


@pytest.mark.benchmark(group="whole lists")
def test_places_of_300_images_a_query(benchmark: BenchmarkFixture, queries: np.ndarray, gallery: GlobalStore) -> None:
    images = [np.arange(query, GALLERY, GALLERY // 300)[:300] for query in range(QUERIES)]
    found = benchmark.pedantic(places, (queries, gallery, images), rounds=2)
    assert [stand[0] for stand in found] == [0] * QUERIES
