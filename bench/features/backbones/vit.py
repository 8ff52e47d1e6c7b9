"""What the vision transformers have in common: loading by transformers, resizing, tokens as a map."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers  # its models are imported where they are first named: that takes seconds
from numpy.typing import NDArray
from torch import Tensor
from transformers.utils import logging as transformers_logging

from bench.errors import BenchError
from bench.features.backbones.contract import Seen
from bench.features.detector import over_scales
from bench.features.images import bicubic, quantised_px
from rerankers.checkpoints import load_state

#: Of red, green and blue from 0 to 1: mean and standard deviation.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class VisionTransformer:
    """A network of transformers, run on images of any size.

    colours: mean and standard deviation of the channels. skipped: tokens before those of patches. options: of its
    `forward`.
    """

    least_px = 1

    def __init__(
        self,
        network: Any,
        *,
        skipped: int,
        colours: tuple[Sequence[float], Sequence[float]] = IMAGENET,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.network, self.skipped, self.options = network, skipped, dict(options or {})
        self.stride_px = int(network.config.patch_size)
        self.local_dim = self.global_dim = int(network.config.hidden_size)
        self.mean, self.deviation = (torch.tensor(one).view(3, 1, 1) for one in colours)

    def prepare(self, pixels: NDArray[np.uint8], scale: float) -> Tensor:
        height, width = (quantised_px(side, scale, self.stride_px) for side in pixels.shape[:2])
        return bicubic(pixels, (height, width))

    def see(self, images: Tensor) -> Seen:
        """Maps of the last block's tokens, normalised as the network does, and its pooled token."""
        grid = tuple(side // self.stride_px for side in images.shape[2:])
        found = self.network((images - self.mean) / self.deviation, **self.options)
        patches = found.last_hidden_state[:, self.skipped :]
        return Seen(patches.transpose(1, 2).unflatten(2, grid), found.pooler_output, found.pooler_output)

    def joined(self, scales: Sequence[Tensor]) -> Tensor:
        return over_scales(scales)

    def to(self, device: str) -> None:
        self.network.to(device)
        self.mean, self.deviation = self.mean.to(device), self.deviation.to(device)


def network_of(
    kind: Any, config: transformers.PretrainedConfig, checkpoint: Path | None, seed: int, *, beside: str = ""
) -> transformers.PreTrainedModel:
    """A network of the class `kind` in evaluation mode, with the weights of a checkpoint, or random ones.

    checkpoint: what `save_pretrained` wrote. beside: prefix of keys in it that belong to something else.
    Raises RerankError for a file that cannot be read, BenchError for one of another network.
    """
    if checkpoint is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drawn: transformers.PreTrainedModel = kind(config).eval().requires_grad_(False)
            return drawn
    check_configuration(config.to_dict(), checkpoint)
    state = load_state(checkpoint)
    if beside:
        state = {name: value for name, value in state.items() if not name.startswith((beside, "logit_"))}
    with _quiet():  # keys of earlier versions of transformers are renamed by it
        network, told = kind.from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True, ignore_mismatched_sizes=True
        )
    complaints = {
        "missing": sorted(told["missing_keys"]),
        "unexpected": sorted(told["unexpected_keys"]),
        "misshapen": sorted(f"{name} {tuple(seen)} for {tuple(own)}" for name, seen, own in told["mismatched_keys"]),
    }
    if any(complaints.values()):
        listed = (f"{name}: {', '.join(found[:4])} ({len(found)})" for name, found in complaints.items() if found)
        raise BenchError(
            f"{checkpoint} with keys {'; '.join(listed)}",
            wanted=f"the weights of {kind.__name__}, {config.hidden_size} wide",
            cure="Choose the preset of this checkpoint.",
        )
    loaded: transformers.PreTrainedModel = network.eval().requires_grad_(False)
    return loaded


def check_configuration(own: Mapping[str, Any], checkpoint: Path) -> None:
    """BenchError where the checkpoint's own configuration says otherwise: heads and the like show in no weight."""
    path = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "config.json"
    if not path.is_file():
        return
    try:
        stored = json.loads(path.read_text(encoding="utf8"))
        stored = stored.get("vision_config", stored)
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "layer_norm_eps")
        other = [
            f"{name} {stored[name]!r:.40} for {own[name]}" for name in names if stored.get(name, own[name]) != own[name]
        ]
    except Exception as error:  # whatever JSON of another form leads to
        raise BenchError(
            f"cannot read {path} ({error!s:.200})", wanted="a JSON object", cure="Fetch it again."
        ) from error
    if other:
        raise BenchError(
            f"{path} with {', '.join(other)}", wanted="the preset's", cure="Choose the preset of this checkpoint."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own report of keys, and its progress bar."""
    level, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()
