"""Distractors: mixtures that anybody can make again, and that know their parents."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.features import distractors
from bench.features.distractors import make_distractors
from bench.features.store import DescriptorStore

PARENTS, L, D, G = 30, 7, 4, 64


def write_parents(folder: Path, *, stem: str = "", seed: int = 0, **said: str) -> DescriptorStore:
    """Images of random descriptors, each with a size of its own, the last two descriptors of every third padding."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(seed)
    local = generator.standard_normal((PARENTS, L, 5 + D), dtype=np.float32)
    local[:, :, 3] = 0
    local[::3, -2:, 3] = 1
    globals_ = generator.standard_normal((PARENTS, G), dtype=np.float32)
    globals_ /= np.linalg.norm(globals_, axis=1, keepdims=True)
    sizes = generator.integers(100, 200, (PARENTS, 2)).astype(np.float32)
    for name, dataset, content in (
        ("local", "features", local),
        ("global", "global", globals_),
        ("size", "size", sizes),
    ):
        with h5py.File(folder / f"{stem}{name}.hdf5", "w") as file:
            file[dataset] = content
            file.attrs.update({"fingerprint": f"{name} {seed}", **said})
    return DescriptorStore.open(folder, stem)


@pytest.fixture
def parents(tmp_path: Path) -> DescriptorStore:
    return write_parents(tmp_path / "parents")


def test_the_global_descriptor_lies_between_its_parents(parents: DescriptorStore, tmp_path: Path) -> None:
    made = make_distractors(parents, tmp_path / "made", count=5000, seed=0)
    own, known = made.global_.array(), parents.global_.array()
    np.testing.assert_allclose(np.linalg.norm(own, axis=1), 1, atol=1e-6)
    first, second = made.local.pairs.T
    assert (first != second).all() and set(first) == set(second) == set(range(PARENTS))
    near = own @ known.T
    to_first, to_second = (near[np.arange(5000), side] for side in (first, second))
    assert 0.6 < to_first.mean() < 0.8 and 0.2 < to_second.mean() < 0.6
    assert near.max() < 0.97  # no copies, of parents or of each other
    assert np.triu(own @ own.T, 1).max() < 0.97
    others = near.copy()
    others[np.arange(5000), first] = others[np.arange(5000), second] = 0
    assert abs(others.mean()) < 0.02


