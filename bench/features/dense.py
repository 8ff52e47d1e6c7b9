"""Feature maps of a list of images: extracted once, stored, and read an image at a time.

An image's row in the store is its map's height and width, the map, and zeros up to the row's end: images differ in
size, and rows of one length can be written by anybody in any order (see `bench.features.writing`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bench.errors import BenchError
from bench.features.extract import Progress, fingerprint_of
from bench.features.formats import hdf5_rows
from bench.features.images import ImageRef, read_colour
from bench.features.layout import FINGERPRINT, LAYOUT_VERSION, MAPS, MAPS_FILE
from bench.features.rows import Rows, take, to_float32
from bench.features.writing import Attributes, Partial, write_store
from rerankers.interface import Features

#: Images described at once, and noted: at most so many are lost by an interruption.
CHUNK = 8
HEAD = 2


class Backbone(Protocol):
    """What makes feature maps of images.

    weights: what it runs with, for fingerprints. channels: of a map. stride: pixels of an image to one of its map.
    """

    name: str
    weights: str
    channels: int
    stride: int

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, channels, H / stride, W / stride), rounded up, of images (B, H, W, 3) in blue, green and red."""
        ...


@dataclass(frozen=True)
class DenseStore:
    """Feature maps of N images: rows (N, 2 + room for the largest map)."""

    path: Path
    rows: Rows
    channels: int

    @classmethod
    def open(cls, folder: Path) -> DenseStore:
        """What `describe_dense` put into `folder`; BenchError when it is missing, damaged or laid out otherwise."""
        path = folder / MAPS_FILE
        rows, attributes = hdf5_rows(path, MAPS)
        channels = attributes.get("channels")
        if len(rows.shape) != 2 or rows.shape[1] <= HEAD or not isinstance(channels, int) or channels < 1:
            raise BenchError(
                f"dataset {MAPS!r} of shape {rows.shape} in {path}, of {channels} channels",
                wanted="a store of feature maps",
                cure="Delete it and extract again.",
            )
        return cls(path, rows, channels)

    def __len__(self) -> int:
        """Number of images N."""
        return int(self.rows.shape[0])

    def features(self, indices: ArrayLike) -> Features:
        """Features with the maps (C, H, W) of the images `indices` (n,); only these are read."""
        return Features(dense=tuple(self._map(int(one)) for one in np.asarray(indices, dtype=np.int64)))

    def _map(self, image: int) -> torch.Tensor:
        if not 0 <= image < len(self):
            raise BenchError(
                f"image {image} asked of {self.path}",
                wanted=f"0 to {len(self) - 1}",
                cure="Check that the shortlist and the store belong to one data set.",
            )
        row = to_float32(take(self.rows, np.array([image])))[0]
        height, width = (int(side) if side < self.rows.shape[1] else 0 for side in np.nan_to_num(row[:HEAD]).tolist())
        count = self.channels * height * width
        if min(height, width) < 1 or HEAD + count > self.rows.shape[1]:
            raise BenchError(
                f"a map of {row[0]:g} x {row[1]:g} in {self.path}",
                wanted=f"at most {self.rows.shape[1] - HEAD} numbers",
                cure="Delete it and extract again.",
            )
        return torch.from_numpy(row[HEAD : HEAD + count].reshape(self.channels, height, width))


def describe_dense(
    images: Sequence[ImageRef], folder: Path, *, backbone: Backbone, side: int, progress: Progress | None = None
) -> DenseStore:
    """The feature maps of `images`, from `folder` if they are there and up to date, else extracted into it.

    side: images are cut to their boxes, then reduced until their longer side has so many pixels. An unfinished store
    is completed. Raises BenchError when an image cannot be read or the store cannot be written.
    """
    if not images or side < 2 * backbone.stride:
        raise BenchError(
            f"{len(images)} images at {side} pixels",
            wanted=f"at least one image, at {2 * backbone.stride} pixels or more",
            cure="Check the data set and the size.",
        )
    parameters: dict[str, str | int] = {"backbone": backbone.name, "weights": backbone.weights, "side": side}
    attributes: Attributes = {
        "layout": LAYOUT_VERSION,
        "channels": backbone.channels,
        "descriptor": json.dumps(parameters, sort_keys=True),
        FINGERPRINT: hashlib.sha256(f"maps {fingerprint_of(images, parameters)}".encode()).hexdigest(),
    }
    row = HEAD + backbone.channels * (-(-side // backbone.stride)) ** 2

    def fill(partial: Partial) -> None:
        for start, stop in partial.missing(CHUNK):
            rows = np.zeros((stop - start, row), dtype=np.float32)
            _describe(images[start:stop], rows, backbone, side)
            partial.finish((start, stop), partial.target.write(start, rows))
            if progress is not None:
                progress(partial.done, partial.rows)

    write_store(folder / MAPS_FILE, dataset=MAPS, shape=(len(images), row), attributes=attributes, fill=fill)
    return DenseStore.open(folder)


def _describe(images: Sequence[ImageRef], rows: NDArray[np.float32], backbone: Backbone, side: int) -> None:
    """Fills the rows of these images, those of one size at once."""
    read = [read_colour(image, max_side=side) for image in images]
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, one in enumerate(read):
        by_size.setdefault(one.shape, []).append(number)
    for numbers in by_size.values():
        maps = backbone.maps(np.stack([read[number] for number in numbers]))
        if not np.isfinite(maps).all():
            raise BenchError(
                f"{backbone.name} ({backbone.weights}) gives NaN or infinity for {images[numbers[0]].path}",
                wanted="finite feature maps",
                cure="The checkpoint is damaged: fetch it again.",
            )
        for number, one in zip(numbers, maps, strict=True):
            rows[number, :HEAD] = one.shape[1:]
            rows[number, HEAD : HEAD + one.size] = one.ravel()
