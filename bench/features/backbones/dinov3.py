"""DINOv3 (Simeoni et al., 2025), its vision transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers

from bench.features.backbones.vit import VisionTransformer, network_of

SMALL = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6}
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
#: Of the published checkpoints.
TRAINED = {"patch_size": 16, "num_register_tokens": 4}


def load(config: Mapping[str, Any], checkpoint: Path | None, seed: int) -> VisionTransformer:
    own = transformers.DINOv3ViTConfig(**{**TRAINED, **config})
    return VisionTransformer(
        network_of(transformers.DINOv3ViTModel, own, checkpoint, seed), skipped=1 + own.num_register_tokens
    )