@pytest.mark.parametrize("asked", [1, 4, 5, None])
def test_local_descriptors_are_those_of_both_parents_in_turn(
    parents: DescriptorStore, tmp_path: Path, asked: int | None
) -> None:
    made = make_distractors(parents, tmp_path / "made", count=40, seed=0)
    images, count = [39, 0, 7, 7], asked or L
    features = made.features(images, locals=asked)
    for row, image in enumerate(images):
        one, other = parents.features(made.local.pairs[image])[:1], parents.features(made.local.pairs[image])[1:]
        stretch = {"xy": one.size[0] / other.size[0]}
        assert torch.equal(features.size[row], one.size[0])
        for name in ("local", "xy", "scale", "valid", "weight"):
            found = getattr(features, name)[row]
            assert len(found) == count
            assert torch.equal(found[0::2], getattr(one, name)[0, : (count + 1) // 2])
            expected = getattr(other, name)[0, : count // 2]
            assert torch.equal(found[1::2], expected * stretch[name] if name in stretch else expected)
    assert (made.local.length, made.local.dim, len(made)) == (L, D, 40)


def test_places_that_are_shares_of_the_image_are_not_stretched(tmp_path: Path) -> None:
    parents = write_parents(tmp_path / "parents", xy="row, column in 0..1")
    made = make_distractors(parents, tmp_path / "made", count=3, seed=0)
    assert made.local.xy_convention == "row, column in 0..1"
    assert torch.equal(made.local.features([0]).xy[0, 1], parents.local.features(made.local.pairs[0, 1:]).xy[0, 0])


def test_the_folder_gives_all_of_it_back_in_another_process(tmp_path: Path) -> None:
    parents = write_parents(tmp_path / "parents", stem="dino_")
    made = make_distractors(parents, tmp_path / "made", count=50, seed=3)
    code = (
        "import sys; from pathlib import Path; from bench.features.store import DescriptorStore\n"
        f"store = DescriptorStore.open(Path({str(tmp_path / 'made')!r}), count=50)\n"
        "found = store.features([49, 3], locals=5)\n"
        "print(*(float(value.double().sum()) for value in (found.local, found.xy, found.global_, found.size)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = made.features([49, 3], locals=5)
    expected = [float(value.double().sum()) for value in (found.local, found.xy, found.global_, found.size)]
    assert [float(word) for word in run.stdout.split()] == expected


def test_they_are_labelled_as_synthetic(parents: DescriptorStore, tmp_path: Path) -> None:
    made = make_distractors(parents, tmp_path / "made", count=5, seed=0)
    with h5py.File(tmp_path / "made" / "global.hdf5") as file:
        assert file.attrs["synthetic"] and "synthetic distractors" in file.attrs["about"]
    said = json.loads((tmp_path / "made" / "distractors.json").read_text())
    assert said["synthetic"] is True and said["folder"] == "../parents" and said["count"] == 5
    assert made.local.about == made.global_.about == said["about"]


def test_the_same_seed_gives_the_same_files_and_another_does_not(parents: DescriptorStore, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_distractors(parents, tmp_path / name, count=5000, seed=seed)
    one, same, other = ((tmp_path / name / "global.hdf5").read_bytes() for name in "abc")
    assert one == same != other


def test_what_is_there_is_not_made_again(
    parents: DescriptorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distractors, "RUN", 10)
    mixed, done = distractors._mixed, []

    def fails_late(known: np.ndarray, pairs: np.ndarray, run: tuple[int, int], seed: int) -> np.ndarray:
        if run[0] >= 60:
            raise KeyboardInterrupt
        return mixed(known, pairs, run, seed)

    monkeypatch.setattr(distractors, "_mixed", fails_late)
    with pytest.raises(KeyboardInterrupt):
        make_distractors(parents, tmp_path / "made", count=100, seed=0)
    monkeypatch.setattr(distractors, "_mixed", mixed)
    shown: list[tuple[int, int]] = []
    for _ in range(2):
        done.append(
            make_distractors(parents, tmp_path / "made", count=100, seed=0, progress=lambda *at: shown.append(at))
        )
    assert shown == [(count, 100) for count in (70, 80, 90, 100)]
    make_distractors(parents, tmp_path / "whole", count=100, seed=0)
    assert np.array_equal(done[1].global_.array(), DescriptorStore.open(tmp_path / "whole").global_.array())


def test_changed_parents_are_noticed(parents: DescriptorStore, tmp_path: Path) -> None:
    make_distractors(parents, tmp_path / "made", count=5, seed=0)
    changed = write_parents(tmp_path / "parents", seed=1)
    with pytest.raises(BenchError, match=r"made of other descriptors than those in .*parents"):
        DescriptorStore.open(tmp_path / "made")
    before = (tmp_path / "made" / "global.hdf5").read_bytes()
    assert len(make_distractors(changed, tmp_path / "made", count=5, seed=0)) == 5
    assert (tmp_path / "made" / "global.hdf5").read_bytes() != before


def test_folders_that_are_not_whole(parents: DescriptorStore, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    make_distractors(parents, folder, count=5, seed=0)
    with pytest.raises(BenchError, match="5 images in .*; wanted 6"):
        DescriptorStore.open(folder, count=6)
    (folder / "global.hdf5").unlink()
    with pytest.raises(BenchError, match=r"cannot read .*global\.hdf5"):
        DescriptorStore.open(folder)
    for content in ("{", "[]", '{"count": 5}'):
        (folder / "distractors.json").write_text(content)
        with pytest.raises(BenchError, match=r"cannot read .*distractors\.json"):
            DescriptorStore.open(folder)


def test_parents_that_cannot_be_mixed(parents: DescriptorStore, tmp_path: Path) -> None:
    for store in (DescriptorStore(parents.local), DescriptorStore(parents.local, parents.global_)):
        with pytest.raises(BenchError, match="parents of distractors without a part"):
            make_distractors(store, tmp_path / "made", count=5, seed=0)
    with pytest.raises(BenchError, match="0 distractors of 30 images"):
        make_distractors(parents, tmp_path / "made", count=0, seed=0)
    assert not (tmp_path / "made").exists()


def test_they_stand_behind_a_gallery(parents: DescriptorStore, tmp_path: Path) -> None:
    made = make_distractors(parents, tmp_path / "made", count=20, seed=0)
    joined = DescriptorStore.joined([parents, made])
    features = joined.features([PARENTS + 19, 2], locals=3)
    assert torch.equal(features.local[0], made.features([19], locals=3).local[0])
    assert torch.equal(features.global_[1], parents.features([2]).global_[0]) and len(joined) == PARENTS + 20
