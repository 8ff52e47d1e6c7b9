"""Pickles of others, read without running code from them, in no more time and memory than their size is worth.

A pickle names the types that it builds, and calls them. Here a name must be on an allow-list, and what the list holds
for a name is a function that checks its arguments, never the type itself: numpy's own `dtype.__setstate__` and `scalar`
believe what a pickle says about memory that holds objects.

Opcodes are followed by Python's unpickler in Python: the one in C takes memory for all memo places up to the highest,
and hashes keys however deep they are nested, beyond the end of the stack.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import IO, Any

import numpy as np

from rerankers.errors import RerankError

#: What calls may build in all, in bytes or entries: so many for each byte of the file, and these.
WORTH, SPARE = 16, 1 << 20
#: Longest number in digits, as text.
DIGITS = 100
#: An array without a byte has no more rows than this.
EMPTY_ROWS = 1 << 12

_PLAIN_TYPE = re.compile(r"[<>=|]?(\?|b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9})")

Allowed = Mapping[tuple[str, str], Any]
#: What pickles of plain values need none of; each is a way to code, or to the memory of others.
_CLOSED = (
    "PERSID",
    "INST",
    "OBJ",
    "NEWOBJ",
    "NEWOBJ_EX",
    "EXT1",
    "EXT2",
    "EXT4",
    "NEXT_BUFFER",
    "READONLY_BUFFER",
    "LONG4",
)


class Refused(RerankError):
    """Raised for what a pickle asks for and does not get."""


def load(file: IO[bytes], size: int, allowed: Allowed, *, storage: Callable[..., Any] | None = None) -> Any:
    """The object of the pickle that begins where `file` stands; the file then stands behind it.

    size: of the file, in bytes. allowed: (module, name) -> a function that is safe to call with any arguments, or a
    value. storage: what gives the object for a persistent id. Raises Refused, and for damage whatever it may be.
    """
    return _Unpickler(file, size, allowed, storage).load()


def refused(what: str) -> Refused:
    return Refused(
        f"the pickle asks for {what}",
        wanted="numbers, text, lists, dictionaries and numpy arrays of numbers or text",
        cure="Do not load it; convert it to JSON or .npy where it was made, if you trust its source.",
    )


def key(value: Any) -> Any:
    """The same, if it is plain: a nested one takes for ever to hash, and long numbers may all have one hash."""
    if value is None or isinstance(value, str | bytes | float | np.integer):
        return value
    if isinstance(value, int) and abs(value) >> 64 == 0:
        return value
    raise refused(f"a key that is {'a long number' if isinstance(value, int) else type(value).__name__}")


class _Unpickler(pickle._Unpickler):
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]

    def __init__(self, file: IO[bytes], size: int, allowed: Allowed, storage: Callable[..., Any] | None) -> None:
        super().__init__(file, encoding="latin1")
        self._allowed, self._storage = allowed, storage
        self._left = WORTH * size + SPARE

    def find_class(self, module: str, name: str) -> Any:
        try:
            found = self._allowed[module, name]
        except KeyError:
            raise refused(f"the type {module}.{name}"[:300]) from None
        return _Call(found) if callable(found) else found

    def persistent_load(self, pid: Any) -> Any:
        if self._storage is None or not isinstance(pid, tuple):
            raise refused("an object beside the pickle")
        return self._storage(*pid)

    def _closed(self) -> None:
        raise refused("an object of a class, or a number of a thousand bits")

    def _number(self) -> None:
        text = self.readline()[:-1]
        if len(text) > DIGITS:
            raise refused("a long number")
        self.append(text == b"01" if text in (b"00", b"01") else int(text.removesuffix(b"L"), 0))

    def _bytearray(self) -> None:
        length = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(length)))  # what is read first can be no more than there is

    def _setitem(self) -> None:
        value, name = self.stack.pop(), self.stack.pop()
        self._into(dict)[key(name)] = value

    def _setitems(self) -> None:
        items, target = self.pop_mark(), self._into(dict)
        for name, value in zip(items[::2], items[1::2], strict=True):
            target[key(name)] = value

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({key(name): value for name, value in zip(items[::2], items[1::2], strict=True)})

    def _append(self) -> None:
        value = self.stack.pop()
        self._into(list).append(value)

    def _appends(self) -> None:
        values = self.pop_mark()
        self._into(list).extend(values)

    def _additems(self) -> None:
        values = self.pop_mark()
        self._into(set).update(map(key, values))

    def _frozenset(self) -> None:
        items = self.pop_mark()  # which changes what `append` is
        self.append(frozenset(map(key, items)))

    def _into(self, kind: type[Any]) -> Any:
        if type(self.stack[-1]) is not kind:
            raise refused(f"entries of a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if not isinstance(function, _Call) or type(arguments) is not tuple:
            raise refused(f"a call of {type(function).__name__}")
        self._spend(*arguments)
        self.stack[-1] = made = function(*arguments)
        self._spend(made)

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Stateful):
            target.set_state(state)
            self._spend(target)
        elif type(target) is not dict or type(state) is not dict:  # an OrderedDict's attributes are of no use here
            raise refused("a state for " + ("a function" if isinstance(target, _Call) else type(target).__name__))

    def _spend(self, *values: Any) -> None:
        """Counts what calls take and make: a few bytes may ask for a call on one long argument again and again."""
        for value in values:
            if isinstance(value, np.ndarray):
                self._left -= value.nbytes
            elif isinstance(value, str | bytes | bytearray | list | tuple | dict | set | frozenset):
                self._left -= len(value)
        if self._left < 0:
            raise refused("more memory than its size explains")

    _OWN: Mapping[str, Callable[..., None]] = {
        **dict.fromkeys(_CLOSED, _closed),
        **dict.fromkeys(("INT", "LONG"), _number),
        **{"BYTEARRAY8": _bytearray, "SETITEM": _setitem, "SETITEMS": _setitems, "DICT": _dict, "APPEND": _append},
        **{"APPENDS": _appends, "ADDITEMS": _additems, "FROZENSET": _frozenset, "REDUCE": _reduce, "BUILD": _build},
    }
    dispatch = pickle._Unpickler.dispatch | {getattr(pickle, name)[0]: function for name, function in _OWN.items()}


class _Call:
    """An allowed function, open to nothing but a call."""

    __slots__ = ("_target",)

    def __init__(self, target: Callable[..., Any]) -> None:
        self._target = target

    def __call__(self, *arguments: Any) -> Any:
        return self._target(*arguments)


class _Stateful:
    """What may be given a state after it was made."""

    __slots__ = ()

    def set_state(self, state: Any) -> None:
        raise NotImplementedError


class _Type(_Stateful):
    """A numpy dtype in the making."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(code, str) or not _PLAIN_TYPE.fullmatch(code):
            raise refused(f"the numpy type {code!r}" if isinstance(code, str) else "a numpy type of several")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        _, order, *structure = state
        if order not in ("<", ">", "=", "|") or any(part is not None for part in structure[:3]):
            raise refused("a structured numpy type")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray, _Stateful):
    """A subclass, because a pickle makes an array empty and then sets its state."""

    def set_state(self, state: Any) -> None:
        _, shape, kind, is_fortran, memory = state
        fortran: Any = bool(is_fortran)
        super().__setstate__((1, shape, _dtype(kind), fortran, _memory(memory, kind, shape)))


