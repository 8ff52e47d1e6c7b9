"""Reading stores: ours, published ones, and damaged ones."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.features.store import DescriptorStore, GlobalStore, LocalStore

N, L, D, G = 6, 4, 3, 5


def rows(images: int = N) -> np.ndarray:
    """Valid everywhere but for the last two descriptors of image 2, whose padding holds rubbish."""
    content = np.arange(images * L * (5 + D), dtype=np.float32).reshape(images, L, 5 + D) + 1
    content[:, :, 3] = 0
    content[2, 2:] = np.nan
    content[2, 2:, 3] = 1
    return content


def local_file(path: Path, content: np.ndarray, *, name: str = "features", **options: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=content, **options)
    return path


def test_features_are_the_columns_of_the_chosen_rows(tmp_path: Path) -> None:
    store = LocalStore.open(local_file(tmp_path / "a.hdf5", rows()))
    assert (len(store), store.length, store.dim, store.fingerprint) == (N, L, D, None)
    features, content = store.features([4, 1, 4]), rows()[[4, 1, 4]]
    expected = {
        "xy": content[:, :, 0:2],
        "scale": content[:, :, 2],
        "valid": content[:, :, 3] == 0,
        "weight": content[:, :, 4],
        "local": content[:, :, 5:],
    }
    for name, value in expected.items():
        read = getattr(features, name)
        assert read.is_contiguous()
        np.testing.assert_array_equal(read.numpy(), value)
    assert features.global_ is None and features.valid.dtype == torch.bool and len(features) == 3


def test_padding_reads_as_zeros(tmp_path: Path) -> None:
    features = LocalStore.open(local_file(tmp_path / "a.hdf5", rows())).features([1, 2])
    np.testing.assert_array_equal(features.valid, [[True] * 4, [True, True, False, False]])
    for name in ("local", "xy", "scale", "weight"):
        assert not getattr(features, name)[1, 2:].any() and getattr(features, name)[1, :2].all()


def test_only_so_many_locals(tmp_path: Path) -> None:
    store = LocalStore.open(local_file(tmp_path / "a.hdf5", rows()))
    features = store.features(torch.tensor([0, 5]), locals=2)
    np.testing.assert_array_equal(features.local, rows()[[0, 5], :2, 5:])
    assert features.xy.shape == (2, 2, 2) and features.valid.shape == (2, 2)
    for wrong in (0, L + 1):
        with pytest.raises(BenchError, match=f"{wrong} local descriptors.*wanted 1 to {L}"):
            store.features([0], locals=wrong)


def test_reading_does_not_change_the_file_nor_later_reads(tmp_path: Path) -> None:
    store = LocalStore.open(local_file(tmp_path / "a.hdf5", rows()))
    store.features([2]).local.fill_(7)
    np.testing.assert_array_equal(store.features([2]).local[0, :2], rows()[2, :2, 5:])


@pytest.mark.parametrize(
    "options",
    [{"chunks": (2, L, 5 + D), "compression": "gzip", "dtype": "f2"}, {"dtype": "f8"}, {"dtype": ">f4"}],
    ids=["compressed float16", "float64", "big-endian"],
)
def test_files_that_cannot_be_mapped_read_the_same(tmp_path: Path, options: dict[str, object]) -> None:
    mapped = LocalStore.open(local_file(tmp_path / "a.hdf5", rows()))
    slow = LocalStore.open(local_file(tmp_path / "b.hdf5", rows(), **options))
    assert isinstance(mapped.rows, np.ndarray) and isinstance(slow.rows, h5py.Dataset)
    for indices in ([5, 0, 5, 2], []):
        one, other = mapped.features(indices, locals=3), slow.features(indices, locals=3)
        for name in ("local", "xy", "scale", "valid", "weight"):
            assert torch.equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype


def test_chunks_go_through_all_images_in_order(tmp_path: Path) -> None:
    store = LocalStore.open(local_file(tmp_path / "a.hdf5", rows()))
    parts = list(store.chunks(4, locals=2))
    assert [len(part) for part, _ in parts] == [4, 2]
    np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), store.features(range(N), locals=2).local)


@pytest.mark.parametrize(
    ("indices", "message"),
    [([0, 6], "from 0 to 6 asked"), ([-1], "from -1 to -1"), ([0.5], "type float64"), ([[0]], r"shape \(1, 1\)")],
)
def test_images_that_the_store_does_not_have(tmp_path: Path, indices: list[object], message: str) -> None:
    store = LocalStore.open(local_file(tmp_path / "a.hdf5", rows()))
    with pytest.raises(BenchError, match=message):
        store.features(indices)


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_store_cut_short_says_how_many_bytes_it_has_and_should_have(tmp_path: Path, kept: float) -> None:
    path = local_file(tmp_path / "a.hdf5", rows(1000))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(int(size * kept))
    message = rf"a\.hdf5 has {int(size * kept):,} bytes; wanted {size:,}\. Delete it and extract"
    with pytest.raises(BenchError, match=message):
        LocalStore.open(path)


def test_a_file_that_ends_before_its_dataset(tmp_path: Path) -> None:
    # The size in the header agrees with the file, but the dataset reaches beyond it.
    path = local_file(tmp_path / "a.hdf5", rows(1000))
    size, short = path.stat().st_size, 40_000
    content = path.read_bytes()
    assert content.count(size.to_bytes(8, "little")) == 1
    path.write_bytes(content.replace(size.to_bytes(8, "little"), short.to_bytes(8, "little"))[:short])
    with pytest.raises(BenchError, match=r"a\.hdf5"):
        LocalStore.open(path)


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all" * 100])
def test_what_is_not_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.hdf5").write_bytes(content)
    with pytest.raises(BenchError, match=r"cannot read .*a\.hdf5 as HDF5"):
        LocalStore.open(tmp_path / "a.hdf5")


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    for kind in (LocalStore, GlobalStore):
        with pytest.raises(BenchError, match=r"cannot read .*absent\.hdf5 .*\(No such file"):
            kind.open(tmp_path / "absent.hdf5")
    with pytest.raises(BenchError, match=r"no floating-point dataset 'features' .*it has other"):
        LocalStore.open(local_file(tmp_path / "b.hdf5", rows(), name="other"))
    with pytest.raises(BenchError, match="no floating-point dataset"):
        LocalStore.open(local_file(tmp_path / "c.hdf5", np.zeros((2, 3, 9), np.int32)))
    for shape in ((2, 9), (2, 3, 5)):
        with pytest.raises(BenchError, match=r"of shape .*wanted \(N, L, 5 \+ D\)"):
            LocalStore.open(local_file(tmp_path / "d.hdf5", np.zeros(shape, np.float32)))


GLOBALS = np.random.default_rng(0).normal(size=(N, G)).astype(np.float32)


def global_file(folder: Path, kind: str) -> Path:
    path = folder / f"a.{kind}"
    if kind == "npy":
        np.save(path, GLOBALS)
    elif kind == "pt":
        GLOBALS.tofile(path)
    else:
        local_file(path, GLOBALS, name="global")
    return path


@pytest.mark.parametrize("kind", ["npy", "pt", "hdf5"])
def test_global_descriptors_of_every_kind(tmp_path: Path, kind: str) -> None:
    store = GlobalStore.open(global_file(tmp_path, kind), shape=(N, G))
    assert (len(store), store.dim) == (N, G)
    np.testing.assert_array_equal(store.array(), GLOBALS)
    np.testing.assert_array_equal(store.features([3, 0]).global_, GLOBALS[[3, 0]])
    assert not isinstance(store.rows, h5py.Dataset)
    with pytest.raises(BenchError, match=r"of shape \(6, 5\)|has 120 bytes; wanted 140"):
        GlobalStore.open(global_file(tmp_path, kind), shape=(N + 1, G))


def test_a_raw_file_needs_its_shape(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"a\.pt is neither.*wanted its shape"):
        GlobalStore.open(global_file(tmp_path, "pt"))


@pytest.mark.parametrize("kind", ["npy", "hdf5"])
def test_global_files_cut_short(tmp_path: Path, kind: str) -> None:
    path = global_file(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BenchError, match=rf"a\.{kind}"):
        GlobalStore.open(path)


def test_pickles_in_npy_files_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BenchError, match=r"cannot read .*a\.npy"):
        GlobalStore.open(tmp_path / "a.npy")


def test_local_and_global_descriptors_together(tmp_path: Path) -> None:
    local = LocalStore.open(local_file(tmp_path / "l.hdf5", rows()))
    store = DescriptorStore(local, GlobalStore.open(global_file(tmp_path, "npy")))
    features = store.features([5, 2], locals=1)
    np.testing.assert_array_equal(features.global_, GLOBALS[[5, 2]])
    np.testing.assert_array_equal(features.local, rows()[[5, 2], :1, 5:])
    assert len(store) == len(DescriptorStore(local)) == N
    assert DescriptorStore(local).features([1]).global_ is None
    only_global = DescriptorStore(global_=store.global_).features([1], locals=3)
    assert only_global.local is None and only_global.global_.shape == (1, G)


def test_stores_of_different_images_do_not_go_together(tmp_path: Path) -> None:
    local = LocalStore.open(local_file(tmp_path / "l.hdf5", rows(N + 1)))
    with pytest.raises(BenchError, match=r"7 images in .* and 6 images in"):
        DescriptorStore(local, GlobalStore.open(global_file(tmp_path, "npy")))


def test_local_descriptors_stay_on_the_disk_when_nobody_needs_them(tmp_path: Path) -> None:
    class Untouched(LocalStore):
        def features(self, indices: object, *, locals: int | None = None) -> None:
            raise AssertionError("read")

    np.save(tmp_path / "g.npy", np.eye(3, dtype=np.float32))
    local = Untouched(tmp_path / "l.hdf5", np.zeros((3, 2, 9), np.float32))
    store = DescriptorStore(local, GlobalStore.open(tmp_path / "g.npy"))
    assert store.features([1], needs=("global_",)).global_.tolist() == [[0, 1, 0]]
    with pytest.raises(AssertionError, match="read"):
        store.features([1], needs=("xy",))
