"""SigLIP 2 (Tschannen et al., 2025), the vision tower of its checkpoints of fixed size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers

from bench.features.backbones.vit import VisionTransformer, network_of

BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
#: Of the published checkpoints that ELViS uses.
TRAINED = {"patch_size": 16, "image_size": 512}
COLOURS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def load(config: Mapping[str, Any], checkpoint: Path | None, seed: int) -> VisionTransformer:
    """Its global descriptor is that of the attention pooling head: there is no class token."""
    own = transformers.SiglipVisionConfig(**{**TRAINED, **config})
    network = network_of(transformers.SiglipVisionModel, own, checkpoint, seed, beside="text_model.")
    return VisionTransformer(network, skipped=0, colours=COLOURS, options={"interpolate_pos_encoding": True})
