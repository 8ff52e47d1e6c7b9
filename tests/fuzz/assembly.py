"""Pickles put together opcode by opcode, as no pickler writes them; and files of torch around them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from typing import Any

from rerankers.torch_files import LEGACY


class Raw(bytes):
    """Opcodes that leave one object on the stack."""


def put(value: Any) -> Raw:
    """Opcodes for a plain value; those that are opcodes already stay, in lists and tuples too."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, tuple | list):
        return Raw(b"(" + b"".join(map(put, value)) + (b"t" if isinstance(value, tuple) else b"l"))
    if isinstance(value, bytes):
        return Raw(b"B" + struct.pack("<I", len(value)) + value)
    if isinstance(value, str):
        return Raw(b"X" + struct.pack("<I", len(value.encode())) + value.encode())
    return Raw(pickle.dumps(value, 2)[2:-1])


def name(module: str, attribute: str) -> Raw:
    """A type or function by GLOBAL, which knows no dots; by STACK_GLOBAL if it has some."""
    if "." in attribute:
        return Raw(b"\x80\x04" + put(module) + put(attribute) + b"\x93")
    return Raw(f"c{module}\n{attribute}\n".encode())


def call(function: Raw, *arguments: Any) -> Raw:
    return Raw(function + put(arguments) + b"R")


def built(target: Raw, state: Any) -> Raw:
    return Raw(target + put(state) + b"b")


def whole(content: bytes) -> bytes:
    return content + b"."


STORAGE = put(("storage", name("torch", "FloatStorage"), "0", "cpu", 2)) + b"Q"
OLD_STORAGE = put(("storage", name("torch", "FloatStorage"), "0", "cpu", 2, None)) + b"Q"


def zipped(
    pickled: bytes, *, folder: str = "archive", packed: bool = False, more: tuple[tuple[str, bytes], ...] = ()
) -> bytes:
    """A zip file of torch.save with this pickle, and a storage "0" of two numbers."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        members = ("data.pkl", pickled), ("byteorder", b"little"), ("data/0", bytes(8)), ("version", b"3\n")
        for member, data in (*((f"{folder}/{one}", data) for one, data in members), *more):
            archive.writestr(zipfile.ZipInfo(member), data, archive.compression)
    return content.getvalue()


def legacy(pickled: bytes) -> bytes:
    """The same, as before torch 1.6."""
    start = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    assert start.startswith(LEGACY)
    return start + pickled.replace(STORAGE, OLD_STORAGE) + pickle.dumps(["0"], 2) + struct.pack("<q", 2) + bytes(8)
