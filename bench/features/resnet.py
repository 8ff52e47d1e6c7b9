"""CVNet's backbone: a ResNet-50 or -101 that gives a feature map and a global descriptor (Lee et al., CVPR 2022)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.errors import unknown_name
from rerankers.checkpoints import load_into, load_state

#: Name -> blocks of each stage.
BACKBONES = {"cvnet-r50": (3, 4, 6, 3), "cvnet-r101": (3, 4, 23, 3)}
#: Of images in blue, green, red from 0 to 1, as the published weights were trained.
MEAN, DEVIATION = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)
#: Pixels of an image to one of its feature map.
STRIDE = 16
CHANNELS, GLOBAL_DIM = 1024, 2048
#: What SuperGlobal raises smaller activations to, in its ReLUP (Shao et al., ICCV 2023).
RELUP = 0.014


class Transform(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolution, each with its norm; the stride is on the middle one.

    floor: what smaller activations become; 0 for a ReLU.
    """

    def __init__(self, channels: int, inner: int, out: int, stride: int, floor: float) -> None:
        super().__init__()
        self.floor = floor
        self.a = nn.Conv2d(channels, inner, 1, bias=False)
        self.a_bn = nn.BatchNorm2d(inner)
        self.b = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.b_bn = nn.BatchNorm2d(inner)
        self.c = nn.Conv2d(inner, out, 1, bias=False)
        self.c_bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a_bn(self.a(x)).clamp_(min=self.floor)
        x = self.b_bn(self.b(x)).clamp_(min=self.floor)
        found: Tensor = self.c_bn(self.c(x))
        return found


class Bottleneck(nn.Module):
    """A transform beside a shortcut; `forward` ends before the ReLU that closes the block."""

    def __init__(self, channels: int, inner: int, out: int, stride: int, floor: float) -> None:
        super().__init__()
        self.projected = channels != out or stride != 1
        if self.projected:
            self.proj = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.bn = nn.BatchNorm2d(out)
        self.f = Transform(channels, inner, out, stride, floor)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.bn(self.proj(x)) if self.projected else x
        found: Tensor = self.f(x).add_(shortcut)
        return found


class Stage(nn.Module):
    """Blocks b1, b2, ...; `forward` ends before the ReLU of the last.

    floor, inner_floor: what smaller activations become between blocks and within them; 0 for a ReLU.
    """

    def __init__(
        self, channels: int, inner: int, stride: int, depth: int, *, floor: float = 0.0, inner_floor: float = 0.0
    ) -> None:
        super().__init__()
        self.floor, out = floor, 4 * inner
        self.add_module("b1", Bottleneck(channels, inner, out, stride, inner_floor))
        for number in range(2, depth + 1):
            self.add_module(f"b{number}", Bottleneck(out, inner, out, 1, inner_floor))

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.children()):
            x = block(x if number == 0 else x.clamp_(min=self.floor))
        return x


class Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(64)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.bn(self.conv(x)), inplace=True), 3, 2, padding=1)


class GeneralizedMean(nn.Module):
    """The p-th root of the mean of p-th powers over all positions (Radenovic et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = GeneralizedMean()
        self.fc = nn.Linear(GLOBAL_DIM, GLOBAL_DIM)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc(self.pool(x))
        return found


class Backbone(nn.Module):
    """The network, under the official parameter names. images: (B, 3, H, W) as `normalised` gives them.

    weights: what it runs with, for fingerprints. relup: as SuperGlobal runs it, with RELUP for ReLU at the end of the
    blocks of stages 1 to 3, and within those of stage 1.
    """

    channels, stride = CHANNELS, STRIDE

    def __init__(self, name: str, weights: str = "", *, relup: bool = False) -> None:
        super().__init__()
        if name not in BACKBONES:
            raise unknown_name("backbone", name, BACKBONES)
        self.name, self.weights = name, weights
        depths = BACKBONES[name]
        self.floor = floor = RELUP if relup else 0.0
        self.stem = Stem()
        self.s1 = Stage(64, 64, 1, depths[0], floor=floor, inner_floor=floor)
        self.s2 = Stage(256, 128, 2, depths[1], floor=floor)
        self.s3 = Stage(512, 256, 2, depths[2], floor=floor)
        self.s4 = Stage(1024, 512, 2, depths[3])
        self.head = Head()

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """`feature_map` of images (B, H, W, 3) as they are read, without gradients."""
        with torch.inference_mode():
            batch = normalised(torch.from_numpy(images).permute(0, 3, 1, 2))
            return self.feature_map(batch).contiguous().numpy()

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 1024, H / 16, W / 16), rounded up, before the last ReLU of stage 3: values may be negative."""
        x = self.stem(images)
        for stage in (self.s1, self.s2):
            x = stage(x).clamp_(min=self.floor)
        found: Tensor = self.s3(x)
        return found

    def last_map(self, feature_map: Tensor) -> Tensor:
        """(B, 2048, H / 32, W / 32), after the last ReLU, from the map of stage 3."""
        return F.relu(self.s4(feature_map.clamp(min=self.floor)), inplace=True)


def load_backbone(name: str, *, checkpoint: Path | None = None, seed: int = 0, relup: bool = False) -> Backbone:
    """The backbone in evaluation mode, with the `encoder_q.` weights of an official checkpoint, or random ones.

    Raises BenchError for an unknown name, RerankError for a file that does not hold its weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = Backbone(name, f"random, seed {seed}" if checkpoint is None else "", relup=relup)
        if checkpoint is None:
            _balance(backbone)
    if checkpoint is not None:
        state = load_state(checkpoint)
        load_into(backbone, state, within="encoder_q.")
        backbone.weights = f"{checkpoint.name} {checkpoint.stat().st_size} {checkpoint.stat().st_mtime_ns}"
    return backbone.eval().requires_grad_(False)


def _balance(backbone: Backbone) -> None:
    """Random weights under which signals neither vanish nor explode, though no norm has seen any data."""
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d) and name.endswith("c_bn"):
            nn.init.constant_(module.weight, 0.2)


def normalised(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in blue, green, red from 0 to 255 as the backbone reads them."""
    mean, deviation = (torch.tensor(one).view(1, 3, 1, 1) for one in (MEAN, DEVIATION))
    return (images.float() / 255 - mean) / deviation
