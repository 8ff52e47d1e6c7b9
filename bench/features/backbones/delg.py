"""Local descriptors in the manner of DELG (Cao et al., ECCV 2020): a ResNet's stage 3 at seven scales of the image.

The network is CVNet's, for which weights are published; DELG's own, with its autoencoder, is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.features import resnet
from bench.features.backbones.cvnet import Trunk

#: From a quarter to twice the image's size, each the square root of two times the one before.
SCALES = (0.25, 0.3536, 0.5, 0.7071, 1.0, 1.4142, 2.0)


def load(config: Mapping[str, Any], checkpoint: Path | None, seed: int) -> Trunk:
    return Trunk(resnet.load_backbone(config["network"], checkpoint=checkpoint, seed=seed))
