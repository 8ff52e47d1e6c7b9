"""Arrays by name, in files that `numpy.savez` wrote."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError


def read(path: Path, wanted: Mapping[str, tuple[str, int]], *, cure: str) -> dict[str, NDArray[Any]]:
    """The arrays of these names: name -> kinds of numbers, as `dtype.kind` has them, and number of dimensions.

    BenchError for a file that is missing, damaged or packed (a small one may unfold to any size), or has others.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            if any(info.compress_type != zipfile.ZIP_STORED for info in stored.zip.infolist()):
                raise ValueError("it is packed")
            found = {name: stored[name] for name in wanted}
            if not all(isinstance(array, np.ndarray) for array in found.values()):
                raise ValueError("a member that is no array")
    except Exception as error:  # whatever numpy and a zip reader raise on bytes that they did not write
        raise BenchError(f"cannot read {path} ({error!s:.200})", wanted="a whole .npz file", cure=cure) from error
    for name, (kinds, dimensions) in wanted.items():
        if found[name].dtype.kind not in kinds or found[name].ndim != dimensions:
            raise BenchError(
                f"{name} of shape {found[name].shape} and type {found[name].dtype!s:.80} in {path}",
                wanted=f"{dimensions} dimensions of type {' or '.join(kinds)}",
                cure=cure,
            )
    return found
