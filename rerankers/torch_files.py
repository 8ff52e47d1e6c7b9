"""What torch.save wrote, in a zip file or as before torch 1.6, read without torch's own unpickler.

That one builds whatever a file declares: tensors of any size and of kinds that check nothing (nested, quantised,
sparse), and state for them. Here, dense tensors over memory that lies in the file; see `pickles` for the rest.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import torch
from torch import Tensor

from rerankers import pickles
from rerankers.errors import RerankError

#: How files begin: a zip, or the first of several pickles, a number.
ZIP, LEGACY = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9"
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
#: Bytes that are read at once.
_STEP = 1 << 22

_TYPES = {
    **{"Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16},
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128},
}
_NUMBERS = re.compile(r"torch\.((?:bool|u?int|b?float|complex)(?:|8|16|32|64|128|8_e\w+))")


@dataclass(frozen=True, eq=False)
class Storage:
    """Memory that tensors share. room: its bytes."""

    dtype: torch.dtype
    room: Tensor


def load(path: Path, *, meta: bool = False) -> Any:
    """The object in a file of torch.save, with tensors on the CPU; meta: without their memory.

    OrderedDicts come back as dicts, parameters as tensors, devices as text. Raises RerankError, which names the file,
    for a damaged one and for one with anything but dense tensors, plain values and numpy arrays of them.
    """
    try:
        with path.open("rb") as file:
            return _object(file, os.fstat(file.fileno()).st_size, meta)
    except pickles.Refused as error:
        raise RerankError(
            f"{path} holds an object that is refused ({error.seen})",
            wanted="tensors, numbers, strings, lists and dictionaries",
            cure="Convert it to safetensors on a machine that trusts its author.",
        ) from error
    except Exception as error:  # whatever an unpickler and a zip reader raise on bytes that torch did not write
        raise RerankError(
            f"{path} cannot be read ({first_line(error)})", wanted="a whole checkpoint file", cure="Fetch it again."
        ) from error


def first_line(error: Exception) -> str:
    """What an error says, for a message."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _object(file: IO[bytes], size: int, meta: bool = False) -> Any:
    start = file.read(len(LEGACY))
    file.seek(0)
    if start.startswith(ZIP):
        return _of_zip(file, size, meta)
    if start == LEGACY:
        return _of_legacy(file, size)
    raise ValueError("not what torch.save writes")


class _Rooms:
    """Memory for the storages of a file, no more in all than the file is long."""

    def __init__(self, size: int, meta: bool = False) -> None:
        self._left, self._device = size, "meta" if meta else "cpu"
        self.held: dict[str, Tensor] = {}

    def new(self, name: str, size: int) -> Tensor:
        if not 0 <= size <= self._left:
            raise pickles.refused("more memory than the file holds")
        self._left -= size
        self.held[name] = torch.empty(size, dtype=torch.uint8, device=self._device)
        return self.held[name]


def _of_zip(file: IO[bytes], size: int, meta: bool) -> Any:
    with zipfile.ZipFile(file) as archive:
        members: dict[str, list[zipfile.ZipInfo]] = defaultdict(list)
        for info in archive.infolist():
            members[info.filename].append(info)
        (pickled,) = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        folder = pickled.partition("/")[0]
        rooms = _Rooms(size, meta)

        def member(name: str) -> zipfile.ZipInfo:
            """A member that is there once and as it is: neither of two readers sees another."""
            found = members.get(f"{folder}/{name}", [])
            if len(found) != 1:
                raise ValueError(f"{len(found)} members called {name[:100]}")
            if found[0].compress_type != zipfile.ZIP_STORED or found[0].compress_size != found[0].file_size:
                raise pickles.refused("a member that is packed")
            if found[0].file_size > size:
                raise ValueError(f"{found[0].file_size} bytes in a file of {size}")
            return found[0]

        def storage(kind: Any, dtype: Any, name: Any, location: Any, count: Any, *_: Any) -> Storage:
            _check_storage(kind, dtype, name, count)
            if name not in rooms.held:
                info = member(f"data/{name}")
                if info.file_size != count * dtype.itemsize:
                    raise ValueError(f"{info.file_size} bytes for {count} numbers")
                room = rooms.new(name, info.file_size)
                if not meta:
                    with archive.open(info) as stored:
                        _fill(room, stored)
                    if swapped:
                        room.untyped_storage().byteswap(dtype)
            return Storage(dtype, rooms.held[name])

        swapped = f"{folder}/byteorder" in members and archive.read(member("byteorder")) == b"big"
        content = archive.read(member("data.pkl"))
        return pickles.load(io.BytesIO(content), len(content), TENSORS, storage=storage)


