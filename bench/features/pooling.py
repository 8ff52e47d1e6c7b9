"""Pooling of feature maps into global descriptors, as in SuperGlobal (Shao et al., ICCV 2023).

A feature map is (B, C, H, W), after the backbone's last ReLU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import BenchError

#: Where the CVNet and SuperGlobal checkpoints keep the head.
HEAD = "encoder_q.head."


def gemp(feature_map: Tensor, *, p: float | Tensor = 4.6, eps: float = 1e-8) -> Tensor:
    """GeM+, (B, C): the p-th root of the mean over positions of the p-th power, clamped below at eps."""
    return feature_map.flatten(2).clamp(min=eps).pow(p).mean(dim=2).pow(1 / p)


def rgem(feature_map: Tensor, *, pr: float = 2.5, size: int = 5) -> Tensor:
    """Regional GeM, (B, C, H, W): the mean of the map and of its GeM in a size x size window, reflected at the border.

    Negative values give NaN unless pr is even, as in the official code.
    Raises BenchError for an even size, and for a map that is smaller than the border needs.
    """
    border, (height, width) = size // 2, feature_map.shape[2:]
    if size % 2 == 0 or min(height, width) <= border:
        raise BenchError(
            f"a window of {size} on a map of {height} x {width}",
            wanted=f"an odd window, and at least {border + 1} positions each way",
            cure="Feed a larger image, or choose a smaller window.",
        )
    powers = F.pad(feature_map, (border,) * 4, mode="reflect").pow(pr)
    return (feature_map + F.avg_pool2d(powers, size, stride=1).pow(1 / pr)) / 2


def sgem(scales: Sequence[Tensor], *, ps: float | None = None) -> Tensor:
    """Scale GeM, (B, D), of one descriptor (B, D) an image scale; not normalised.

    ps: None for infinity, the published choice: the largest value over scales of the L2-normalised descriptors.
    Otherwise their GeM above the smallest value of all, which depends on the other images of the batch.
    """
    stacked = torch.stack(tuple(scales))
    if ps is None:
        return F.normalize(stacked, dim=-1).amax(dim=0)
    smallest = stacked.min()
    return (stacked - smallest).pow(ps).mean(dim=0).pow(1 / ps) + smallest


def relup(feature_map: Tensor, *, alpha: float = 0.014) -> Tensor:
    """ReLUP: what is smaller than alpha becomes alpha."""
    return feature_map.clamp(min=alpha)


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head that turns feature maps of several image scales into one descriptor.

    weight: (D, C), bias: (D,) of the linear layer. p: learned power of the plain GeM.
    use_gemp, use_rgem, use_sgem: the modules of SuperGlobal; without them the head of CVNet, but for a normalisation.
    """

    weight: Tensor
    bias: Tensor
    p: Tensor
    use_gemp: bool = True
    use_rgem: bool = True
    use_sgem: bool = True

    @classmethod
    def from_state(
        cls, state: Mapping[str, Tensor], *, use_gemp: bool = True, use_rgem: bool = True, use_sgem: bool = True
    ) -> Head:
        """The head in an official state dict, whose other keys are the backbone's; BenchError without it."""
        keys = {"weight": f"{HEAD}fc.weight", "bias": f"{HEAD}fc.bias", "p": f"{HEAD}pool.p"}
        if missing := [key for key in keys.values() if key not in state]:
            raise BenchError(
                f"a checkpoint without {', '.join(missing)}",
                wanted="the head of CVNet or SuperGlobal",
                cure="Pass the file that the official project publishes.",
            )
        tensors = {name: state[key] for name, key in keys.items()}
        return cls(**tensors, use_gemp=use_gemp, use_rgem=use_rgem, use_sgem=use_sgem)

    def per_scale(self, feature_map: Tensor) -> Tensor:
        """(B, D) of one image scale, not normalised."""
        if self.use_rgem:
            feature_map = rgem(feature_map)
        pooled = gemp(feature_map) if self.use_gemp else gemp(feature_map, p=self.p, eps=1e-6)
        return F.linear(F.normalize(pooled, dim=1), self.weight, self.bias)

    def __call__(self, feature_maps: Sequence[Tensor]) -> Tensor:
        """(B, D) L2-normalised, from one feature map (B, C, H, W) an image scale."""
        scales = [self.per_scale(feature_map) for feature_map in feature_maps]
        return F.normalize(sgem(scales) if self.use_sgem else torch.stack(scales).mean(dim=0), dim=1)
