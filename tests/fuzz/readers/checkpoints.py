"""Checkpoints: zip files and pickles of torch, safetensors, folders with an index."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save, save_file

from rerankers.checkpoints import load_state
from tests.fuzz.reading import Reader, edit_members

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.zeros(2, dtype=torch.float16)}
SHARDS = {"a": "model-1.safetensors", "b": "model-2.safetensors"}


def states() -> Iterator[object]:
    """What official projects save: a state dict, bare or beside other things."""
    yield WEIGHTS
    yield OrderedDict(
        weight=torch.nn.Parameter(torch.ones(2)), view=torch.arange(4.0)[1:3], half=torch.ones(1).bfloat16()
    )
    yield {"state_dict": WEIGHTS, "epoch": 3, "best": np.float64(0.5), "optimizer": {"lr": [1e-3, None, True]}}
    yield {"model": WEIGHTS, "seen": {1, 2}, "rng": np.arange(3), "shape": torch.Size([2]), "on": torch.device("cpu")}


def torch_saved(value: object, *, zipped: bool) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, _use_new_zipfile_serialization=zipped)
    return content.getvalue()


def saved(_: Path, *, zipped: bool) -> Iterator[bytes]:
    yield from (torch_saved(state, zipped=zipped) for state in states())


def safetensors(_: Path) -> Iterator[bytes]:
    yield save({"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.zeros(2, dtype=torch.int64)})


def shards(folder: Path) -> None:
    for key, name in SHARDS.items():
        save_file({key: torch.zeros(2)}, folder / name)


def indices(_: Path) -> Iterator[bytes]:
    yield json.dumps({"metadata": {"total_size": 16}, "weight_map": SHARDS}).encode()
    yield json.dumps({"weight_map": {"a": "model-1.safetensors"}}).encode()


def every_number(path: Path) -> None:
    """Reads a checkpoint to its last number, as copying it into a network does."""
    for tensor in load_state(path).values():
        tensor.sum(dtype=torch.float64) if tensor.dtype in (torch.float32, torch.int64) else tensor.clone()


READERS = (
    Reader("checkpoint-zip", "case.pt", partial(saved, zipped=True), every_number, mutate=edit_members),
    Reader("checkpoint-legacy", "case.pyth", partial(saved, zipped=False), every_number),
    Reader("checkpoint-safetensors", "case.safetensors", safetensors, every_number),
    Reader(
        "checkpoint-folder",
        "model.safetensors.index.json",
        indices,
        lambda path: every_number(path.parent),
        prepare=shards,
    ),
)
