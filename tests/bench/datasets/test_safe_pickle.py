from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.datasets import safe_pickle
from bench.errors import BenchError

ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(6, dtype=">i4")[::-1],
    np.arange(6, dtype=np.uint8).reshape(1, 2, 3).transpose(2, 0, 1),
    np.array(["a", "bcd"]),
    np.array([True, False]),
    np.array(4.5),
    np.zeros((0, 3), dtype=np.float32),
]


class Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def stored(tmp_path):
    def store(content):
        path = tmp_path / "case.pkl"
        path.write_bytes(content)
        return path

    return store


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_and_arrays_of_every_protocol(stored, protocol):
    plain = {"names": ["a", "é"], "nested": ({1: None}, [2.5, True]), "bytes": b"\xff", "none": b""}
    scalars = [np.float32(2.5), np.int64(-3), np.True_]
    found = safe_pickle.load(stored(pickle.dumps((plain, ARRAYS, scalars), protocol=protocol)))
    assert found[0] == plain
    for got, wanted in zip(found[1], ARRAYS, strict=True):
        np.testing.assert_array_equal(np.asarray(got), wanted, strict=wanted.dtype.isnative)
    assert found[2] == scalars and [type(one) for one in found[2]] == [type(one) for one in scalars]


def test_both_spellings_of_numpy_s_core(stored):
    content = pickle.dumps([np.arange(3), np.float64(1)], protocol=3)
    assert b"numpy._core" in content
    for spelling in (b"numpy._core", b"numpy.core"):
        array, scalar = safe_pickle.load(stored(content.replace(b"numpy._core", spelling)))
        assert array.tolist() == [0, 1, 2] and scalar == 1


def test_a_forbidden_type_is_named_and_not_run(stored, tmp_path):
    made = tmp_path / "made"
    for protocol in (0, 2, 5):
        content = pickle.dumps({"imlist": [Runs(os.mkdir, str(made))]}, protocol=protocol)
        with pytest.raises(BenchError, match=rf"{os.name}\.mkdir"):
            safe_pickle.load(stored(content))
    assert not made.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([{}], dtype=object), "'O8'"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), "'V12'"),
        (np.datetime64("2020-01-01"), "'M8'"),
        (np.dtype("O"), "'O8'"),
        (Runs(np._core.multiarray.scalar, np.dtype("O"), b"12345678"), "'O8'"),
        (Runs(np._core.multiarray.scalar, np.dtype("i8"), b"1234"), "4 bytes"),
        (Runs(np._core.numeric._frombuffer, b"1234", np.dtype("i8"), (1 << 40,), "C"), "4 bytes"),
        (Runs(np._core.numeric._frombuffer, b"", np.dtype("i8"), (0, -1), "C"), "shape"),
        (Runs(np.ndarray, (1 << 40,)), "numpy.ndarray"),
        (np.ma.masked_array([1]), "numpy.ma"),
        (Runs(eval, "1"), "eval"),
        (Runs(getattr, "a", "upper"), "getattr"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_ways_in_are_closed(stored, value, message, protocol):
    with pytest.raises(BenchError, match=message):
        safe_pickle.load(stored(pickle.dumps(value, protocol=protocol)))


def test_a_type_cannot_be_made_to_hold_objects_afterwards(stored):
    # dtype("i8"), then its state: one field "a" at offset 0, and flags that deny it.
    state = b"(I3\nS'|'\nN(S'a'\nt(S'a'\n(g1\nI0\ntdI8\nI1\nI0\ntb."
    with pytest.raises(BenchError, match="structured"):
        safe_pickle.load(stored(b"cnumpy\ndtype\n(S'i8'\nI00\nI01\ntRp1\n" + state))


def test_a_function_cannot_be_given_a_state(stored):
    with pytest.raises(BenchError, match="a state for a function"):
        safe_pickle.load(stored(b"cnumpy\ndtype\n(N(S'__defaults__'\nNdtb."))


def test_a_list_of_one_s_own(stored):
    content = pickle.dumps(Runs(os.getcwd), protocol=4)
    assert safe_pickle.load(stored(content), allowed={(os.name, "getcwd"): lambda: "here"}) == "here"
    with pytest.raises(BenchError, match="numpy"):
        safe_pickle.load(stored(pickle.dumps(np.arange(2))), allowed={})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        b"\x80\x04r\xff\xff\xff\x7f.",  # a memo place that would take 32 GiB
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",  # bytes of 2^63
        b"\x80\x04\x82\x01.",  # an extension code
        b"Pname\n.",  # a persistent id
        pickle.dumps(list(range(1000)))[:-20],
    ],
)
def test_broken_files_are_refused(stored, content):
    with pytest.raises(BenchError):
        safe_pickle.load(stored(content))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_never_escapes_as_another_error(stored, data):
    content = bytearray(pickle.dumps({"a": [1, 2.5, "text", np.arange(5)], "b": (None, b"x" * 300)}, protocol=4))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        safe_pickle.load(stored(bytes(content)))
    except BenchError as error:
        assert "case.pkl" in str(error)


def test_large_and_missing_files_are_refused(stored, tmp_path, monkeypatch):
    with pytest.raises(BenchError, match="cannot read"):
        safe_pickle.load(tmp_path / "nothing.pkl")
    with pytest.raises(BenchError, match="cannot read"):
        safe_pickle.load(tmp_path)
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 10)
    with pytest.raises(BenchError, match="larger than 10 bytes"):
        safe_pickle.load(stored(pickle.dumps("more than ten bytes")))
