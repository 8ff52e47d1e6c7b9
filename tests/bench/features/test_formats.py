"""Files that are not what they should be, and datasets in several files."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.features.formats import hdf5_rows, npy_rows, torch_rows
from bench.features.store import LocalStore

STRUCTURED = np.zeros((2, 3), [("x", "f4"), ("y", "i4")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((2, 3, 9), np.int32), r"dataset 'features' in .*a\.hdf5 of type int32; wanted rows of float16"),
        (np.zeros((2, 3, 9)), "dataset 'features' in .* of type float64"),
        (STRUCTURED, "dataset 'features' in .* of type .*'x'"),
        (np.zeros((0, 3, 9), np.float32), r"dataset 'features' of shape \(0, 3, 9\) in .* is empty"),
        (h5py.Empty("f4"), "dataset 'features' of shape None in .* is empty"),
    ],
    ids=["integers", "float64", "structured", "no images", "nothing"],
)
def test_datasets_of_another_type(tmp_path: Path, content: object, message: str) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["features"] = content
    with pytest.raises(BenchError, match=message):
        LocalStore.open(tmp_path / "a.hdf5")


def test_a_dataset_of_another_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["other"] = np.zeros(3, np.float32)
        file.create_group("features")
    with pytest.raises(BenchError, match=r"no dataset 'features' in .*a\.hdf5 \(it has features, other\)"):
        hdf5_rows(tmp_path / "a.hdf5", "features")


@pytest.fixture
def virtual(tmp_path: Path) -> Path:
    """A dataset of two images in one file and three in another, as published files with a million distractors are."""
    layout = h5py.VirtualLayout((5, 2, 8), "f4")
    for name, first, last in (("one", 0, 2), ("two", 2, 5)):
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            file["features"] = np.arange(first * 16, last * 16, dtype="f4").reshape(last - first, 2, 8)
            file["features"][:, :, 3] = 0
        layout[first:last] = h5py.VirtualSource(f"{name}.hdf5", "features", (last - first, 2, 8))
    with h5py.File(tmp_path / "all.hdf5", "w") as file:
        file.create_virtual_dataset("features", layout)
    return tmp_path / "all.hdf5"


def test_virtual_datasets(virtual: Path) -> None:
    store = LocalStore.open(virtual)
    found = store.features([4, 0, 2])
    assert len(store) == 5 and found.valid.all()
    np.testing.assert_array_equal(found.weight[:, 0], [68, 4, 36])
    np.testing.assert_array_equal(found.local[0, 1], [77, 78, 79])


def test_a_virtual_dataset_without_one_of_its_parts(virtual: Path) -> None:
    (virtual.parent / "two.hdf5").unlink()
    with pytest.raises(BenchError, match=r"all\.hdf5 reads a part of '/features' from two\.hdf5, which is not there"):
        LocalStore.open(virtual)


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("attacked"),)


@pytest.mark.parametrize("content", [Attack(), {"a": torch.zeros(2)}, torch.zeros(2, 3).T, torch.zeros(2, 3).double()])
def test_torch_files_of_anything_else_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "a.pt")
    with pytest.raises(BenchError, match=r"a\.pt"):
        torch_rows(Path("a.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_torch_file_cut_short(tmp_path: Path) -> None:
    torch.save(torch.zeros(100, 3), tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-100])
    with pytest.raises(BenchError, match=r"cannot read .*a\.pt"):
        torch_rows(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [np.zeros((2, 3)), np.zeros((2, 3), np.int32), np.zeros((0, 3), np.float32)])
def test_npy_files_of_another_type(tmp_path: Path, content: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(BenchError, match=r"a\.npy of type"):
        npy_rows(tmp_path / "a.npy")
