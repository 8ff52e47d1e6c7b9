"""DINOv2 (Oquab et al., 2023), with registers (Darcet et al., ICLR 2024) or without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers

from bench.features.backbones.vit import VisionTransformer, network_of

#: Width, blocks and heads of ViT-S, -B and -L.
SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
#: Of the published checkpoints.
TRAINED = {"patch_size": 14, "image_size": 518}


def plain(config: Mapping[str, Any], checkpoint: Path | None, seed: int) -> VisionTransformer:
    """Without registers."""
    own = transformers.Dinov2Config(**{**TRAINED, **config})
    return VisionTransformer(network_of(transformers.Dinov2Model, own, checkpoint, seed), skipped=1)


def registered(config: Mapping[str, Any], checkpoint: Path | None, seed: int) -> VisionTransformer:
    """With four registers, which are left out of the map."""
    own = transformers.Dinov2WithRegistersConfig(**{**TRAINED, **config})
    network = network_of(transformers.Dinov2WithRegistersModel, own, checkpoint, seed)
    return VisionTransformer(network, skipped=1 + own.num_register_tokens)
