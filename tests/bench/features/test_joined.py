"""One store of a gallery and its distractors."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.errors import BenchError
from bench.features.store import DescriptorStore, GlobalStore, LocalStore

COUNTS, LENGTHS, D, G = (4, 3, 5), (3, 5, 2), 2, 6


def part(folder: Path, number: int, *, dim: int = D, width: int = G, said: str | None = None) -> DescriptorStore:
    """The images of one part; image i of all has i + 1 in all columns."""
    first, count, length = sum(COUNTS[:number]), COUNTS[number], LENGTHS[number]
    values = np.arange(first, first + count, dtype=np.float32) + 1
    rows = np.tile(values[:, None, None], (1, length, 5 + dim))
    rows[:, :, 3] = 0
    with h5py.File(folder / f"l{number}.hdf5", "w") as file:
        file["features"] = rows.astype("f2" if number == 1 else "f4")
        file.attrs.update({"about": f"part {number}", "fingerprint": str(number), **({"xy": said} if said else {})})
    np.save(folder / f"g{number}.npy", np.tile(values[:, None], (1, width)))
    local, globals_ = LocalStore.open(folder / f"l{number}.hdf5"), GlobalStore.open(folder / f"g{number}.npy")
    return DescriptorStore(local, globals_, np.tile(values[:, None], (1, 2)))


@pytest.fixture
def whole(tmp_path: Path) -> DescriptorStore:
    return DescriptorStore.joined([part(tmp_path, number) for number in range(3)])


def test_images_follow_each_other(whole: DescriptorStore) -> None:
    assert (len(whole), whole.local.length, whole.local.dim, whole.global_.shape) == (12, 5, D, (12, G))
    images = np.array([11, 0, 5, 5, 3, 4, 7])
    features = whole.features(images, locals=2)
    for value in (features.local, features.xy, features.scale, features.weight, features.size, features.global_):
        read = value.numpy().reshape(7, -1)
        np.testing.assert_array_equal(read, np.tile(images[:, None] + 1, (1, read.shape[1])))
    assert features.valid.all() and features.valid.shape == (7, 2)


@pytest.mark.parametrize("asked", [3, 4, 5, None])
def test_shorter_parts_are_padded(whole: DescriptorStore, asked: int | None) -> None:
    features = whole.features([1, 5, 9], locals=asked)
    count = asked or 5
    assert features.local.shape == (3, count, D)
    assert features.valid.sum(dim=1).tolist() == [3, count, 2]
    assert not features.local[~features.valid].any() and not features.weight[~features.valid].any()
    assert features.local[features.valid].all()


def test_padding_of_one_part_alone_and_of_no_images(whole: DescriptorStore) -> None:
    assert whole.features([8, 9]).valid.sum(dim=1).tolist() == [2, 2]
    assert whole.features([8, 9]).local.shape == (2, 5, D)
    assert whole.features([], locals=4).local.shape == (0, 4, D) and whole.features([]).global_.shape == (0, G)


def test_blocks_and_rows_reach_over_parts(whole: DescriptorStore) -> None:
    values = np.tile(np.arange(12, dtype=np.float32)[:, None] + 1, (1, G))
    for start in range(13):
        for stop in range(start, 13):
            np.testing.assert_array_equal(whole.global_.block(start, stop), values[start:stop])
    np.testing.assert_array_equal(whole.global_.array(), values)
    np.testing.assert_array_equal(whole.global_.rows([11, 2, 4, 2]), values[[11, 2, 4, 2]])
    with pytest.raises(BenchError, match="12 images"):
        whole.global_.rows([12])


def test_chunks_go_through_all_parts(whole: DescriptorStore) -> None:
    parts = list(whole.local.chunks(5))
    assert [len(descriptors) for descriptors, _ in parts] == [5, 5, 2]
    assert sum(int(valid.sum()) for _, valid in parts) == sum(map(int.__mul__, COUNTS, LENGTHS))


def test_what_the_parts_say_of_themselves(tmp_path: Path, whole: DescriptorStore) -> None:
    assert whole.local.about == "part 0; part 1; part 2" and whole.global_.about is None
    again = DescriptorStore.joined([part(tmp_path, number) for number in (0, 1)])
    assert whole.local.fingerprint != again.local.fingerprint is not None and whole.global_.fingerprint is None


def test_only_fields_that_all_parts_have(tmp_path: Path) -> None:
    one, other = part(tmp_path, 0), part(tmp_path, 1)
    joined = DescriptorStore.joined([one, DescriptorStore(other.local)])
    assert joined.local is not None and joined.global_ is None and joined.size is None
    with pytest.raises(BenchError, match="2 stores without any descriptors in common"):
        DescriptorStore.joined([DescriptorStore(one.local), DescriptorStore(global_=other.global_)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 3}, r"local descriptors 2 wide in .*l0\.hdf5 and local descriptors 3 wide in .*l1\.hdf5"),
        ({"width": 7}, r"global descriptors 6 wide in .* and global descriptors 7 wide"),
        ({"said": "row, column in 0..1"}, "places of descriptors as None .* as 'row, column in 0..1'"),
    ],
)
def test_parts_that_do_not_go_together(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        DescriptorStore.joined([part(tmp_path, 0), part(tmp_path, 1, **options)])