def _dtype(kind: Any) -> np.dtype[Any]:
    if not isinstance(kind, _Type):
        raise refused(f"a numpy array of {type(kind).__name__}")
    return kind.dtype


def _memory(memory: Any, kind: Any, shape: Any) -> bytes:
    """The memory of an array, which Python 2 wrote as text; exactly what its type and shape ask for."""
    content = memory.encode("latin1") if isinstance(memory, str) else memory
    if not isinstance(content, bytes | bytearray):
        raise refused(f"numpy memory given as {type(memory).__name__}")
    if type(shape) is not tuple or not all(type(length) is int for length in shape):
        raise refused("a numpy array without a shape")
    if min(shape, default=0) < 0 or len(content) != math.prod(shape) * _dtype(kind).itemsize:
        raise refused(f"{len(content)} bytes for a numpy array of shape {shape}"[:300])
    if math.prod(length or 1 for length in shape) > max(len(content), EMPTY_ROWS):
        raise refused("a numpy array of many rows without content")
    return bytes(content)


def _start_array(subtype: Any, shape: Any, code: Any) -> _Array:
    # What the pickle gives here are placeholders; shape, type and memory follow as the state.
    return _Array((0,), dtype=np.uint8)


def _array(memory: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    return np.frombuffer(_memory(memory, kind, shape), dtype=_dtype(kind)).reshape(shape, order=order)


def _scalar(kind: Any, memory: Any) -> Any:
    return np.frombuffer(_memory(memory, kind, ()), dtype=_dtype(kind))[0]


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes as the protocols before 3 write them; other encodings are modules that would be imported."""
    if not isinstance(text, str) or encoding != "latin1":
        raise refused("text in an encoding other than latin1")
    return text.encode("latin1")


def _no_bytes(*arguments: Any) -> bytes:
    """Empty bytes, as the same protocols write them."""
    if arguments:
        raise refused("bytes made by a call")
    return b""


def _bytearray(content: Any = b"", encoding: Any = "latin1") -> bytearray:
    if not isinstance(content, str | bytes) or encoding not in ("latin1", "latin-1"):
        raise refused(f"a bytearray of {type(content).__name__}")
    return bytearray(content.encode("latin1") if isinstance(content, str) else content)


def _complex(real: Any, imaginary: Any) -> complex:
    return complex(float(real), float(imaginary))


def _set(items: Any = ()) -> set[Any]:
    return set(map(key, _listed(items)))


def _frozen(items: Any = ()) -> frozenset[Any]:
    return frozenset(map(key, _listed(items)))


def _dictionary(items: Any = ()) -> dict[Any, Any]:
    """An OrderedDict or Counter: the order of a dict is kept anyway."""
    pairs = items.items() if isinstance(items, dict) else _listed(items)
    return {key(name): value for name, value in pairs}


def _listed(items: Any) -> Iterable[Any]:
    if not isinstance(items, list | tuple):
        raise refused(f"entries from a {type(items).__name__}")
    return items


def _ndarray(*_: Any) -> None:
    raise refused("a call of numpy.ndarray")


#: Numbers, text and arrays of them, as numpy writes them.
NUMPY: Allowed = MappingProxyType(
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
#: Python's own types that protocols below 4 write as calls.
PLAIN: Allowed = MappingProxyType(
    {
        **{(builtins, "set"): _set for builtins in ("builtins", "__builtin__")},
        **{(builtins, "frozenset"): _frozen for builtins in ("builtins", "__builtin__")},
        **{(builtins, "bytearray"): _bytearray for builtins in ("builtins", "__builtin__")},
        **{(builtins, "complex"): _complex for builtins in ("builtins", "__builtin__")},
        ("collections", "OrderedDict"): _dictionary,
        ("collections", "Counter"): _dictionary,
    }
)
