"""From images to rows of stores, by a backbone: an image is read once, and images of one size are seen together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import BenchError
from bench.features.backbones.contract import Backbone
from bench.features.detector import AVERAGES, Detector, attend, over_scales, strongest
from bench.features.images import ImageRef, read_whole
from bench.features.layout import DESCRIPTOR

#: Images seen at once, at most. It may change the last digit of a descriptor.
BATCH = 8
#: The kind of rows that are local descriptors; others are kinds of global ones.
LOCAL_KIND = "local"
#: The kind that is the size of the image, beside local descriptors: their places are shares of it.
SIZE_KIND = "size"


class Reading(NamedTuple):
    """An image as the backbone wants it, once a scale: (3, h, w). size: width and height at scale 1, in pixels."""

    path: Path
    scales: tuple[Tensor, ...]
    size: tuple[float, float]


class Learned:
    """Describes images by a backbone, and by a detector if there is one.

    top: local descriptors kept of an image, 0 for none. kinds: of global descriptors; those that are no average are
    the backbone's own. side_px, scales: see Preset. shapes: kind -> shape of an image's row.
    Raises BenchError for a size below a place of the map, and for a detector of another width.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        side_px: int | None,
        scales: Sequence[float],
        top: int,
        kinds: Sequence[str],
        detector: Detector | None = None,
        device: str = "cpu",
    ) -> None:
        _check(backbone, side_px, scales, detector)
        backbone.to(device)
        self.backbone, self.device = backbone, device
        self.detector = None if detector is None else detector.to(device)
        self.side_px, self.scales, self.top, self.kinds = side_px, tuple(scales), top, tuple(kinds)
        self.shapes: dict[str, tuple[int, ...]] = dict.fromkeys(kinds, (backbone.global_dim,))
        if top:
            self.shapes |= {LOCAL_KIND: (top, DESCRIPTOR + backbone.local_dim), SIZE_KIND: (2,)}

    def read(self, image: ImageRef) -> Reading:
        """Scales are of the whole image, though only its box is resized. BenchError for one that cannot be used."""
        pixels, longer = read_whole(image)
        whole = 1.0 if self.side_px is None else self.side_px / longer
        factors = [whole * scale for scale in self.scales]
        if min(pixels.shape[:2]) * min(factors) < self.backbone.least_px:
            height, width = pixels.shape[:2]
            raise BenchError(
                f"{image.path} of {width} x {height} pixels at scale {min(factors):.3g}",
                wanted=f"{self.backbone.least_px} pixels a side",
                cure="Take it out of the data set, or pass a larger --side.",
            )
        size = pixels.shape[1] * whole, pixels.shape[0] * whole
        return Reading(image.path, tuple(self.backbone.prepare(pixels, factor) for factor in factors), size)

    def describe(self, readings: Sequence[Reading]) -> dict[str, NDArray[np.float32]]:
        """Rows (n, *shape) by kind."""
        rows = {kind: np.empty((len(readings), *shape), dtype=np.float32) for kind, shape in self.shapes.items()}
        alike: dict[tuple[torch.Size, ...], list[int]] = {}
        for number, reading in enumerate(readings):
            alike.setdefault(tuple(one.shape for one in reading.scales), []).append(number)
        for numbers in alike.values():
            for start in range(0, len(numbers), BATCH):
                batch = numbers[start : start + BATCH]
                for kind, found in self._see([readings[number] for number in batch]).items():
                    rows[kind][batch] = found.cpu().numpy()
        if self.top:
            rows[SIZE_KIND][:] = [reading.size for reading in readings]
        return rows

    @torch.inference_mode()
    def _see(self, readings: Sequence[Reading]) -> Mapping[str, Tensor]:
        attended, whole = [], []
        for images in zip(*(reading.scales for reading in readings), strict=True):
            seen = self.backbone.see(torch.stack(images).to(self.device))
            if seen.maps is not None:
                attended.append(attend(seen.maps, seen.token, self.detector))
            if seen.whole is not None:
                whole.append(seen.whole)
        found = {}
        for kind in self.kinds:
            if kind in AVERAGES:
                found[kind] = over_scales([one.averages[kind] for one in attended])
            else:
                found[kind] = self.backbone.joined(whole)
        if self.top:
            found[LOCAL_KIND] = strongest(attended, self.top)
        return found


def _check(backbone: Backbone, side_px: int | None, scales: Sequence[float], detector: Detector | None) -> None:
    if side_px is not None and side_px * min(scales) < backbone.stride_px:
        raise BenchError(
            f"images of {side_px * min(scales):g} pixels",
            wanted=f"{backbone.stride_px} pixels or more, which are one patch",
            cure="Pass a larger --side.",
        )
    if detector is not None and detector.channels != backbone.local_dim:
        raise BenchError(
            f"a detector for maps of {detector.channels} channels",
            wanted=f"one for {backbone.local_dim}" if backbone.local_dim else "none: there are no local descriptors",
            cure="Pass the detector that was trained with this backbone, or leave it out.",
        )
