"""What pickles may ask for; those that do harm are in tests/fuzz."""

from __future__ import annotations

import io
import pickle
from collections import Counter, OrderedDict

import numpy as np
import pytest

from rerankers import pickles

VALUES = {
    "plain": [1, -1, 1 << 70, 2.5, None, True, "é", b"\xff", bytearray(b"ab"), 2j],
    "sets": ({1, "a"}, frozenset((2.5,))),
    "ordered": OrderedDict(a=1, b=2),
    "counted": Counter("aab"),
}


def loaded(content: bytes, **options):
    return pickles.load(io.BytesIO(content), len(content), {**pickles.NUMPY, **pickles.PLAIN}, **options)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_python_s_own_types_in_every_protocol(protocol):
    found = loaded(pickle.dumps(VALUES, protocol))
    assert found == VALUES and list(found["ordered"]) == ["a", "b"]


def test_several_pickles_one_after_the_other():
    file = io.BytesIO(pickle.dumps(1, 2) + pickle.dumps("two", 2) + b"rest")
    assert [pickles.load(file, 100, {}) for _ in range(2)] == [1, "two"] and file.read() == b"rest"


@pytest.mark.parametrize("key", [(1, 2), np.float32(1), 1 << 64, -(1 << 70), np.zeros(1).tobytes])
def test_keys_are_plain(key):
    with pytest.raises(pickles.Refused, match="a key that is"):
        pickles.key(key)


def test_a_long_argument_is_not_taken_again_and_again():
    once = b"c_codecs\nencode\n(h\x00" + b"X\x06\0\0\0latin1tR"
    content = b"\x80\x02X\xa0\x86\x01\0" + b"a" * 100_000 + b"q\x000(" + once * 10 + b"l."
    assert len(loaded(content)) == 10
    with pytest.raises(pickles.Refused, match="more memory than its size explains"):
        loaded(content.replace(once * 10, once * 100))


def test_arrays_without_content_have_few_rows():
    assert np.asarray(loaded(pickle.dumps(np.zeros((0, 3))))).shape == (0, 3)
    with pytest.raises(pickles.Refused, match="many rows without content"):
        loaded(pickle.dumps(np.zeros((1 << 40, 0))))


def test_an_object_beside_the_pickle():
    content = b"\x80\x02K\x01K\x02\x86Q."
    assert loaded(content, storage=lambda *given: given) == (1, 2)
    with pytest.raises(pickles.Refused, match="beside the pickle"):
        loaded(content)
