"""First-stage lists that others publish: pickles of a tensor (2, queries, N), similarities and gallery indices.

AMES, ELViS and LOCORE write them with `pickle.dump` or `torch.save`, as `nn_<descriptors>.pkl`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.datasets import safe_pickle
from bench.errors import BenchError

#: How files of `torch.save` begin: a zip, and before torch 1.6 a pickled number.
_OF_TORCH = (b"PK", b"\x80\x02\x8a\nl\xfc\x9cF\xf9")

WANTED = "a tensor or array (2, queries, N): similarities, then gallery indices"


def read_neighbours(path: Path, *, queries: int, gallery: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Similarities (queries, N), best first, and gallery indices (queries, N); nothing but tensors and arrays is built.

    BenchError for a file of another shape or type, of other queries, or with images that the gallery does not have.
    """
    lists = np.asarray(_loaded(path))
    if lists.ndim != 3 or lists.shape[0] != 2 or lists.dtype.kind not in "fiu" or lists.shape[2] == 0:
        raise _flaw(path, f"values of shape {lists.shape} and type {lists.dtype}", WANTED)
    if lists.shape[1] != queries:
        raise _flaw(path, f"lists of {lists.shape[1]} queries", f"{queries}, as the data set has")
    similarity, places = lists[0].astype(np.float32), lists[1]
    indices = np.nan_to_num(places).astype(np.int64)
    if not np.isfinite(lists).all() or (indices != places).any() or indices.min() < 0 or indices.max() >= gallery:
        raise _flaw(path, f"images from {places.min()} to {places.max()}", f"whole numbers from 0 to {gallery - 1}")
    ordered = np.sort(indices, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise _flaw(path, "a list with an image twice", "each image once")
    if (np.diff(similarity, axis=1) > 0).any():
        raise _flaw(path, "a list whose similarities rise", "the most similar image first")
    return similarity, indices


def _loaded(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            start = file.read(len(_OF_TORCH[-1]))
        if start.startswith(_OF_TORCH):
            return torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise _flaw(path, f"no file that can be read ({error.strerror})", WANTED) from error
    except Exception as error:  # whatever torch raises on what it did not write
        raise _flaw(path, f"no file of torch.save ({str(error).splitlines()[0]})", WANTED) from error
    return safe_pickle.load(path, allowed={**safe_pickle.NUMPY, **TORCH})


def _storage(content: Any) -> Any:
    """The memory of a tensor, which torch writes into a pickle as a file of its own; read by its safe loader."""
    if not isinstance(content, bytes):
        raise TypeError(f"a storage given as {type(content).__name__}")
    found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    if not isinstance(found, torch.storage.TypedStorage):
        raise TypeError(f"a storage that is {type(found).__name__}")
    return found


def _tensor(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> NDArray[Any]:
    """What a tensor of this size and stride shows of its memory, as an array; ValueError beyond the memory."""
    memory = torch.tensor([], dtype=storage.dtype).set_(storage).numpy()
    if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise ValueError(f"a tensor of size {size} and stride {stride}")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= len(memory):
        raise ValueError(f"a tensor of size {size} in a memory of {len(memory)} numbers")
    if math.prod(size) > len(memory):
        raise ValueError(f"a tensor of {math.prod(size)} numbers in a memory of {len(memory)}")
    steps = tuple(step * memory.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(memory[offset:], tuple(size), steps, writeable=False)


def _no_hooks(*arguments: Any) -> dict[str, Any]:
    """The empty OrderedDict of a tensor's hooks."""
    if arguments:
        raise ValueError("a tensor with hooks")
    return {}


TORCH: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("collections", "OrderedDict"): _no_hooks,
}


def _flaw(path: Path, seen: str, wanted: str) -> BenchError:
    return BenchError(
        f"{path}: {seen}",
        wanted=wanted,
        cure="Check that the file belongs to this data set, or search anew without it.",
    )
