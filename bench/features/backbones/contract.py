"""What a backbone is to the extraction, and what a preset says of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Seen(NamedTuple):
    """What a backbone makes of images of one size.

    maps: (B, C, H, W), None where it gives no local descriptors. whole: (B, G), None where it gives no global one.
    token: (B, C), what places of the map may be compared with.
    """

    maps: Tensor | None = None
    whole: Tensor | None = None
    token: Tensor | None = None


class Backbone(Protocol):
    """What makes maps and global descriptors of images.

    local_dim, global_dim: C and G of `Seen`, 0 for none. stride_px: pixels to a place of its map. least_px: no side of
    a resized image may be shorter.
    """

    local_dim: int
    global_dim: int
    stride_px: int
    least_px: int

    def prepare(self, pixels: NDArray[np.uint8], scale: float) -> Tensor:
        """(3, h, w) from pixels (H, W, 3) in blue, green and red, resized; called by several threads at once."""
        ...

    def see(self, images: Tensor) -> Seen:
        """Of images (B, 3, h, w), as prepared, on the device of the network."""
        ...

    def joined(self, scales: Sequence[Tensor]) -> Tensor:
        """(B, G) of unit length from `whole` of each scale."""
        ...

    def to(self, device: str) -> None:
        """Moves the network."""
        ...


class Loader(Protocol):
    """Makes a backbone of a configuration."""

    def __call__(self, config: Mapping[str, Any], checkpoint: Path | None, seed: int) -> Backbone:
        """With the weights of a checkpoint, or without one those that the seed draws."""
        ...


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A way to describe images.

    about: its name in tables. load, config: see Loader; None for one that has learnt nothing. globals: kinds of global
    descriptors, the main one first. side_px: of the longer side of an image, None for images as they are. scales: of
    that. top: local descriptors kept of an image, 0 for none.
    """

    about: str
    load: Loader | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    globals: tuple[str, ...] = ()
    side_px: int | None = None
    scales: tuple[float, ...] = (1.0,)
    top: int = 700
