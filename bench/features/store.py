"""Stored descriptors, read where they lie: only the rows that are asked for leave the disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import h5py
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from bench.errors import BenchError
from bench.features.layout import (
    DESCRIPTOR,
    FINGERPRINT,
    GLOBAL,
    GLOBAL_FILE,
    LOCAL,
    LOCAL_FILE,
    MASK,
    SCALE,
    SIZE,
    SIZE_FILE,
    WEIGHT,
    X,
    cut_short,
    open_hdf5,
)
from rerankers.interface import Features

#: Rows of float32, memory-mapped where the file allows it; an HDF5 dataset where it is compressed or of another type.
Rows: TypeAlias = NDArray[np.float32] | h5py.Dataset


LOCAL_FIELDS = frozenset({"local", "xy", "size", "scale", "valid", "weight"})


class Maps(Protocol):
    """A store of feature maps, as `bench.features.dense` makes it."""

    @property
    def path(self) -> Path: ...

    def __len__(self) -> int: ...

    def features(self, indices: ArrayLike) -> Features: ...


@dataclass(frozen=True)
class LocalStore:
    """Local descriptors of N images: rows (N, L, 5 + D) in the columns of `bench.features.layout`.

    fingerprint: of the images and the extraction they come from; None in files from elsewhere.
    """

    path: Path
    rows: Rows
    fingerprint: str | None = None

    @classmethod
    def open(cls, path: Path) -> LocalStore:
        """The store in an HDF5 file with a dataset `features`, ours or a published one (of any float type).

        Raises BenchError when the file is missing, cut short, not HDF5, or laid out otherwise.
        """
        rows, fingerprint = _open_hdf5(Path(path), LOCAL)
        if len(rows.shape) != 3 or rows.shape[2] <= DESCRIPTOR:
            raise BenchError(
                f"dataset {LOCAL!r} of shape {rows.shape} in {path}",
                wanted="(N, L, 5 + D): x, y, scale, mask, weight, descriptor",
                cure="Convert the file to this layout.",
            )
        return cls(Path(path), rows, fingerprint)

    def __len__(self) -> int:
        """Number of images N."""
        return int(self.rows.shape[0])

    @property
    def length(self) -> int:
        """Local descriptors an image L, padding included."""
        return int(self.rows.shape[1])

    @property
    def dim(self) -> int:
        """Width D of a descriptor."""
        return int(self.rows.shape[2]) - DESCRIPTOR

    def features(self, indices: ArrayLike, *, locals: int | None = None) -> Features:
        """Features of the images `indices` (n,), with their first `locals` descriptors; None: all.

        Padding reads as zeros, whatever the file holds there. Raises BenchError for images or descriptors that
        the store does not have.
        """
        chosen = _checked(indices, self.path, len(self))
        count = self._count(locals)
        columns = _take(self.rows, chosen, count, slice(0, DESCRIPTOR))
        descriptors = _take(self.rows, chosen, count, slice(DESCRIPTOR, None))
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
        """Descriptors (n, L, D) and where they are valid (n, L), for `size` images at a time, in order."""
        for start in range(0, len(self), size):
            part = self.features(np.arange(start, min(start + size, len(self))), locals=locals)
            yield part.local.numpy(), part.valid.numpy()

    def _count(self, locals: int | None) -> int:
        if locals is not None and not 1 <= locals <= self.length:
            raise BenchError(
                f"{locals} local descriptors an image asked of {self.path}",
                wanted=f"1 to {self.length}, which is what it holds",
                cure="Extract a longer store, or ask for fewer.",
            )
        return locals or self.length


@dataclass(frozen=True)
class GlobalStore:
    """Global descriptors of N images: rows (N, G)."""

    path: Path
    rows: Rows
    fingerprint: str | None = None

    @classmethod
    def open(cls, path: Path, *, shape: tuple[int, int] | None = None) -> GlobalStore:
        """The store in an HDF5 file with a dataset `global`, a `.npy` file, or raw float32 of a known `shape`.

        Raises BenchError when the file is missing, cut short, or laid out otherwise.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                start = file.read(8)
        except OSError as error:
            raise BenchError(
                f"cannot read {path} ({error.strerror})",
                wanted="a file of global descriptors",
                cure="Check the path, or extract the descriptors first.",
            ) from error
        fingerprint = None
        if start.startswith(b"\x89HDF"):
            rows, fingerprint = _open_hdf5(path, GLOBAL)
        elif start.startswith(b"\x93NUMPY"):
            rows = _open_npy(path)
        elif shape is not None:
            rows = _map(path, 0, shape)
        else:
            raise BenchError(
                f"{path} is neither HDF5 nor NumPy's format",
                wanted="its shape (N, G), if it is a raw float32 memory map",
                cure="Say how many images and how wide.",
            )
        if len(rows.shape) != 2 or (shape is not None and tuple(rows.shape) != tuple(shape)):
            raise BenchError(
                f"global descriptors of shape {rows.shape} in {path}",
                wanted=f"{shape or '(N, G)'}",
                cure="Check that the file belongs to this data set.",
            )
        return cls(path, rows, fingerprint)

    def __len__(self) -> int:
        """Number of images N."""
        return int(self.rows.shape[0])

    @property
    def dim(self) -> int:
        """Width G of a descriptor."""
        return int(self.rows.shape[1])

    def array(self) -> NDArray[np.float32]:
        """All descriptors (N, G), for the first stage; not copied when they are memory-mapped as float32."""
        return np.asarray(self.rows[:], dtype=np.float32)

    def features(self, indices: ArrayLike) -> Features:
        """Features with the global descriptors of the images `indices` (n,)."""
        return Features(global_=torch.from_numpy(_take(self.rows, _checked(indices, self.path, len(self)))))


