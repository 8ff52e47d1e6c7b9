"""What the rest of the bench may ask of stored descriptors, however they come about: read, joined, or made up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import BenchError
from rerankers.interface import Features


class Part(Protocol):
    """Some kind of descriptors of N images."""

    @property
    def path(self) -> Path:
        """Where they lie, for messages."""

    @property
    def fingerprint(self) -> str | None:
        """Of the images and the extraction they come from; None in files from elsewhere."""

    @property
    def about(self) -> str | None:
        """How they were made, in words; None in files that do not say."""

    def __len__(self) -> int:
        """Number of images N."""

    @property
    def dim(self) -> int:
        """Width of a descriptor."""


class Locals(Part, Protocol):
    """Local descriptors."""

    @property
    def xy_convention(self) -> str | None:
        """What the file says of `xy`, such as "row, column in 0..1"; None for x and y in pixels."""

    @property
    def length(self) -> int:
        """Local descriptors an image L, padding included."""

    def features(self, indices: ArrayLike, *, locals: int | None = None) -> Features:
        """Features of the images `indices` (n,), with their first `locals` descriptors; None: all.

        Padding reads as zeros. Raises BenchError for images or descriptors that the store does not have.
        """

    def chunks(
        self, size: int, *, locals: int | None = None
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Descriptors (n, L, D) and where they are valid (n, L), for `size` images at a time, in order."""


class Globals(Part, Protocol):
    """Global descriptors, which `bench.search` can go through."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, G)."""

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """Those of images [start, stop); what is mapped for it stays resident only as long as the result."""

    def rows(self, ids: ArrayLike) -> NDArray[np.float32]:
        """A copy of those of the images `ids` (n,)."""

    def array(self) -> NDArray[np.float32]:
        """All of them; not copied when they are memory-mapped as float32."""

    def features(self, indices: ArrayLike) -> Features:
        """Features with the global descriptors of the images `indices` (n,)."""


class Maps(Protocol):
    """A store of feature maps, as `bench.features.dense` makes it."""

    @property
    def path(self) -> Path: ...

    def __len__(self) -> int: ...

    def features(self, indices: ArrayLike) -> Features: ...


def in_chunks(store: Locals, size: int, locals: int | None) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """`Locals.chunks` of a store that has `features`."""
    for start in range(0, len(store), size):
        part = store.features(np.arange(start, min(start + size, len(store))), locals=locals)
        yield part.local.numpy(), part.valid.numpy()


def checked(indices: ArrayLike, path: Path, count: int) -> NDArray[np.int64]:
    """Numbers of images of a store of `count`; BenchError when they are none."""
    chosen = np.asarray(indices)
    if chosen.size == 0:
        chosen = chosen.reshape(0).astype(np.int64)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise BenchError(
            f"indices of shape {chosen.shape} and type {chosen.dtype}",
            wanted="a list of image numbers",
            cure="Pass one row of a shortlist.",
        )
    if chosen.size and (chosen.min() < 0 or chosen.max() >= count):
        raise BenchError(
            f"image numbers from {chosen.min()} to {chosen.max()} asked of {path}",
            wanted=f"0 to {count - 1}, for it has {count} images",
            cure="Check that the shortlist and the store belong to one data set.",
        )
    return chosen.astype(np.int64)


def count_of(store: Locals, locals: int | None) -> int:
    """How many local descriptors an image to read; BenchError for more than the store has."""
    if locals is not None and not 1 <= locals <= store.length:
        raise BenchError(
            f"{locals} local descriptors an image asked of {store.path}",
            wanted=f"1 to {store.length}, which is what it holds",
            cure="Extract a longer store, or ask for fewer.",
        )
    return locals or store.length


def check_count(path: Path, seen: int, count: int | None) -> None:
    """BenchError unless there are `count` images, if that is known."""
    if count is not None and seen != count:
        raise BenchError(
            f"{seen:,} images in {path}",
            wanted=f"{count:,}, as the list of images has",
            cure="Check that the file belongs to this list of images.",
        )
