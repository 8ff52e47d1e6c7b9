"""CVNet's ResNets (Lee et al., CVPR 2022), with their own head or with that of SuperGlobal (Shao et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.features import pooling, resnet
from bench.features.backbones.contract import Seen
from bench.features.detector import over_scales
from bench.features.images import scaled

#: Of an image as it is; OpenCV resizes it before it is normalised, which CVNet's extraction does.
SCALES = (0.7071, 1.0, 1.4142)


class Trunk:
    """The part up to the map of stage 3, before its last ReLU: what CVNet re-ranks by, and AMES reads."""

    local_dim, global_dim = resnet.CHANNELS, 0
    stride_px, least_px = resnet.STRIDE, 1

    def __init__(self, network: resnet.Backbone) -> None:
        self.network = network
        self.mean, self.deviation = (torch.tensor(one).view(3, 1, 1) for one in (resnet.MEAN, resnet.DEVIATION))

    def prepare(self, pixels: NDArray[np.uint8], scale: float) -> Tensor:
        """As bytes, which are a quarter of the numbers."""
        return torch.from_numpy(scaled(pixels, scale)).permute(2, 0, 1)

    def see(self, images: Tensor) -> Seen:
        return Seen(self._map(images))

    def joined(self, scales: Sequence[Tensor]) -> Tensor:
        return over_scales(scales)

    def to(self, device: str) -> None:
        self.network.to(device)
        self.mean, self.deviation = self.mean.to(device), self.deviation.to(device)

    def _map(self, images: Tensor) -> Tensor:
        return self.network.feature_map((images.float() / 255 - self.mean) / self.deviation)


class Cvnet(Trunk):
    """With CVNet's head: GeM of stage 4, projected."""

    global_dim = resnet.GLOBAL_DIM

    def see(self, images: Tensor) -> Seen:
        third = self._map(images)
        return Seen(third, self.network.head(self.network.last_map(third)))


class SuperGlobal(Trunk):
    """With SuperGlobal's pooling, and its ReLUP within the network.

    Its own extraction resizes images that are normalised already; here they are resized before.
    """

    local_dim, global_dim = 0, resnet.GLOBAL_DIM
    least_px = 65  # regional GeM needs three places each way

    def see(self, images: Tensor) -> Seen:
        learnt = self.network.head
        head = pooling.Head(weight=learnt.fc.weight, bias=learnt.fc.bias, p=learnt.pool.p)
        return Seen(whole=head.per_scale(self.network.last_map(self._map(images))))

    def joined(self, scales: Sequence[Tensor]) -> Tensor:
        return F.normalize(pooling.sgem(scales), dim=1)


def own_head(config: Mapping[str, Any], checkpoint: Path | None, seed: int) -> Cvnet:
    return Cvnet(resnet.load_backbone(config["network"], checkpoint=checkpoint, seed=seed))


def superglobal(config: Mapping[str, Any], checkpoint: Path | None, seed: int) -> SuperGlobal:
    return SuperGlobal(resnet.load_backbone(config["network"], checkpoint=checkpoint, seed=seed, relup=True))
