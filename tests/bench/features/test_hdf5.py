"""What is read without libhdf5 is what libhdf5 reads; and what it would follow out of the file is refused."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bench.errors import BenchError
from bench.features.formats import hdf5_rows, local_rows
from bench.features.hdf5 import File
from bench.features.rows import block, take

SHAPE = (7, 3, 9)
CONTENT = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
STORAGES: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "a row a chunk": {"chunks": (1, 3, 9)},
    "several rows a chunk": {"chunks": (3, 3, 9), "compression": "gzip"},
    "chunks of parts of rows": {"chunks": (2, 2, 4), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "one chunk": {"chunks": SHAPE, "compression": "gzip", "shuffle": True},
    "one chunk as it is": {"chunks": SHAPE},
    "checksums": {"chunks": (2, 3, 9), "fletcher32": True},
    "many chunks": {"chunks": (1, 1, 1), "shuffle": True},
}


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "latest"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", ">f2"])
@pytest.mark.parametrize("storage", STORAGES)
def test_rows_are_those_of_libhdf5(tmp_path: Path, storage: str, dtype: str, libver: str) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("features", data=CONTENT.astype(dtype), **STORAGES[storage])
    rows, _ = hdf5_rows(path, "features")
    wanted = CONTENT.astype(dtype).astype(np.float32)
    assert (rows.shape, len(rows), rows.dtype) == (SHAPE, 7, np.dtype(dtype))
    chosen = np.array([6, 0, 3, 3])
    for count in (None, 1, 2):
        np.testing.assert_array_equal(take(rows, chosen, count), wanted[chosen][:, :count])
    np.testing.assert_array_equal(block(rows, 2, 6), wanted[2:6])


def test_pages_of_chunks(tmp_path: Path) -> None:
    content = np.arange(3000, dtype=np.float32).reshape(3000, 1)
    for name, options in {"plain": {}, "packed": {"compression": "gzip"}}.items():
        for libver in ("earliest", "latest"):
            path = tmp_path / f"{name}-{libver}.hdf5"
            with h5py.File(path, "w", libver=libver) as file:
                file.create_dataset("global", data=content, chunks=(1, 1), **options)
            np.testing.assert_array_equal(block(hdf5_rows(path, "global")[0], 0, 3000), content)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_fields_in_chunks(tmp_path: Path, libver: str) -> None:
    kind = np.dtype([("metadata", ">f4", (3, 5)), ("descriptor", "<f2", (3, 4))])
    content = np.zeros(5, kind)
    content["metadata"], content["descriptor"] = CONTENT[:5, :, :5], CONTENT[:5, :, 5:]
    with h5py.File(tmp_path / "a.hdf5", "w", libver=libver) as file:
        file.create_dataset("features", data=content, chunks=(2,), compression="gzip")
    descriptors, columns, _ = local_rows(tmp_path / "a.hdf5")
    np.testing.assert_array_equal(take(descriptors, np.array([4, 1]), 2), content["descriptor"][[4, 1], :2])
    np.testing.assert_array_equal(take(columns, np.array([4, 1])), content["metadata"][[4, 1]])


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
def test_links_and_attributes(tmp_path: Path, libver: str) -> None:
    said = {
        "fingerprint": "a" * 64,
        "about": "Grüße",
        "layout": 1,
        "share": 0.5,
        "fixed": np.bytes_(b"abc"),
        "none": "",
    }
    names = [f"set-{number}" for number in range(5)]
    with h5py.File(tmp_path / "a.hdf5", "w", libver=libver) as file:
        file.attrs.update(said | {"list": [1, 2], "reference": file.ref})
        for name in names:
            file[name] = np.zeros(1)
        file["soft"], file["elsewhere"] = h5py.SoftLink("/set-0"), h5py.ExternalLink("/etc/passwd", "/")
    found = File(tmp_path / "a.hdf5")
    assert found.attributes == said | {"fixed": "abc"}
    assert sorted(found.links) == sorted(names)


def test_groups_of_many_datasets(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w", libver="earliest") as file:
        for number in range(300):
            file[f"set-{number}"] = np.zeros(1)
    assert len(File(tmp_path / "a.hdf5").links) == 300


def virtual(path: Path, *sources: tuple[str, str], rows: int = 7) -> Path:
    layout = h5py.VirtualLayout((rows * len(sources), *SHAPE[1:]), "f4")
    with h5py.File(path, "w") as file:
        file["part"] = CONTENT
        for number, source in enumerate(sources):
            layout[rows * number : rows * (number + 1)] = h5py.VirtualSource(*source, SHAPE)[:rows]
        file.create_virtual_dataset("features", layout)
    return path


def test_parts_of_the_same_file(tmp_path: Path) -> None:
    rows, _ = hdf5_rows(virtual(tmp_path / "a.hdf5", (".", "part"), (".", "/part"), rows=5), "features")
    np.testing.assert_array_equal(block(rows, 0, 10), np.concatenate([CONTENT[:5], CONTENT[:5]]))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (("../outside.hdf5", "part"), "which is not beside it"),
        (("/etc/passwd", "part"), "which is not beside it"),
        (("gone.hdf5", "part"), "which is not there"),
        (("other.hdf5", "features"), "virtual itself"),
        ((".", "features"), "virtual itself"),
    ],
)
def test_parts_that_are_not_read(tmp_path: Path, source: tuple[str, str], message: str) -> None:
    (tmp_path / "in").mkdir()
    virtual(tmp_path / "outside.hdf5", (".", "part"))
    virtual(tmp_path / "in" / "other.hdf5", (".", "part"))
    with pytest.raises(BenchError, match=message):
        hdf5_rows(virtual(tmp_path / "in" / "a.hdf5", source), "features")


def strange(file: h5py.File, kind: str) -> None:
    rows = {"data": CONTENT, "chunks": (1, 3, 9)}
    if kind == "external link":
        file["features"] = h5py.ExternalLink("/etc/passwd", "/features")
    elif kind == "storage elsewhere":
        file.create_dataset("features", SHAPE, "f4", external=[("/etc/passwd", 0, CONTENT.nbytes)])
    elif kind == "filter":
        file.create_dataset("features", compression="lzf", **rows)
    elif kind == "never written":
        file.create_dataset("features", SHAPE, "f4", chunks=(1, 3, 9))[2] = 1
    elif kind == "large":
        file.create_dataset("features", (1 << 20, 1 << 10, 1 << 10), "f4", chunks=(1, 64, 64), compression="gzip")
    elif kind == "wide":
        file.create_dataset("features", (1, 1 << 14, 1 << 14), "f4", chunks=(1, 1 << 12, 1 << 12), compression="gzip")
    elif kind == "growing":
        file.create_dataset("features", maxshape=(None, 3, 9), **rows)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("external link", "no dataset 'features'"),
        ("storage elsewhere", "in other files"),
        ("filter", "filter 32000, where only deflate"),
        ("never written", "chunks that were never written"),
        ("large", "bytes of rows in a file of"),
        ("wide", "bytes of rows in a file of"),
        ("growing", "can grow"),
    ],
)
def test_what_is_not_read(tmp_path: Path, kind: str, message: str) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w", libver="latest") as file:
        strange(file, kind)
    with pytest.raises(BenchError, match=message):
        hdf5_rows(tmp_path / "a.hdf5", "features")
