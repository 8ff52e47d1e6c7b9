"""Weights that training starts from: an encoder pretrained on text, under LOCORE's names (supplement of the paper).

longformer-base-4096 for the base size, its first 6 layers for the small one, roberta-tiny-cased (4 layers, width 512)
for the tiny one. What reads descriptors and gives scores is not pretrained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from rerankers.checkpoints import load_into, load_state
from rerankers.errors import RerankError
from rerankers.locore.config import RESERVED

Extension = Literal["interpolation", "tiling"]

ENCODER = "language_model.longformer."
#: Parts of the network that no pretrained encoder provides.
FRESH = ("language_model.classifier.", "local_to_lm.", "global_to_lm.", "scale_encoder.")

#: Where Hugging Face's layout keeps the encoder: under a head, or bare.
_PREFIXES = ("longformer.", "roberta.", "")
#: Rows of the word table: `</s>` and `<pad>`.
_SEP, _PAD = 2, 1


def start_state(
    pretrained: Mapping[str, Tensor], *, layers: int, positions: int, extension: Extension = "interpolation"
) -> dict[str, Tensor]:
    """All that a pretrained Longformer or RoBERTa provides, under LOCORE's names.

    layers: how many are taken, the first ones. positions: rows of the new position table, 5,122 for a context of 5,120.
    extension: see `extended`. A RoBERTa's global projections are copies of its ordinary ones, as in Longformer's own
    conversion. How many heads there were leaves no trace in the weights, so nothing checks it.
    Raises RerankError for weights that are not those of such an encoder, or of too few layers.
    """
    source = _encoder(pretrained)
    held = _layers(source, "")
    if not 1 <= layers <= held:
        raise RerankError(
            f"a pretrained encoder of {held} layers",
            wanted=f"at least 1 layer, and here {layers}",
            cure="Choose a larger encoder, or a network with fewer layers.",
        )
    words = _row(source, "embeddings.word_embeddings.weight")
    if words.ndim != 2 or len(words) <= _SEP:
        raise RerankError(
            f"a word table {tuple(words.shape)}",
            wanted=f"(words, width) with rows {_PAD} <pad> and {_SEP} </s>",
            cure="Pass a Longformer or RoBERTa.",
        )
    state = {
        "sep_embedding": words[_SEP],
        "pad_embedding": words[_PAD],
        "embeddings.token_type_embeddings.weight": _row(source, "embeddings.token_type_embeddings.weight")[:1],
        "embeddings.position_embeddings.weight": extended(
            _row(source, "embeddings.position_embeddings.weight"), positions, extension
        ),
    }
    for kind in ("weight", "bias"):
        state[f"embeddings.LayerNorm.{kind}"] = _row(source, f"embeddings.LayerNorm.{kind}")
    for name, value in source.items():
        number = re.match(r"encoder\.layer\.(\d+)\.", name)
        if number and int(number[1]) < layers:
            state[name] = value
            twin = re.sub(r"\.self\.(query|key|value)\.", r".self.\1_global.", name)
            state[twin] = source.get(twin, value)
    # each tensor its own memory: words would otherwise keep the whole table alive
    return {ENCODER + name: value.detach().clone() for name, value in state.items()}


def extended(table: Tensor, positions: int, extension: Extension = "interpolation") -> Tensor:
    """A position table (rows, D) as (positions, D). Rows 0 and 1 stay as they are, for they stand for no position.

    interpolation: the others are resampled linearly along the sequence, ends aligned: the first position stays the
    first and the last the last, with the new ones spread evenly between. That is how the paper is read here; it does
    not say where the ends go.
    tiling: they are repeated from the first on, and the last repetition is cut, as Longformer itself was made.
    A table that has the size already is returned unchanged.
    """
    if extension not in ("interpolation", "tiling"):
        raise RerankError(
            f"extension {extension!r}", wanted="interpolation or tiling", cure="The paper's is interpolation."
        )
    if table.ndim != 2 or len(table) <= RESERVED or positions <= RESERVED:
        raise RerankError(
            f"a position table {tuple(table.shape)} for {positions} rows",
            wanted=f"(rows, width) and more than {RESERVED} rows in both",
            cure=f"Ask for {RESERVED} rows more than the context is long.",
        )
    if len(table) == positions:
        return table
    source, wanted = table[RESERVED:], positions - RESERVED
    if extension == "tiling":
        rows = source[torch.arange(wanted, device=table.device) % len(source)]
    else:
        at = torch.linspace(0, len(source) - 1, wanted, dtype=torch.float64, device=table.device)
        before = at.long()
        after = (before + 1).clamp(max=len(source) - 1)
        share = (at - before)[:, None]
        rows = torch.lerp(source[before].double(), source[after].double(), share).to(table.dtype)
    return torch.cat([table[:RESERVED], rows])


def start(network: nn.Module, path: Path, *, extension: Extension = "interpolation") -> None:
    """Copies a pretrained encoder into a network with LOCORE's names, everything or nothing; FRESH parts stay.

    path: a checkpoint file or folder in Hugging Face's layout. Layers and positions are the network's.
    Raises RerankError for a checkpoint that cannot be read or is not such an encoder, and with the names of what is
    missing or misshapen.
    """
    own = network.state_dict()
    table = own.get(f"{ENCODER}embeddings.position_embeddings.weight")
    if table is None:
        raise RerankError(
            f"{type(network).__name__} without a position table",
            wanted=f"LOCORE's names, {ENCODER}embeddings and so on",
            cure="Start a LOCORE network.",
        )
    given = start_state(load_state(path), layers=_layers(own, ENCODER), positions=len(table), extension=extension)
    fresh = {name: value for name, value in own.items() if name.startswith(FRESH)}
    load_into(network, given | fresh)


def _encoder(pretrained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's own part, without a prefix."""
    for prefix in _PREFIXES:
        if f"{prefix}embeddings.word_embeddings.weight" in pretrained:
            return {name.removeprefix(prefix): value for name, value in pretrained.items() if name.startswith(prefix)}
    raise RerankError(
        f"weights with {', '.join(list(pretrained)[:4]) or 'no keys'}",
        wanted="a Longformer or RoBERTa of text, with embeddings.word_embeddings.weight, bare or under its name",
        cure="Pass longformer-base-4096 or roberta-tiny-cased; a trained LOCORE needs no start.",
    )


def _layers(state: Mapping[str, Tensor], prefix: str) -> int:
    numbers = (re.match(rf"{re.escape(prefix)}encoder\.layer\.(\d+)\.", name) for name in state)
    return max((int(found[1]) + 1 for found in numbers if found), default=0)


def _row(source: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in source:
        raise RerankError(
            f"a pretrained encoder without {name}", wanted="a Longformer or RoBERTa", cure="Fetch it again, whole."
        )
    return source[name]
