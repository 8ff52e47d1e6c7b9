"""Which local descriptors of an image are kept: the attention detector of AMES and ELViS, and the choice by it.

Source: AMES (Suma et al., ECCV 2024), ELViS (ICLR 2026) and their published extraction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError
from bench.features.layout import DESCRIPTOR, MASK, SCALE, WEIGHT, X, Y
from rerankers.checkpoints import load_into, load_state

#: Global descriptors that are averages of a map by its attention.
AVERAGES = ("w-avg", "og-avg")


class Attention(NamedTuple):
    """What a detector makes of maps: own ones (B, C, H, W) of unit length, and the weight of each place (B, H, W)."""

    maps: Tensor
    weights: Tensor


class Detector(nn.Module):
    """Two 1 x 1 convolutions over the maps of a backbone, under the official parameter names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.bn = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, 1, 1)

    def forward(self, maps: Tensor) -> Attention:
        x = self.bn(self.conv1(maps))
        return Attention(unit(x), F.softplus(self.conv2(F.relu(x))).squeeze(1))


def load_detector(path: Path) -> Detector:
    """The detector in an official checkpoint, in evaluation mode; its width is that of the checkpoint.

    Raises BenchError when it holds none, RerankError when it cannot be read or holds something beside it.
    """
    state = load_state(path)
    if "conv1.weight" not in state or state["conv1.weight"].ndim != 4:
        raise BenchError(
            f"{path} holds {', '.join(list(state)[:4])}",
            wanted="an attention detector: conv1, bn, conv2",
            cure="Pass the file that the official project publishes for this backbone.",
        )
    detector = Detector(state["conv1.weight"].shape[1])
    load_into(detector, state)
    return detector.eval().requires_grad_(False)


@dataclass(frozen=True)
class Attended:
    """One scale of images of one size.

    local: maps (B, C, H, W) of unit length. weights: (B, H, W). averages: by AVERAGES, (B, C) of unit length.
    """

    local: Tensor
    weights: Tensor
    averages: dict[str, Tensor]


def attend(maps: Tensor, token: Tensor | None, detector: Detector | None) -> Attended:
    """What a backbone's maps (B, C, H, W) become.

    Places are weighed by the detector; without one by their cosine to the class token (B, C); without that by their
    norm. A detector only weighs: what is stored are the backbone's own descriptors.
    """
    local = unit(maps)
    if detector is not None:
        own, weights = detector(maps)
        averaged = own, maps
    else:
        weights = maps.norm(dim=1) if token is None else torch.einsum("bc,bchw->bhw", unit(token), local)
        averaged = maps, local
    averages = {
        kind: F.normalize((weights[:, None] * one).mean(dim=(2, 3)), dim=1)
        for kind, one in zip(AVERAGES, averaged, strict=True)
    }
    return Attended(local, weights, averages)


def strongest(scales: Sequence[Attended], top: int) -> Tensor:
    """The `top` descriptors of most weight over all scales together, as rows (B, top, 5 + C) of a store.

    Columns: row and column of the place's centre from 0 to 1, index of the scale, mask (1 for padding), weight, and
    the descriptor. Rows descend by weight; an image with fewer places is filled up with zeros.
    """
    weights = torch.cat([one.weights.flatten(1) for one in scales], dim=1)
    weight, chosen = weights.topk(min(top, weights.shape[1]), dim=1)
    local = torch.cat([one.local.flatten(2) for one in scales], dim=2)
    places = torch.cat([_places(number, *one.weights.shape[1:]) for number, one in enumerate(scales)]).to(local.device)
    batch, kept = chosen.shape
    rows = local.new_zeros(batch, top, DESCRIPTOR + local.shape[1])
    rows[:, kept:, MASK] = 1
    rows[:, :kept, WEIGHT] = weight
    rows[:, :kept, [X, Y, SCALE]] = places[chosen]
    rows[:, :kept, DESCRIPTOR:] = local.gather(2, chosen[:, None].expand(-1, local.shape[1], -1)).transpose(1, 2)
    return rows


def over_scales(descriptors: Sequence[Tensor]) -> Tensor:
    """(B, G) of unit length: the mean of the descriptors (B, G) of each scale, each of unit length."""
    return F.normalize(torch.stack([unit(one) for one in descriptors]).mean(dim=0), dim=1)


def unit(vectors: Tensor) -> Tensor:
    """Of unit length along dimension 1."""
    return F.normalize(vectors, dim=1, eps=1e-15)


def _places(scale: int, height: int, width: int) -> Tensor:
    """(height * width, 3): row and column of each centre, and the scale."""
    rows, columns = ((torch.arange(side) + 0.5) / side for side in (height, width))
    grid = torch.cartesian_prod(rows, columns).reshape(-1, 2)
    return torch.cat([grid, torch.full((len(grid), 1), float(scale))], dim=1)
