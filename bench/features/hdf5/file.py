"""A file, its attributes and its datasets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.features.hdf5.attributes import attributes
from bench.features.hdf5.content import Content, Cursor, Damaged
from bench.features.hdf5.layouts import Layout, filters_of, layout_of
from bench.features.hdf5.objects import EXTERNAL, FILTERS, LAYOUT, SPACE, TYPE, links, messages, root
from bench.features.hdf5.types import dtype_of, shape_of

MOST_SIDE = 1 << 40


@dataclass(frozen=True)
class Dataset:
    """shape: None for one without a place for anything. layout: None where there is nothing to read."""

    dtype: np.dtype
    shape: tuple[int, ...] | None
    layout: Layout | None

    @property
    def size(self) -> int:
        return 0 if self.shape is None else math.prod(self.shape)


class File:
    """An HDF5 file, opened for reading; raises Damaged, or whatever else bytes at random lead to."""

    def __init__(self, path: Path) -> None:
        self.content = Content(path)
        self._root = messages(self.content, root(self.content))
        self.links = links(self.content, self._root)

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Of the file: numbers and text."""
        return attributes(self.content, self._root)

    def dataset(self, name: str, *, known: tuple[np.dtype, ...] | None = None) -> Dataset | None:
        """A dataset of the root, None where there is none of this name.

        known: types whose rows are looked for; of others it is enough to know which they are.
        """
        if name not in self.links:
            return None
        found = messages(self.content, self.links[name])
        if not {LAYOUT, SPACE, TYPE} <= found.keys():
            return None
        if EXTERNAL in found:
            raise Damaged(f"the dataset {name!r} in other files")
        dtype, shape = dtype_of(Cursor(found[TYPE][0])), shape_of(Cursor(found[SPACE][0]))
        if shape is None or not math.prod(shape) or (known is not None and dtype.names is None and dtype not in known):
            return Dataset(dtype, shape, None)
        if max(shape, default=0) > MOST_SIDE or not dtype.itemsize:
            raise Damaged(f"a dataset of shape {shape}")
        filters = filters_of(Cursor(found[FILTERS][0])) if FILTERS in found else ()
        layout = layout_of(self.content, Cursor(found[LAYOUT][0]), shape, dtype.itemsize, filters)
        return Dataset(dtype, shape, layout)
