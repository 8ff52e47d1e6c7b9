"""Reading stores: ours, published ones, and damaged ones."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.features.layout import ROW_COLUMN
from bench.features.rows import FileRows
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
    [{"chunks": (2, L, 5 + D), "compression": "gzip", "dtype": "f2"}, {"dtype": ">f4"}, {"dtype": "f2"}],
    ids=["compressed float16", "big-endian", "float16"],
)
def test_files_of_all_types_and_storages_read_the_same(tmp_path: Path, options: dict[str, object]) -> None:
    mapped = LocalStore.open(local_file(tmp_path / "a.hdf5", rows()))
    slow = LocalStore.open(local_file(tmp_path / "b.hdf5", rows(), **options))
    assert isinstance(mapped.rows, FileRows) and isinstance(slow.rows, FileRows) == ("chunks" not in options)
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
    for shape in ((2, 9), (2, 3, 5)):
        with pytest.raises(BenchError, match=r"of shape .*wanted \(N, L, 5 \+ D\)"):
            LocalStore.open(local_file(tmp_path / "d.hdf5", np.zeros(shape, np.float32)))


GLOBALS = np.random.default_rng(0).normal(size=(N, G)).astype(np.float32)


def global_file(folder: Path, kind: str, content: np.ndarray = GLOBALS) -> Path:
    path = folder / f"a.{kind.split()[-1]}"
    if kind == "npy":
        np.save(path, content)
    elif kind == "torch pt":
        torch.save(torch.from_numpy(np.concatenate([content, content]))[len(content) :], path)
    elif kind == "raw pt":
        content.tofile(path)
    else:
        local_file(path, content, name="global")
    return path


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("raw pt", "f4"), *((kind, dtype) for kind in ("npy", "torch pt", "hdf5") for dtype in ("f4", "f2"))],
)
def test_global_descriptors_of_every_kind(tmp_path: Path, kind: str, dtype: str) -> None:
    content = GLOBALS.astype(dtype)
    store = GlobalStore.open(global_file(tmp_path, kind, content), count=N)
    assert (len(store), store.dim, store.shape) == (N, G, (N, G))
    np.testing.assert_array_equal(store.array(), content)
    np.testing.assert_array_equal(store.block(2, 5), content[2:5])
    np.testing.assert_array_equal(store.rows([3, 0, 3]), content[[3, 0, 3]])
    np.testing.assert_array_equal(store.features([3, 0]).global_, content[[3, 0]])
    assert {read.dtype for read in (store.array(), store.block(0, 1), store.rows([0]))} == {np.dtype("f4")}
    assert store.block(2, 2).shape == (0, G)
    with pytest.raises(BenchError, match=r"wanted 7"):
        GlobalStore.open(global_file(tmp_path, kind, content), count=N + 1)


def test_descriptors_stay_those_of_the_file_that_was_opened(tmp_path: Path) -> None:
    store = GlobalStore.open(global_file(tmp_path, "npy"))
    np.save(tmp_path / "other.npy", np.zeros((N, G), np.float32))
    (tmp_path / "other.npy").replace(store.path)
    np.testing.assert_array_equal(store.rows(range(N)), GLOBALS)
    np.testing.assert_array_equal(store.block(0, N), GLOBALS)


def test_a_file_that_is_cut_while_it_is_open(tmp_path: Path) -> None:
    store = LocalStore.open(local_file(tmp_path / "a.hdf5", rows()))
    with store.path.open("r+b") as file:
        file.truncate(store.path.stat().st_size - 4)
    assert len(store.features([0])) == 1
    with pytest.raises(BenchError, match=r"a\.hdf5 has"):
        store.features([N - 1])


def test_a_block_is_resident_only_as_long_as_it_is_used(tmp_path: Path) -> None:
    def resident_bytes() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))

    content = np.ones((4096, 4096), np.float32)  # 64 MiB
    store = GlobalStore.open(global_file(tmp_path, "npy", content))
    before = resident_bytes()
    block = store.block(0, 4096)
    assert block.sum() == content.size and resident_bytes() - before > 50e6
    del block
    assert resident_bytes() - before < 5e6


def test_a_raw_file_needs_its_count(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"a\.pt is neither.*wanted to know how many images"):
        GlobalStore.open(global_file(tmp_path, "raw pt"))
    with pytest.raises(BenchError, match=r"a\.pt has 120 bytes; wanted 7 rows of float32"):
        GlobalStore.open(global_file(tmp_path, "raw pt"), count=7)


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


def folder_of(path: Path, stem: str, *names: str) -> Path:
    path.mkdir()
    for name in names:
        kind = name.split(".")[0]
        content = {"local": rows(), "global": GLOBALS, "size": np.ones((N, 2), np.float32)}[kind]
        if name.endswith(".hdf5"):
            local_file(path / f"{stem}{name}", content, name={"local": "features"}.get(kind, kind))
        else:
            global_file(path, {"npy": "npy", "pt": "raw pt"}[name.split(".")[1]]).rename(path / f"{stem}{name}")
    return path


def test_a_folder_has_whichever_files_exist(tmp_path: Path) -> None:
    ours = DescriptorStore.open(folder_of(tmp_path / "a", "", "local.hdf5", "global.hdf5", "size.hdf5"))
    assert ours.features([1, 2]).size.tolist() == [[1, 1]] * 2 and len(ours) == N
    published = DescriptorStore.open(
        folder_of(tmp_path / "b", "cls_gallery_", "local.hdf5", "global.pt"), "cls_gallery_", N
    )
    np.testing.assert_array_equal(published.features([4]).global_, GLOBALS[[4]])
    assert published.size is None
    only_global = DescriptorStore.open(folder_of(tmp_path / "c", "", "global.npy"))
    assert only_global.local is None and len(only_global) == N
    (tmp_path / "c" / "global.npy").rename(tmp_path / "c" / "cls.npy")  # as others call them
    assert len(DescriptorStore.open(tmp_path / "c", count=N)) == N


def test_a_folder_without_descriptors_names_what_is_near(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", "dino_gallery_", "local.hdf5")
    with pytest.raises(
        BenchError, match=r"it has dino_gallery_local\.hdf5\); wanted dino_query_local\.hdf5 or .*\.pt there"
    ):
        DescriptorStore.open(folder, "dino_query_")
    with pytest.raises(BenchError, match="no folder"):
        DescriptorStore.open(tmp_path / "absent")


@pytest.mark.parametrize("name", ["local.hdf5", "global.npy"])
def test_a_list_of_another_length_than_the_store(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path / "a", "", name)
    with pytest.raises(BenchError, match=rf"6 images in .*{name}; wanted 7"):
        DescriptorStore.open(folder, count=7)


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    path = local_file(tmp_path / "a.hdf5", rows())
    assert (LocalStore.open(path).xy_convention, LocalStore.open(path).about) == (ROW_COLUMN, None)
    with h5py.File(path, "a") as file:
        file.attrs.update(xy="row, column in 0..1", about="no query crop", fingerprint="f")
    store = LocalStore.open(path)
    assert (store.xy_convention, store.about, store.fingerprint) == ("row, column in 0..1", "no query crop", "f")


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


def compound_file(path: Path, content: np.ndarray, *, descriptor: str = "f2", **options: object) -> Path:
    """A file as those that AMES publishes: a row of columns and a row of descriptors, each of its own type."""
    kind = np.dtype([("metadata", "<f4", (L, 5)), ("descriptor", f"<{descriptor}", (L, D))])
    stored = np.zeros(N, kind)
    stored["metadata"], stored["descriptor"] = content[:, :, :5], content[:, :, 5:]
    return local_file(path, stored, **options)


@pytest.mark.parametrize("options", [{}, {"chunks": (2,)}, {"chunks": (3,), "compression": "gzip"}])
@pytest.mark.parametrize("count", [None, 2])
def test_columns_and_descriptors_may_be_fields(tmp_path: Path, options: dict[str, object], count: int | None) -> None:
    plain = LocalStore.open(local_file(tmp_path / "plain.hdf5", rows()))
    store = LocalStore.open(compound_file(tmp_path / "fields.hdf5", rows(), descriptor="f4", **options))
    assert (len(store), store.length, store.dim) == (N, L, D) and store.xy_convention == ROW_COLUMN
    found, wanted = (one.features([4, 2, 4], locals=count) for one in (store, plain))
    for name in ("local", "xy", "scale", "valid", "weight"):
        assert torch.equal(getattr(found, name), getattr(wanted, name))
    halves = LocalStore.open(compound_file(tmp_path / "halves.hdf5", rows(), **options)).features([0, 5])
    np.testing.assert_array_equal(halves.local, rows()[[0, 5], :, 5:].astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(halves.xy, rows()[[0, 5], :, :2])


def test_fields_of_bits_and_fields_cut_short(tmp_path: Path) -> None:
    kind = np.dtype([("metadata", "<f4", (L, 5)), ("descriptor", "u1", (L, 16))])
    with pytest.raises(BenchError, match="field 'descriptor' of 'features' in .* of type .*u1"):
        LocalStore.open(local_file(tmp_path / "bits.hdf5", np.zeros(N, kind)))
    path = compound_file(tmp_path / "cut.hdf5", rows())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BenchError, match=r"cut\.hdf5 has [\d,]+ bytes; wanted"):
        LocalStore.open(path)


def test_places_are_in_pixels_where_sizes_are_known(tmp_path: Path) -> None:
    local = LocalStore.open(local_file(tmp_path / "a.hdf5", rows()))
    assert DescriptorStore(local).features([1]).xy is None
    sizes = np.arange(2 * N, dtype=np.float32).reshape(N, 2) + 100
    found = DescriptorStore(local, size=sizes).features([3, 1])
    row, column = np.moveaxis(rows()[[3, 1], :, :2], 2, 0)
    valid = found.valid.numpy()
    np.testing.assert_allclose(found.xy[..., 0].numpy()[valid], (column * sizes[[3, 1], :1])[valid])
    np.testing.assert_allclose(found.xy[..., 1].numpy()[valid], (row * sizes[[3, 1], 1:])[valid])


def test_global_descriptors_under_the_name_that_others_give_them(tmp_path: Path) -> None:
    content = np.random.default_rng(0).standard_normal((N, 7)).astype(np.float16)
    path = local_file(tmp_path / "dinov2_gallery_cls.hdf5", content)
    np.testing.assert_array_equal(GlobalStore.open(path).array(), content.astype(np.float32))
    assert DescriptorStore.open(tmp_path, "dinov2_gallery_", count=N).global_.dim == 7
