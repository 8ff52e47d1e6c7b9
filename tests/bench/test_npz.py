from __future__ import annotations

import io

import numpy as np
import pytest

from bench import npz
from bench.errors import BenchError

WANTED = {"first": ("i", 1), "share": ("f", 2)}
ARRAYS = {"first": np.arange(3), "share": np.ones((2, 2), np.float32), "more": np.zeros(1)}


def made(path, write=np.savez, **changes):
    content = io.BytesIO()
    write(content, **(ARRAYS | changes))
    path.write_bytes(content.getvalue())
    return path


def test_the_arrays_that_are_wanted(tmp_path):
    found = npz.read(made(tmp_path / "case.npz"), WANTED, cure="Make it again.")
    assert found.keys() == WANTED.keys() and found["first"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"write": np.savez_compressed}, "it is packed"),
        ({"first": np.ones(3)}, r"first of shape \(3,\) and type float64"),
        ({"share": np.ones(3, np.float32)}, r"share of shape \(3,\)"),
        ({"first": np.array([{}])}, "Object arrays"),
    ],
)
def test_others_are_refused(tmp_path, options, words):
    with pytest.raises(BenchError, match=rf"{words}.*Make it again\."):
        npz.read(made(tmp_path / "case.npz", **options), WANTED, cure="Make it again.")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_files_that_are_no_npz(tmp_path, content):
    (tmp_path / "case.npz").write_bytes(content)
    with pytest.raises(BenchError, match="cannot read"):
        npz.read(tmp_path / "case.npz", WANTED, cure="")
