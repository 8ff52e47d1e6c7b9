"""Ground truths and shortlists: pickles of every protocol, of arrays and tensors, and JSON."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bench.datasets import safe_pickle
from bench.datasets.ground_truth import read_ground_truth
from bench.datasets.neighbours import read_neighbours
from bench.features.formats import global_rows
from tests.fuzz.readers.checkpoints import torch_saved
from tests.fuzz.reading import Reader, edit_members

LISTS = np.stack([[[0.9, 0.5, 0.5], [0.8, 0.7, 0.1]], [[2.0, 0.0, 1.0], [3.0, 2.0, 1.0]]]).astype(np.float32)


def truth(as_array: bool) -> dict[str, object]:
    indices = np.array if as_array else list
    entries = [
        {"bbx": indices([1.0, 2.0, 30.5, 40.0]), "easy": indices([0]), "hard": indices([1, 2]), "junk": indices([3])},
        {"bbx": None, "ok": indices([2]), "junk": indices([0])},
    ]
    return {"imlist": ["a", "b/c", "d", "e"], "qimlist": ["q", "r"], "gnd": entries}


def truths(_: Path) -> Iterator[bytes]:
    for protocol in (0, 2, 3, 4, 5):
        yield pickle.dumps(truth(False), protocol)
        yield pickle.dumps(truth(True), protocol)


def plain(_: Path) -> Iterator[bytes]:
    for protocol in (0, 1, 2, 4, 5):
        yield pickle.dumps([{"s", 1}, frozenset((2.5,)), bytearray(b"ab"), b"\xff", 1 << 70, 2j, "é"], protocol)
        yield pickle.dumps({"a": (None, True), 1: np.arange(3)[::-1], 2.5: np.float64(1)}, protocol)
        yield pickle.dumps([np.array(["a", "bc"]), np.zeros((0, 3), ">i2")], protocol)


def truths_as_json(_: Path) -> Iterator[bytes]:
    yield json.dumps(truth(False)).encode()
    yield json.dumps({"imlist": ["a"], "qimlist": [], "gnd": []}).encode()


def shortlists(_: Path) -> Iterator[bytes]:
    for protocol in (0, 2, 4):
        yield pickle.dumps(LISTS.astype(np.float64), protocol)
        yield pickle.dumps(torch.from_numpy(LISTS), protocol)


def zipped_shortlists(_: Path) -> Iterator[bytes]:
    yield torch_saved(torch.from_numpy(LISTS), zipped=True)
    yield torch_saved(torch.from_numpy(LISTS).half().transpose(1, 2).contiguous().transpose(1, 2), zipped=True)


def legacy_shortlists(_: Path) -> Iterator[bytes]:
    yield torch_saved(torch.from_numpy(LISTS), zipped=False)


def zipped_rows(_: Path) -> Iterator[bytes]:
    yield torch_saved(torch.arange(6.0).reshape(2, 3), zipped=True)
    yield torch_saved(torch.arange(8.0).half().reshape(4, 2)[1:], zipped=True)


def read_shortlist(path: Path) -> None:
    read_neighbours(path, queries=2, gallery=4)


def read_rows(path: Path) -> None:
    """All of them, as the first stage does; and one."""
    rows, _ = global_rows(path, 2)
    rows.block(0, len(rows)).sum()
    rows.take(np.zeros(1, dtype=np.int64))


READERS = (
    Reader("pickle", "case.pkl", plain, safe_pickle.load),
    Reader("ground-truth-pickle", "gnd_case.pkl", truths, read_ground_truth),
    Reader("ground-truth-json", "gnd_case.json", truths_as_json, read_ground_truth),
    Reader("shortlist-pickle", "nn_case.pkl", shortlists, read_shortlist),
    Reader("shortlist-zip", "nn_case.pkl", zipped_shortlists, read_shortlist, mutate=edit_members),
    Reader("shortlist-legacy", "nn_case.pkl", legacy_shortlists, read_shortlist),
    Reader("torch-globals", "global.pt", zipped_rows, read_rows, mutate=edit_members),
)
