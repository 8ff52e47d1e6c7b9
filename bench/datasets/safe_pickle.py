"""Pickles of other projects, read without running code from them.

A pickle names the types that it builds, and calls them. Here a name must be on an allow-list, and what the list holds
for a name is a function of this module that checks its arguments, never the type itself: numpy's own
`dtype.__setstate__` and `scalar` believe what a pickle says about memory that holds objects.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from bench.errors import BenchError

MAX_BYTES = 1 << 30

_PLAIN_TYPE = re.compile(r"[<>=|]?(\?|b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9})")


def load(path: Path, *, allowed: Mapping[tuple[str, str], Callable[..., Any]] | None = None) -> Any:
    """The object in a pickle file of at most MAX_BYTES, in any protocol.

    allowed: what may be called, as (module, name) -> a function that is safe to call with any arguments; NUMPY when
    None. Arrays come back as a subclass of ndarray (take `np.asarray`), of plain numbers or strings only.
    Raises BenchError, which names the type, for a type that is not allowed; and for a file that is missing, too large,
    truncated, or no pickle.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BenchError(
            f"cannot read {path} ({error.strerror})", wanted="a readable pickle file", cure="Check the path."
        ) from error
    if len(content) > MAX_BYTES:
        raise BenchError(
            f"{path} is larger than {MAX_BYTES} bytes", wanted="a smaller pickle", cure="Convert it to .npy or HDF5."
        )
    try:
        _check_memo(content)
        return _Unpickler(content, NUMPY if allowed is None else allowed).load()
    except BenchError as error:
        raise BenchError(f"{path}: {error.seen}", wanted=error.wanted, cure=error.cure) from None
    except Exception as error:  # whatever an unpickler raises on bytes that no pickler wrote
        raise BenchError(
            f"{path} cannot be read as a pickle ({type(error).__name__}: {error})",
            wanted="a complete pickle of plain values and arrays",
            cure="Fetch it again, or convert it to JSON where it was made.",
        ) from error


def _check_memo(content: bytes) -> None:
    """Refuses a memo place beyond what the pickle can have filled: the unpickler would allocate all places up to it."""
    for opcode, argument, position in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > (position or 0):
            raise _refused(f"memo place {argument}")


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, allowed: Mapping[tuple[str, str], Callable[..., Any]]) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> _Call:
        try:
            return _Call(self._allowed[module, name])
        except KeyError:
            raise _refused(f"the type {module}.{name}") from None


class _Call:
    """An allowed function, open to nothing but a call: a pickle may try to set the state of all that it names."""

    __slots__ = ("_target",)

    def __init__(self, target: Callable[..., Any]) -> None:
        self._target = target

    def __call__(self, *arguments: Any) -> Any:
        return self._target(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _refused("a state for a function")


class _Type:
    """A numpy dtype in the making."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(code, str) or not _PLAIN_TYPE.fullmatch(code):
            raise _refused(f"the numpy type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        _, order, *structure = state
        if order not in ("<", ">", "=", "|") or any(part is not None for part in structure[:3]):
            raise _refused("a structured numpy type")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """A subclass, because a pickle makes an array empty and then sets its state."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, memory = state
        super().__setstate__((1, shape, _dtype(kind), is_fortran, _memory(memory, kind, shape)))


def _dtype(kind: Any) -> np.dtype[Any]:
    if not isinstance(kind, _Type):
        raise _refused(f"a numpy array of {type(kind).__name__}")
    return kind.dtype


def _memory(memory: Any, kind: Any, shape: Any) -> bytes:
    """The memory of an array, which Python 2 wrote as text; exactly what its type and shape ask for."""
    content = memory.encode("latin1") if isinstance(memory, str) else memory
    if not isinstance(content, bytes | bytearray):
        raise _refused(f"numpy memory given as {type(memory).__name__}")
    if min(shape, default=0) < 0 or len(content) != math.prod(shape) * _dtype(kind).itemsize:
        raise _refused(f"{len(content)} bytes for a numpy array of shape {shape}")
    return bytes(content)


def _start_array(subtype: Any, shape: Any, code: Any) -> _Array:
    # What the pickle gives here are placeholders; shape, type and memory follow as the state.
    return _Array((0,), dtype=np.uint8)


def _array(memory: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    return np.frombuffer(_memory(memory, kind, shape), dtype=_dtype(kind)).reshape(shape, order=order)


def _scalar(kind: Any, memory: Any) -> Any:
    return np.frombuffer(_memory(memory, kind, ()), dtype=_dtype(kind))[0]


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes as the protocols before 3 write them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _refused(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes(*arguments: Any) -> bytes:
    """Empty bytes, as the same protocols write them."""
    if arguments:
        raise _refused("bytes made by a call")
    return b""


def _ndarray(*_: Any) -> None:
    raise _refused("a call of numpy.ndarray")


def _refused(what: str) -> BenchError:
    return BenchError(
        f"the pickle asks for {what}",
        wanted="numbers, text, lists, dictionaries and numpy arrays of numbers or text",
        cure="Do not load it; convert it to JSON or .npy where it was made, if you trust its source.",
    )


NUMPY: Mapping[tuple[str, str], Callable[..., Any]] = MappingProxyType(
    {
        ("numpy", "ndarray"): _ndarray,
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _encode,
        ("__builtin__", "bytes"): _no_bytes,
        **{(f"numpy.{core}.multiarray", "_reconstruct"): _start_array for core in ("core", "_core")},
        **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
        **{(f"numpy.{core}.numeric", "_frombuffer"): _array for core in ("core", "_core")},
    }
)
