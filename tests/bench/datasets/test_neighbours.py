from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from bench.datasets.neighbours import read_neighbours
from bench.errors import BenchError

LISTS = np.stack([[[0.9, 0.5, 0.5], [0.8, 0.7, 0.1]], [[2.0, 0.0, 1.0], [3.0, 2.0, 1.0]]]).astype(np.float32)
TENSOR = torch.from_numpy(LISTS)


def pickled(path, value):
    path.write_bytes(pickle.dumps(value))


def saved(path, value):
    torch.save(value, path)


def saved_as_before(path, value):
    torch.save(value, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [pickled, saved, saved_as_before])
@pytest.mark.parametrize("strided", [False, True])
def test_lists_in_every_container(tmp_path, write, strided):
    value = TENSOR.transpose(0, 1).contiguous().transpose(0, 1) if strided else TENSOR
    write(tmp_path / "nn.pkl", value)
    similarity, indices = read_neighbours(tmp_path / "nn.pkl", queries=2, gallery=4)
    np.testing.assert_array_equal(similarity, LISTS[0], strict=True)
    np.testing.assert_array_equal(indices, LISTS[1].astype(np.int64), strict=True)


def test_an_array_will_do(tmp_path):
    pickled(tmp_path / "nn.pkl", LISTS.astype(np.float64))
    assert read_neighbours(tmp_path / "nn.pkl", queries=2, gallery=4)[1][1].tolist() == [3, 2, 1]


def changed(place, value):
    lists = LISTS.copy()
    lists[place] = value
    return lists


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (LISTS[0], r"values of shape \(2, 3\)"),
        (np.concatenate([LISTS, LISTS[1:]]), r"values of shape \(3, 2, 3\)"),
        (LISTS[:, :1], "lists of 1 queries; wanted 2"),
        (changed((1, 0, 0), 4), "images from 0.0 to 4.0; wanted whole numbers from 0 to 3"),
        (changed((1, 0, 0), 0.5), "wanted whole numbers"),
        (changed((1, 0, 0), np.nan), "wanted whole numbers"),
        (changed((0, 0, 0), np.inf), "wanted whole numbers"),
        (changed((1, 0, 0), 1), "a list with an image twice"),
        (changed((0, 1, 2), 1), "a list whose similarities rise"),
        ({"similarity": [1, 2]}, "a dict; wanted a tensor"),
        (TENSOR.bfloat16(), "a torch.bfloat16; wanted a tensor"),
    ],
)
def test_what_is_no_list_of_this_data_set(tmp_path, value, words):
    pickled(tmp_path / "nn.pkl", value)
    with pytest.raises(BenchError, match=words):
        read_neighbours(tmp_path / "nn.pkl", queries=2, gallery=4)


class Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(path):
    """Pickles that would make the folder `path`, on their own or by way of what torch calls when it reads."""
    make = Runs(os.mkdir, str(path))
    inner = pickle.dumps(make)
    yield make
    yield [TENSOR, make]
    yield Runs(torch.storage._load_from_bytes, inner)
    yield Runs(torch._utils._rebuild_tensor_v2, make, 0, (1,), (1,), False, {})


def test_attacks_are_refused_and_nothing_is_run(tmp_path):
    made = tmp_path / "made"
    for number, attack in enumerate(attacks(made)):
        pickled(tmp_path / f"{number}.pkl", attack)
        saved(tmp_path / f"{number}.pt", attack)
        for ending in ("pkl", "pt"):
            with pytest.raises(BenchError):
                read_neighbours(tmp_path / f"{number}.{ending}", queries=2, gallery=4)
    assert not made.exists()


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (2, 2, 4), (6, 3, 1)), (11, (2, 2, 3), (6, 3, 1)), (-1, (2,), (1,)), (0, (1 << 40,), (0,)), (0, (2,), ())],
)
def test_a_tensor_that_reaches_beyond_its_memory(tmp_path, offset, size, stride):
    storage = TENSOR.storage()
    pickled(tmp_path / "nn.pkl", Runs(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, {}))
    with pytest.raises(BenchError, match="cannot be read as a pickle"):
        read_neighbours(tmp_path / "nn.pkl", queries=2, gallery=4)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BenchError, match="no file that can be read"):
        read_neighbours(tmp_path / "nowhere.pkl", queries=2, gallery=4)
    torch.save(TENSOR, tmp_path / "cut.pkl")
    content = (tmp_path / "cut.pkl").read_bytes()
    (tmp_path / "cut.pkl").write_bytes(content[: len(content) // 2])
    with pytest.raises(BenchError, match=r"no file of torch\.save"):
        read_neighbours(tmp_path / "cut.pkl", queries=2, gallery=4)
