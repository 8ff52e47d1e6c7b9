"""Stored descriptors, read where they lie: only the rows that are asked for leave the disk."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bench.errors import BenchError
from bench.features.formats import global_rows, hdf5_rows, local_rows
from bench.features.joined import JoinedGlobals, JoinedLocals, joined_sizes
from bench.features.layout import (
    ABOUT,
    DESCRIPTOR,
    DISTRACTORS_FILE,
    FINGERPRINT,
    GLOBAL_FILES,
    LOCAL,
    LOCAL_FILE,
    MASK,
    ROW_COLUMN,
    SCALE,
    SIZE,
    SIZE_FILE,
    WEIGHT,
    XY,
    X,
)
from bench.features.parts import Globals, Locals, Maps, check_count, checked, count_of, in_chunks
from bench.features.rows import Rows, block, copy_to, take, take_in_parts, to_float32
from rerankers.interface import Features

LOCAL_FIELDS = frozenset({"local", "xy", "size", "scale", "valid", "weight"})


@dataclass(frozen=True)
class LocalStore:
    """Local descriptors of N images: rows (N, L, 5 + D) in the columns of `bench.features.layout`.

    columns: (N, L, 5), where the file keeps them apart, and rows are (N, L, D). See `bench.features.parts.Locals` for
    what is not said here.
    """

    path: Path
    rows: Rows
    fingerprint: str | None = None
    about: str | None = None
    xy_convention: str | None = None
    columns: Rows | None = None

    @classmethod
    def open(cls, path: Path) -> LocalStore:
        """The store in an HDF5 file with a dataset `features` of float16 or float32, ours or a published one.

        Raises BenchError when the file is missing, cut short, not HDF5, or laid out otherwise.
        """
        rows, columns, attributes = local_rows(Path(path))
        least = DESCRIPTOR if columns is None else 0
        apart = columns is None or columns.shape == (*rows.shape[:2], DESCRIPTOR)
        if len(rows.shape) != 3 or rows.shape[2] <= least or not apart:
            raise BenchError(
                f"dataset {LOCAL!r} of shape {rows.shape} in {path}",
                wanted="(N, L, 5 + D): x, y, scale, mask, weight, descriptor",
                cure="Convert the file to this layout.",
            )
        fingerprint = attributes.get(FINGERPRINT)
        convention = attributes.get(XY, None if fingerprint else ROW_COLUMN)  # files of others do not say it
        return cls(Path(path), rows, fingerprint, attributes.get(ABOUT), convention, columns)

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def length(self) -> int:
        return int(self.rows.shape[1])

    @property
    def dim(self) -> int:
        return int(self.rows.shape[2]) - self._first

    @property
    def _first(self) -> int:
        """Where in a row the descriptor begins."""
        return DESCRIPTOR if self.columns is None else 0

    def features(self, indices: ArrayLike, *, locals: int | None = None) -> Features:
        """See `Locals`. Padding reads as zeros, whatever the file holds there."""
        chosen, count = checked(indices, self.path, len(self)), count_of(self, locals)
        columns = np.empty((len(chosen), count, DESCRIPTOR), np.float32)
        descriptors = np.empty((len(chosen), count, self.dim), np.float32)
        for part, rows in take_in_parts(self.rows, chosen, count):
            apart = rows if self.columns is None else take(self.columns, chosen[part], count)
            copy_to(columns[part], apart[:, :, :DESCRIPTOR])
            copy_to(descriptors[part], rows[:, :, self._first :])
        padding = columns[:, :, MASK] != 0
        if padding.any():
            columns[padding] = 0
            descriptors[padding] = 0
        return Features(
            local=torch.from_numpy(descriptors),
            xy=torch.from_numpy(columns[:, :, X : X + 2].copy()),
            scale=torch.from_numpy(columns[:, :, SCALE].copy()),
            valid=torch.from_numpy(~padding),
            weight=torch.from_numpy(columns[:, :, WEIGHT].copy()),
        )

    def chunks(
        self, size: int, *, locals: int | None = None
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        return in_chunks(self, size, locals)


@dataclass(frozen=True)
class GlobalStore:
    """Global descriptors of N images: stored rows (N, G). See `bench.features.parts.Globals`."""

    path: Path
    stored: Rows
    fingerprint: str | None = None
    about: str | None = None

    @classmethod
    def open(cls, path: Path, *, count: int | None = None) -> GlobalStore:
        """The store in an HDF5 file with a dataset `global`, a `.npy` file, a tensor that torch.save wrote, or raw
        float32 of `count` images; float16 as well but for the last.

        Raises BenchError when the file is missing, cut short, laid out otherwise, or not of `count` images.
        """
        path = Path(path)
        stored, attributes = global_rows(path, count)
        if len(stored.shape) != 2:
            raise BenchError(
                f"global descriptors of shape {stored.shape} in {path}",
                wanted="(N, G)",
                cure="Check that the file belongs to this data set.",
            )
        check_count(path, stored.shape[0], count)
        return cls(path, stored, attributes.get(FINGERPRINT), attributes.get(ABOUT))

    def __len__(self) -> int:
        return int(self.stored.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self.dim

    @property
    def dim(self) -> int:
        return int(self.stored.shape[1])

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        return block(self.stored, start, stop)

    def rows(self, ids: ArrayLike) -> NDArray[np.float32]:
        return to_float32(take(self.stored, checked(ids, self.path, len(self))))

    def array(self) -> NDArray[np.float32]:
        return self.block(0, len(self))

    def features(self, indices: ArrayLike) -> Features:
        return Features(global_=torch.from_numpy(self.rows(indices)))


@dataclass(frozen=True)
class DescriptorStore:
    """All descriptors of the same N images; a part is None where it was not extracted."""

    local: Locals | None = None
    global_: Globals | None = None
    #: (N, 2) width and height of the described images in pixels; files of others do not say.
    size: Rows | None = None
    dense: Maps | None = None

    def __post_init__(self) -> None:
        parts = [part for part in (self.local, self.global_, self.dense) if part is not None]
        counts = [(len(part), str(part.path)) for part in parts]
        if self.size is not None:
            counts.append((len(self.size), SIZE_FILE))
        if len({count for count, _ in counts}) > 1:
            raise BenchError(
                " and ".join(f"{count} images in {path}" for count, path in counts),
                wanted="the same images in all",
                cure="Extract them from one list of images.",
            )

    @classmethod
    def open(cls, folder: Path, stem: str = "", count: int | None = None) -> DescriptorStore:
        """Of the files `<stem>local.hdf5`, `<stem>global.hdf5` (or .npy, .pt) and `<stem>size.hdf5` those that exist.

        count: images that the list has. Where `bench.features.distractors` has made the folder: its distractors.
        Raises BenchError when there are neither local nor global descriptors, or not of `count` images.
        """
        if not stem and (folder / DISTRACTORS_FILE).exists():
            from bench.features.distractors import open_distractors  # which opens their parents by this class

            store = open_distractors(folder)
            check_count(folder, len(store), count)
            return store
        local, size = (folder / f"{stem}{name}" for name in (LOCAL_FILE, SIZE_FILE))
        globals_ = [path for name in GLOBAL_FILES if (path := folder / f"{stem}{name}").exists()]
        if not local.exists() and not globals_:
            raise _nothing(folder, stem)
        store = cls(
            LocalStore.open(local) if local.exists() else None,
            GlobalStore.open(globals_[0], count=count) if globals_ else None,
            hdf5_rows(size, SIZE)[0] if size.exists() else None,
        )
        check_count(local, len(store), count)
        return store

    @classmethod
    def joined(cls, parts: Sequence[DescriptorStore]) -> DescriptorStore:
        """One store whose images follow each other part after part, with the fields that all parts have.

        Where a part has fewer local descriptors an image than are asked for, padding follows. Raises BenchError
        when the widths differ, and when the parts have nothing in common.
        """
        store = cls(
            JoinedLocals.of([part.local for part in parts]),
            JoinedGlobals.of([part.global_ for part in parts]),
            joined_sizes([part.size for part in parts]),
        )
        if store.local is None and store.global_ is None:
            raise BenchError(
                f"{len(parts)} stores without any descriptors in common",
                wanted="local or global descriptors in all of them",
                cure="Extract what is missing.",
            )
        return store

    def __len__(self) -> int:
        """Number of images N."""
        return max((len(part) for part in (self.local, self.global_) if part is not None), default=0)

    def features(
        self, indices: ArrayLike, *, locals: int | None = None, needs: Collection[str] | None = None
    ) -> Features:
        """Features of the images `indices` (n,), with their first `locals` local descriptors; None: all.

        needs: fields of Features that will be read; without a local one among them, none is taken from the disk.
        Places are in pixels: None where a file has them from 0 to 1, and nobody knows the sizes of the images.
        """
        wanted = self.local if needs is None or LOCAL_FIELDS & set(needs) else None
        if wanted is None and self.global_ is None and self.dense is None:
            wanted, locals = self.local, 1  # something has to say how many images these are
        found = Features() if wanted is None else wanted.features(indices, locals=locals)
        if self.size is not None and wanted is not None:
            chosen = checked(indices, Path(SIZE_FILE), len(self.size))
            found = replace(found, size=torch.from_numpy(to_float32(take(self.size, chosen))))
        if wanted is not None and wanted.xy_convention == ROW_COLUMN:
            found = replace(found, xy=None if found.size is None else found.xy.flip(-1) * found.size[:, None])
        if self.dense is not None and (needs is None or "dense" in needs):
            found = replace(found, dense=self.dense.features(indices).dense)
        if self.global_ is None:
            return found
        return replace(found, global_=self.global_.features(indices).global_)


def _nothing(folder: Path, stem: str) -> BenchError:
    """The error for a folder without descriptors under this name: it lists what else is there."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    wanted = [f"{stem}{name}" for name in (LOCAL_FILE, *GLOBAL_FILES)]
    near = sorted(names, key=lambda name: -difflib.SequenceMatcher(None, name, wanted[0]).ratio())[:5]
    return BenchError(
        f"no descriptors in {folder} (it has {', '.join(near) or 'no files'})" if names else f"no folder {folder}",
        wanted=f"{' or '.join(wanted)} there",
        cure="Extract the descriptors, or check their name.",
    )
