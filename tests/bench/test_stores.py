"""Which files of a data set's folder are read, and what records say of them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest

from bench import datasets
from bench.errors import BenchError
from bench.stores import Stored, opened
from tests import trees

BEHIND = 5


@pytest.fixture
def root(tmp_path):
    trees.birds(tmp_path)
    return tmp_path


def load(root, name="cub"):
    return datasets.load(name, cache=root, workers=1, data_root=root)


def described(root, name="made", **options):
    for side in ("query", "gallery"):
        trees.random_descriptors(root / "cub", f"{name}_{side}_", 15, **options)


def test_local_and_global_descriptors_of_one_name_and_of_two(root):
    described(root)
    described(root, "other", global_dim=8)
    data = load(root)
    for global_, width in ((None, 24), ("made", 24), ("other", 8)):
        stored = Stored.of(data, "made", global_, None)
        for parts in (stored.queries(data), stored.gallery(data)):
            store = opened(parts)
            assert (len(store), store.local.dim, store.global_.dim) == (15, 16, width)
    assert Stored.of(data, "made", "other", None).slug == "made-other"
    assert Stored.of(data, "made", "other", None).name(data).startswith("made + other globals (files that do not say")


def test_what_the_query_files_say_of_themselves_is_said_in_records(root):
    described(root)
    with h5py.File(root / "cub" / "made_query_local.hdf5", "a") as file:
        file.attrs["about"] = "Made Up, 9 px, query crop"
    assert Stored.of(load(root), "made", None, None).name(load(root)) == "made (Made Up, 9 px, query crop)"


def test_lists_stand_in_for_global_descriptors_that_are_not_there(root):
    described(root, fields=True)
    lists = np.stack([np.tile(np.linspace(1, 0, 15), (15, 1)), np.tile(np.arange(15.0), (15, 1))])
    path = root / "cub" / "nn_made.pkl"
    path.write_bytes(pickle.dumps(lists.astype(np.float32)))
    stored = Stored.of(load(root), "made", None, None)
    assert stored.neighbours == path and opened(stored.gallery(load(root))).global_ is None
    described(root)
    assert Stored.of(load(root), "made", None, None).neighbours is None
    named = Stored.of(load(root), "made", None, path)
    assert named.neighbours == path and "first stage by the lists of nn_made.pkl sha256:" in named.name(load(root))
    with pytest.raises(BenchError, match=r"no file .*nn_none\.pkl; wanted first-stage lists"):
        Stored.of(load(root), "made", None, root / "nn_none.pkl")


@pytest.fixture
def with_distractors(root):
    """CUB with distractors behind it, as only Revisited Oxford and Paris have them."""
    (root / "revisitop1m").mkdir()
    behind = datasets.Distractors("revisitop1m", BEHIND, root / "revisitop1m")
    return replace(load(root), name="cub+1m", distractors=behind)


def test_distractors_have_files_of_their_own(root, with_distractors):
    described(root)
    trees.random_descriptors(root / "revisitop1m", "made_", BEHIND)
    store = opened(Stored.of(with_distractors, "made", None, None).gallery(with_distractors))
    assert len(store) == 15 + BEHIND and store.global_.shape == (20, 24)


def test_or_lie_in_one_file_with_the_gallery(root, with_distractors):
    described(root)
    trees.random_descriptors(root / "cub+1m", "made_gallery_", 15 + BEHIND)
    store = opened(Stored.of(with_distractors, "made", None, None).gallery(with_distractors))
    assert len(store) == 15 + BEHIND and store.local.path.parent.name == "cub+1m"


def test_made_up_distractors_need_this_suite_s_own_descriptors(root):
    described(root)
    data = replace(load(root), name="cub+7", distractors=datasets.Distractors("7 synthetic", 7))
    with pytest.raises(BenchError, match="made-up distractors behind the stored descriptors made"):
        Stored.of(data, "made", None, None).gallery(data)


def test_files_of_another_list_of_images(root):
    described(root)
    trees.random_descriptors(root / "cub", "made_gallery_", 14, fields=True)
    with pytest.raises(
        BenchError, match=r"14 images in .*made_gallery_local\.hdf5 and 15 images in .*made_gallery_global\.pt"
    ):
        opened(Stored.of(load(root), "made", None, None).gallery(load(root)))


def test_descriptors_that_are_not_there(root):
    described(root)
    with pytest.raises(BenchError, match=r"no descriptors in .*made_gallery_local\.hdf5.*; wanted maid_gallery_local"):
        opened(Stored.of(load(root), "maid", None, None).gallery(load(root)))
