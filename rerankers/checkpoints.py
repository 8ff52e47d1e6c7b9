"""Checkpoints of official implementations and our own, read without running code from them.

Containers seen in the world: safetensors; torch.save of a state dict, bare or under one of CONTAINERS, beside
optimiser states and numpy scalars; folders that Hugging Face's Trainer writes, whole or in shards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from rerankers import torch_files
from rerankers.errors import RerankError

CONTAINERS = ("state", "state_dict", "model_state", "model_state_dict", "model")


#: What holds the weights in a checkpoint folder, best first.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
#: Of a shard, in letters.
LONGEST_NAME = 60


def load_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint file or folder, with its own keys, on the CPU. See `checkpoint_files`.

    Raises RerankError for a missing or damaged file, one with objects other than tensors and plain
    numbers, or one without a state dict, and for shards that are not what their index says.
    """
    path = Path(path)
    index = _index_in(path)
    if index is None:
        (file,) = checkpoint_files(path)
        return _load_file(file)
    shard_of = _weight_map(index)
    state: dict[str, Tensor] = {}
    for file in checkpoint_files(path):
        shard = _load_file(file)
        strays = sorted(name for name in shard if shard_of.get(name) != file.name)
        if strays:
            raise RerankError(
                f"{file} holds {', '.join(strays[:8])}",
                wanted=f"the keys that {index.name} says it holds",
                cure="Fetch the folder again.",
            )
        state |= shard
    if absent := sorted(shard_of.keys() - state.keys()):
        raise RerankError(
            f"the shards in {path} without {', '.join(absent[:8])}",
            wanted=f"every key of {index.name}",
            cure="Fetch the folder again.",
        )
    return state


def checkpoint_files(path: Path) -> list[Path]:
    """The files that `load_state` reads weights from: `path` itself, or what a checkpoint folder holds.

    Of a folder: the first there of WEIGHT_FILES, each whole or else in the shards of its `.index.json`.
    Raises RerankError when there is no such file or shard, or when a shard is not a file of that folder.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise RerankError(f"no file {path}", wanted="a checkpoint", cure="Check the path, or fetch the checkpoint.")
    if (index := _index_in(path)) is None:
        whole = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
        if whole is None:
            held = sorted(entry.name for entry in path.iterdir())
            raise RerankError(
                f"{path} holds {', '.join(held[:8]) or 'nothing'}{', ...' if len(held) > 8 else ''}",
                wanted=f"{' or '.join(WEIGHT_FILES)}, or its {WEIGHT_FILES[0]}.index.json and shards",
                cure="Pass the folder of one checkpoint, or the file with its weights.",
            )
        return [whole]
    files = [path / name for name in sorted(set(_weight_map(index).values()))]
    # a name that is too long to be one is not looked for: the system raises its own error
    if absent := [file.name[:LONGEST_NAME] for file in files if len(file.name) > LONGEST_NAME or not file.is_file()]:
        raise RerankError(
            f"{path} without {', '.join(absent[:8])}",
            wanted=f"the shards that {index.name} names",
            cure="Fetch the folder again.",
        )
    return files


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


def _index_in(folder: Path) -> Path | None:
    """The index of a folder whose weights are in shards; None where they are whole, or not there."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return None
        if (index := folder / f"{name}.index.json").is_file():
            return index
    return None


def _weight_map(index: Path) -> dict[str, str]:
    """Key -> name of the shard that holds it. Every name is one of a file beside the index."""
    try:
        stored = json.loads(index.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(index, error) from error
    shard_of = stored.get("weight_map") if isinstance(stored, dict) else None
    if not isinstance(shard_of, dict) or not shard_of or not all(isinstance(name, str) for name in shard_of.values()):
        raise RerankError(f"{index} without a weight map", wanted="key -> shard", cure="Fetch the folder again.")
    # Windows' rules see both kinds of slash, and drives
    if outside := sorted(
        {name for name in shard_of.values() if PureWindowsPath(name).name != name or name in ("", "..")}
    ):
        raise RerankError(
            f"{index} names {', '.join(map(repr, outside[:8]))}",
            wanted="shards in the same folder",
            cure="Do not trust this checkpoint.",
        )
    return shard_of


def _load_file(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return _unwrapped(torch_files.load(path), path)
    try:
        return load_file(path)
    except Exception as error:  # whatever safetensors and torch raise on a header of any content
        raise _damaged(path, error) from error


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


def _damaged(path: Path, error: Exception) -> RerankError:
    return RerankError(
        f"{path} cannot be read ({torch_files.first_line(error)})",
        wanted="a whole checkpoint file",
        cure="Fetch it again.",
    )
