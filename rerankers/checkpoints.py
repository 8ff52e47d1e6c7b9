"""Checkpoints of official implementations and our own, read without running code from them.

Containers seen in the world: safetensors; torch.save of a state dict, bare or under one of CONTAINERS, beside
optimiser states and numpy scalars.
"""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rerankers.errors import RerankError

CONTAINERS = ("state", "state_dict", "model_state", "model_state_dict", "model")


def load_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint file, with its own keys, on the CPU.

    Raises RerankError for a missing or damaged file, one with objects other than tensors and plain
    numbers, or one without a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise RerankError(f"no file {path}", wanted="a checkpoint", cure="Check the path, or fetch the checkpoint.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise _damaged(path, error) from error
    try:
        with torch.serialization.safe_globals(_numpy_types()):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RerankError(
            f"{path} holds an object that is refused ({_first_line(error)})",
            wanted="tensors, numbers, strings, lists and dictionaries",
            cure="Convert it to safetensors on a machine that trusts its author.",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise _damaged(path, error) from error
    return _unwrapped(stored, path)


def load_into(
    module: torch.nn.Module, state: Mapping[str, Tensor], *, skip: Sequence[str] = (), within: str = ""
) -> None:
    """Copies `state` into `module`, every key or none.

    skip: prefixes of keys in `state` that are known not to belong to this module.
    within: prefix of the keys that do; all others belong to something else, and are not read.
    Raises RerankError with the names of missing, unexpected and misshapen keys.
    """
    given = {
        name.removeprefix(within): value
        for name, value in state.items()
        if name.startswith(within) and not name.startswith(tuple(skip))
    }
    own = module.state_dict()
    complaints = {
        "missing": sorted(own.keys() - given.keys()),
        "unexpected": sorted(given.keys() - own.keys()),
        "misshapen": sorted(
            f"{name} {tuple(given[name].shape)} for {tuple(own[name].shape)}"
            for name in own.keys() & given.keys()
            if given[name].shape != own[name].shape
        ),
    }
    if any(complaints.values()):
        raise RerankError(
            "; ".join(f"{kind}: {', '.join(found)}" for kind, found in complaints.items() if found),
            wanted=f"the {len(own)} keys of {type(module).__name__}",
            cure="Choose the variant that this checkpoint was trained as.",
        )
    module.load_state_dict(given)


def _unwrapped(stored: Any, path: Path) -> dict[str, Tensor]:
    """The state dict inside the containers that projects put around it."""
    for name in CONTAINERS:
        if isinstance(stored, Mapping) and isinstance(stored.get(name), Mapping):
            stored = stored[name]
            break
    if isinstance(stored, Mapping) and stored and all(isinstance(value, Tensor) for value in stored.values()):
        return {str(name): value for name, value in stored.items()}
    seen = f"keys {', '.join(map(str, list(stored)[:8]))}" if isinstance(stored, Mapping) else type(stored).__name__
    raise RerankError(
        f"{path} holds {seen}",
        wanted=f"a state dict, bare or under {', '.join(CONTAINERS)}",
        cure="Pass the file that the official project's training writes.",
    )


def _numpy_types() -> list[Any]:
    """What numpy scalars and arrays in a checkpoint need; the constructors below refuse object data."""
    allowed: list[Any] = [(codecs.encode, "_codecs.encode"), (np.dtype, "numpy.dtype"), (np.ndarray, "numpy.ndarray")]
    for package in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed += [
            (_scalar, f"{package}.scalar"),
            (import_module("numpy._core.multiarray")._reconstruct, f"{package}._reconstruct"),
        ]
    return allowed + [
        kind for kind in vars(np.dtypes).values() if isinstance(kind, type) and kind is not np.dtypes.ObjectDType
    ]


def _scalar(dtype: np.dtype, data: bytes) -> Any:
    """A numpy scalar from its bytes, for plain number types only."""
    if dtype.kind not in "biufc" or not isinstance(data, bytes) or len(data) != dtype.itemsize:
        raise pickle.UnpicklingError(f"numpy scalar of type {dtype}")
    return np.frombuffer(data, dtype=dtype)[0]


def _damaged(path: Path, error: Exception) -> RerankError:
    return RerankError(
        f"{path} cannot be read ({_first_line(error)})", wanted="a whole checkpoint file", cure="Fetch it again."
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
