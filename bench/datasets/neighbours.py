"""First-stage lists that others publish: pickles of a tensor (2, queries, N), similarities and gallery indices.

AMES, ELViS and LOCORE write them with `pickle.dump` or `torch.save`, as `nn_<descriptors>.pkl`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.datasets import safe_pickle
from bench.errors import BenchError
from rerankers.errors import RerankError
from rerankers.torch_files import LEGACY, PICKLED, ZIP, load

NUMBERS = (torch.float16, torch.float32, torch.float64, torch.int32, torch.int64)
WANTED = "a tensor or array (2, queries, N): similarities, then gallery indices"


def read_neighbours(path: Path, *, queries: int, gallery: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Similarities (queries, N), best first, and gallery indices (queries, N); nothing but tensors and arrays is built.

    BenchError for a file of another shape or type, of other queries, or with images that the gallery does not have.
    """
    lists = _loaded(path)
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


def _loaded(path: Path) -> NDArray[Any]:
    """Tensors and arrays as arrays."""
    try:
        with path.open("rb") as file:
            start = file.read(len(LEGACY))
        found = load(path) if start.startswith((ZIP, LEGACY)) else safe_pickle.load(path, allowed=PICKLED)
    except OSError as error:
        raise _flaw(path, f"no file that can be read ({error.strerror})", WANTED) from error
    except RerankError as error:
        raise _flaw(path, f"no file of torch.save ({error.seen})", WANTED) from error
    if isinstance(found, Tensor) and found.dtype in NUMBERS:
        return found.numpy()
    if not isinstance(found, np.ndarray):
        raise _flaw(path, f"a {found.dtype if isinstance(found, Tensor) else type(found).__name__}", WANTED)
    return np.asarray(found)


def _flaw(path: Path, seen: str, wanted: str) -> BenchError:
    return BenchError(
        f"{path}: {seen}",
        wanted=wanted,
        cure="Check that the file belongs to this data set, or search anew without it.",
    )