def _of_legacy(file: IO[bytes], size: int) -> Any:
    rooms = _Rooms(size)

    def storage(kind: Any, dtype: Any, name: Any, location: Any, count: Any, view: Any = None) -> Storage:
        _check_storage(kind, dtype, name, count)
        if name not in rooms.held:
            rooms.new(name, count * dtype.itemsize)
            items[name] = dtype.itemsize
        room = rooms.held[name]
        if view is not None:
            _, start, length = view
            if not 0 <= start <= start + length <= len(room) // dtype.itemsize:
                raise ValueError("a view beyond its storage")
            room = room[start * dtype.itemsize : (start + length) * dtype.itemsize]
        return Storage(dtype, room)

    items: dict[str, int] = {}
    if [pickles.load(file, size, {}) for _ in range(2)] != [_MAGIC, _PROTOCOL]:
        raise ValueError("another protocol of torch.save")
    pickles.load(file, size, {})  # of the machine that wrote it
    found = pickles.load(file, size, TENSORS, storage=storage)
    names = pickles.load(file, size, {})
    if type(names) is not list or not all(isinstance(name, str) for name in names) or {*names} != {*rooms.held}:
        raise ValueError("storages other than those that are used")
    for name in names:
        (count,) = struct.unpack("<q", file.read(8))
        if count * items[name] != len(rooms.held[name]):
            raise ValueError(f"a storage of {count} numbers")
        _fill(rooms.held[name], file)
    return found


def _check_storage(kind: Any, dtype: Any, name: Any, count: Any) -> None:
    if kind not in ("storage", b"storage") or not isinstance(dtype, torch.dtype):
        raise pickles.refused("an object beside the pickle")
    if not isinstance(name, str) or type(count) is not int:
        raise ValueError("a storage without a name or a length")


def _fill(room: Tensor, file: IO[bytes]) -> None:
    memory: memoryview = room.numpy().data
    for start in range(0, len(room), _STEP):
        part = memory[start : start + _STEP]
        content = file.read(len(part))
        if len(content) != len(part):
            raise EOFError("the file ends early")
        part[:] = content


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, grad: Any = 0, hooks: Any = 0, meta: Any = 0) -> Tensor:
    if not isinstance(storage, Storage):
        raise pickles.refused(f"a tensor over {type(storage).__name__}")
    if meta:
        raise pickles.refused("a tensor that is a conjugate or negative")
    return _view(storage.room, storage.dtype, offset, size, stride)


def _typed(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any) -> Tensor:
    """A tensor of a type that no storage is called after."""
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype) or any(rest):
        raise pickles.refused(f"a tensor over {type(storage).__name__}")
    return _view(storage.room, dtype, offset, size, stride)


def _view(room: Tensor, dtype: torch.dtype, offset: Any, size: Any, stride: Any) -> Tensor:
    """What a tensor of this size and stride shows of its memory; ValueError beyond the memory."""
    whole = type(size) is type(stride) is tuple and all(type(one) is int for one in (offset, *size, *stride))
    if not whole or len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise ValueError("a tensor without a size, stride and offset")
    memory, count = room.view(dtype), math.prod(size)
    if not count:
        return memory.new_empty(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if last >= len(memory):
        raise ValueError(f"a tensor of size {size} in a memory of {len(memory)} numbers")
    if count > len(memory):  # a few bytes that are shown for ever
        raise ValueError(f"a tensor of {count} numbers in a memory of {len(memory)}")
    return memory.as_strided(size, stride, offset)


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise pickles.refused(f"a parameter of {type(data).__name__}")
    return data


def _storage_of_bytes(content: Any) -> Storage:
    """The memory of a tensor, which torch writes into a plain pickle as a file of its own."""
    if not isinstance(content, bytes):
        raise pickles.refused(f"a storage given as {type(content).__name__}")
    found = _object(io.BytesIO(content), len(content))
    if not isinstance(found, Storage):
        raise pickles.refused(f"a storage that is {type(found).__name__}")
    return found


def _size(lengths: Any = ()) -> tuple[Any, ...]:
    return tuple(lengths) if isinstance(lengths, list | tuple) else ()


def _device(*arguments: Any) -> str:
    return ":".join(str(one) for one in arguments[:2] if isinstance(one, str | int))[:40]


#: What the pickle inside a file of torch.save may ask for.
TENSORS: pickles.Allowed = MappingProxyType(
    {
        **pickles.NUMPY,
        **pickles.PLAIN,
        **{(place, f"{kind}Storage"): dtype for kind, dtype in _TYPES.items() for place in ("torch", "torch.cuda")},
        ("torch.storage", "UntypedStorage"): torch.uint8,
        **{
            ("torch", found[1]): one
            for one in vars(torch).values()
            if isinstance(one, torch.dtype) and (found := _NUMBERS.fullmatch(str(one)))
        },
        ("torch", "Size"): _size,
        ("torch", "device"): _device,
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_tensor_v3"): _typed,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    }
)
#: And what a plain pickle of tensors may.
PICKLED: pickles.Allowed = MappingProxyType({**TENSORS, ("torch.storage", "_load_from_bytes"): _storage_of_bytes})