@dataclass(frozen=True)
class DescriptorStore:
    """All descriptors of the same N images; a part is None where it was not extracted."""

    local: LocalStore | None = None
    global_: GlobalStore | None = None
    #: (N, 2) width and height of the described images in pixels; published stores do not say.
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
    def open(cls, folder: Path) -> DescriptorStore:
        """What `bench.features.extract.describe` put into `folder`."""
        path, sizes = folder / GLOBAL_FILE, folder / SIZE_FILE
        return cls(
            LocalStore.open(folder / LOCAL_FILE),
            GlobalStore.open(path) if path.exists() else None,
            _open_hdf5(sizes, SIZE)[0] if sizes.exists() else None,
        )

    def __len__(self) -> int:
        """Number of images N."""
        return max((len(part) for part in (self.local, self.global_) if part is not None), default=0)

    def features(
        self, indices: ArrayLike, *, locals: int | None = None, needs: Collection[str] | None = None
    ) -> Features:
        """Features of the images `indices` (n,), with their first `locals` local descriptors; None: all.

        needs: fields of Features that will be read; without a local one among them, none is taken from the disk.
        """
        wanted = self.local if needs is None or LOCAL_FIELDS & set(needs) else None
        found = Features() if wanted is None else wanted.features(indices, locals=locals)
        if self.size is not None and wanted is not None:
            chosen = _checked(indices, Path(SIZE_FILE), len(self.size))
            found = replace(found, size=torch.from_numpy(_take(self.size, chosen)))
        if self.dense is not None and (needs is None or "dense" in needs):
            found = replace(found, dense=self.dense.features(indices).dense)
        if self.global_ is None:
            return found
        return replace(found, global_=self.global_.features(indices).global_)


def _open_hdf5(path: Path, name: str) -> tuple[Rows, str | None]:
    file = open_hdf5(path)
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != "f":
        raise BenchError(
            f"no floating-point dataset {name!r} in {path} (it has {', '.join(file) or 'nothing'})",
            wanted=f"the dataset {name!r}",
            cure="Convert the file to this layout.",
        )
    fingerprint = file.attrs.get(FINGERPRINT)
    offset = dataset.id.get_offset()
    if offset is None or dataset.dtype != np.dtype("<f4"):
        return dataset, fingerprint  # the file stays open as long as its dataset is in use
    shape = dataset.shape
    file.close()
    return _map(path, offset, shape), fingerprint


def _open_npy(path: Path) -> NDArray[np.float32]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise BenchError(
            f"cannot read {path} ({error})", wanted="a whole .npy file of numbers", cure="Extract or fetch it again."
        ) from error


def _map(path: Path, offset: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Float32 rows mapped from the file, as a plain array."""
    size, wanted = path.stat().st_size, offset + 4 * int(np.prod(shape))
    if size < wanted or (offset == 0 and size != wanted):
        raise cut_short(path, size, wanted)
    return np.asarray(np.memmap(path, dtype="<f4", mode="r", offset=offset, shape=tuple(shape)))


def _checked(indices: ArrayLike, path: Path, count: int) -> NDArray[np.int64]:
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


def _take(
    rows: Rows, chosen: NDArray[np.int64], count: int | None = None, columns: slice | None = None
) -> NDArray[np.float32]:
    """A fresh float32 copy of the chosen rows, their first `count` entries and these columns of each."""
    inner = () if columns is None else (slice(count), columns)
    if not isinstance(rows, h5py.Dataset):
        return np.ascontiguousarray(rows[(chosen, *inner)], dtype=np.float32)
    taken = np.empty((len(chosen), *rows[(slice(0), *inner)].shape[1:]), dtype=np.float32)
    for place in np.argsort(chosen):  # in the order of the file, so that a compressed chunk is read once
        taken[place] = rows[(int(chosen[place]), *inner)]
    return taken
