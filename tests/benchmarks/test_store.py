"""Reading a shortlist's descriptors from stores of a million images, and making as many distractors.

The stores are sparse files: only the rows that are read have been written. STORE_DISTRACTORS sets how many distractors
are made: 1000000 for the figure that is aimed at (2 GB of disk).
"""

import itertools
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.features.distractors import make_distractors
from bench.features.store import DescriptorStore, GlobalStore, LocalStore

IMAGES, SHORTLIST, QUERIES, PARENTS = 1_000_000, 400, 10, 2_000
DISTRACTORS = int(os.environ.get("STORE_DISTRACTORS", 50_000))


@pytest.fixture(scope="module")
def shortlists() -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.stack([generator.choice(IMAGES, SHORTLIST, replace=False) for _ in range(QUERIES)])


@pytest.fixture(scope="module", params=["float16", "float32"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shortlists: np.ndarray
) -> LocalStore:
    path = tmp_path_factory.mktemp("sparse") / "local.hdf5"
    row = np.random.default_rng(0).standard_normal((50, 5 + 768)).astype(request.param)
    row[:, 3] = 0
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w") as file:
        space, kind = h5py.h5s.create_simple((IMAGES, *row.shape)), h5py.h5t.py_create(row.dtype)
        rows = h5py.Dataset(h5py.h5d.create(file.id, b"features", kind, space, dcpl=layout))
        for image in np.unique(shortlists):
            rows[image] = row
    return LocalStore.open(path)


@pytest.mark.benchmark(group="local descriptors of 400 images, 50 x 768")
def test_reading_a_shortlist(benchmark: BenchmarkFixture, store: LocalStore, shortlists: np.ndarray) -> None:
    turns = itertools.cycle(shortlists)
    found = benchmark.pedantic(store.features, setup=lambda: ((next(turns),), {}), rounds=3 * QUERIES)
    assert found.local.shape == (SHORTLIST, 50, 768) and found.valid.all() and found.local.all()


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> DescriptorStore:
    folder, generator = tmp_path_factory.mktemp("parents"), np.random.default_rng(0)
    local = generator.standard_normal((PARENTS, 50, 5 + 128), dtype=np.float32)
    local[:, :, 3] = 0
    shape = (PARENTS, 512)
    contents = {"features": local, "global": generator.standard_normal(shape, dtype=np.float32) / np.sqrt(shape[1])}
    contents["size"] = np.full((PARENTS, 2), 640)
    for name, dataset in (("local", "features"), ("global", "global"), ("size", "size")):
        with h5py.File(folder / f"{name}.hdf5", "w") as file:
            file[dataset] = contents[dataset].astype(np.float32)
    return DescriptorStore.open(folder)


@pytest.mark.benchmark(group="distractors")
def test_making_distractors(benchmark: BenchmarkFixture, parents: DescriptorStore, tmp_path: Path) -> None:
    made = benchmark.pedantic(make_distractors, (parents, tmp_path), {"count": DISTRACTORS, "seed": 0}, rounds=1)
    assert isinstance(made.global_, GlobalStore) and made.global_.shape == (DISTRACTORS, 512)


@pytest.mark.benchmark(group="local descriptors of 400 images, 50 x 128")
@pytest.mark.parametrize("kind", ["real", "made up"])
def test_reading_distractors(benchmark: BenchmarkFixture, parents: DescriptorStore, tmp_path: Path, kind: str) -> None:
    made = make_distractors(parents, tmp_path, count=10_000, seed=0)
    read = parents if kind == "real" else made
    images = np.random.default_rng(0).permutation(len(read))[:SHORTLIST]
    found = benchmark.pedantic(read.features, (images,), {"needs": ("local",)}, rounds=20, warmup_rounds=2)
    assert found.local.shape == (SHORTLIST, 50, 128)
