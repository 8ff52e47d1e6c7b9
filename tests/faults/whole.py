"""Whether files that have their final names can be read to their ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import h5py
import numpy as np
from safetensors.numpy import load_file

#: What a file may be called that is not finished.
UNFINISHED = (".part", ".partial", ".journal", "lock")


def _hdf5(path: Path) -> None:
    with h5py.File(path) as file:
        for name in file:
            file[name][...]


def _archive(path: Path) -> None:
    with np.load(path) as stored:
        for name in stored:
            stored[name]


def _image(path: Path) -> None:
    content = path.read_bytes()
    if not content.endswith(b"\xff\xd9") or cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is None:
        raise ValueError("cut short")


def _text(path: Path) -> None:
    if not path.read_text(encoding="utf8").endswith(("\n", ">", "}")):
        raise ValueError("cut short")


READERS: Mapping[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_bytes()),
    ".hdf5": _hdf5,
    ".npz": _archive,
    ".jpg": _image,
    ".png": lambda path: cv2.imread(str(path)).shape,
    ".safetensors": load_file,
    **dict.fromkeys((".csv", ".md", ".tex", ".html", ".svg"), _text),
}


def broken(folder: Path) -> list[str]:
    """Finished files below a folder that cannot be read whole, with the reason."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith(UNFINISHED) and path.suffix in READERS:
            try:
                READERS[path.suffix](path)
            except Exception as error:
                found.append(f"{path.relative_to(folder)}: {error!r}")
    return found
