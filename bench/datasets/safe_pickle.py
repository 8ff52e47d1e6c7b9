"""Pickles of other projects, read without running code from them: see `rerankers.pickles`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from rerankers.errors import RerankError
from rerankers.pickles import NUMPY, PLAIN, Allowed
from rerankers.pickles import load as load_pickle

MAX_BYTES = 1 << 30


def load(path: Path, *, allowed: Allowed | None = None) -> Any:
    """The object in a pickle file of at most MAX_BYTES, in any protocol.

    allowed: what may be called, as (module, name) -> a function that is safe to call with any arguments; plain values
    and NUMPY when None. Arrays come back as a subclass of ndarray (take `np.asarray`), of plain numbers or strings
    only. Raises BenchError, which names the type, for a type that is not allowed; and for a file that is missing, too
    large, truncated, or no pickle.
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
        return load_pickle(io.BytesIO(content), len(content), {**NUMPY, **PLAIN} if allowed is None else allowed)
    except RerankError as error:
        raise BenchError(f"{path}: {error.seen}", wanted=error.wanted, cure=error.cure) from None
    except Exception as error:  # whatever an unpickler raises on bytes that no pickler wrote
        raise BenchError(
            f"{path} cannot be read as a pickle ({type(error).__name__}: {str(error)[:200]})",
            wanted="a complete pickle of plain values and arrays",
            cure="Fetch it again, or convert it to JSON where it was made.",
        ) from error
