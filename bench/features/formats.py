"""The kinds of files that descriptors lie in: what is in them, and where."""

from __future__ import annotations

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import h5py
import numpy as np
import torch

from bench.errors import BenchError
from bench.features.layout import DESCRIPTOR_FIELD, GLOBAL, LOCAL, METADATA_FIELD, open_hdf5
from bench.features.rows import Field, FileRows, Rows

#: What is mapped as it lies; HDF5 also converts the same types of the other byte order.
MAPPED = (np.dtype("<f2"), np.dtype("<f4"))
READ = (*MAPPED, *(one.newbyteorder() for one in MAPPED))
#: How files begin that torch.save wrote before it wrote zip files.
OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def global_rows(path: Path, count: int | None) -> tuple[Rows, dict[str, Any]]:
    """The global descriptors in a file of any kind, and its attributes.

    HDF5 with a dataset `global`, `.npy`, what torch.save wrote, or, when the number of images is known, raw float32.
    Raises BenchError when the file is missing, cut short or of another kind.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(OLD_TORCH))
    except OSError as error:
        raise BenchError(
            f"cannot read {path} ({error.strerror})",
            wanted="a file of global descriptors",
            cure="Check the path, or extract the descriptors first.",
        ) from error
    if start.startswith(b"\x89HDF"):
        with open_hdf5(path) as file:
            name = GLOBAL if GLOBAL in file or LOCAL not in file else LOCAL  # as ELViS calls them too
        return hdf5_rows(path, name)
    if start.startswith(b"\x93NUMPY"):
        return npy_rows(path), {}
    if start.startswith(b"PK\x03\x04"):
        return torch_rows(path), {}
    if count is not None and start != OLD_TORCH:
        return raw_rows(path, count), {}
    raise BenchError(
        f"{path} is neither HDF5 nor NumPy's format nor what torch.save writes today",
        wanted="to know how many images it has, if it is a raw float32 memory map",
        cure="Say how many, or convert the file.",
    )


def hdf5_rows(path: Path, name: str) -> tuple[Rows, dict[str, Any]]:
    """The dataset `name` of an HDF5 file, and the file's attributes.

    Raises BenchError when the file is missing, cut short or not HDF5, or the dataset is missing, empty, in parts of
    which some are missing, or neither float16 nor float32.
    """
    file = open_hdf5(path)
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise BenchError(
            f"no dataset {name!r} in {path} (it has {', '.join(file) or 'nothing'})",
            wanted=f"the dataset {name!r}",
            cure="Convert the file to this layout.",
        )
    if dataset.dtype not in READ:
        raise wrong_type(f"dataset {name!r} in {path}", dataset.dtype)
    if not dataset.size:
        raise BenchError(
            f"the dataset {name!r} of shape {dataset.shape} in {path} is empty",
            wanted="at least one image",
            cure="Extract or fetch it again.",
        )
    _check_sources(dataset, path)
    attributes, offset = dict(file.attrs), dataset.id.get_offset()
    if offset is None or dataset.dtype not in MAPPED:
        return dataset, attributes  # the file stays open as long as its dataset is in use
    rows = FileRows(path, dataset.dtype, dataset.shape, offset)
    file.close()
    return rows, attributes


def local_rows(path: Path) -> tuple[Rows, Rows | None, dict[str, Any]]:
    """Local descriptors: their rows, with the columns in front; or rows of descriptors alone, and those of the columns.

    The latter where the file keeps both as fields, as files of AMES do. Raises BenchError as `hdf5_rows`.
    """
    file = open_hdf5(path)
    dataset = file.get(LOCAL)
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.names is None:
        file.close()
        rows, attributes = hdf5_rows(path, LOCAL)
        return rows, None, attributes
    fields = dataset.dtype.fields or {}
    if dataset.ndim != 1 or not dataset.size or {METADATA_FIELD, DESCRIPTOR_FIELD} - fields.keys():
        raise wrong_type(f"dataset {LOCAL!r} in {path}", dataset.dtype)
    offset = dataset.id.get_offset()
    found: list[Rows] = []
    for name in (DESCRIPTOR_FIELD, METADATA_FIELD):
        inner, within = fields[name][:2]
        kind, shape = inner.subdtype or (inner, ())
        if kind not in READ or len(shape) != 2:
            raise wrong_type(f"field {name!r} of {LOCAL!r} in {path}", inner)
        if offset is None or kind not in MAPPED:
            found.append(Field(dataset, name))
        else:
            rows = (len(dataset), *shape)
            found.append(FileRows(path, kind, rows, offset + within, stride_bytes=dataset.dtype.itemsize))
    return found[0], found[1], dict(file.attrs)


def npy_rows(path: Path) -> FileRows:
    """The array in a `.npy` file; BenchError when it is cut short, not float16 or float32, or holds objects."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise BenchError(
            f"cannot read {path} ({error})", wanted="a whole .npy file of numbers", cure="Extract or fetch it again."
        ) from error
    if array.dtype not in MAPPED or not array.flags.c_contiguous or not array.size:
        raise wrong_type(f"array of shape {array.shape} in {path}", array.dtype)
    return FileRows(path, array.dtype, array.shape, array.offset)


def torch_rows(path: Path) -> FileRows:
    """The one tensor that torch.save wrote; BenchError for anything else, of which nothing is executed."""
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        offset = _record_offset(path)
    except (OSError, RuntimeError, UnpicklingError, ValueError, zipfile.BadZipFile) as error:
        raise BenchError(
            f"cannot read {path} ({str(error).splitlines()[0]})",
            wanted="one tensor as torch.save writes it",
            cure="Extract or fetch it again.",
        ) from error
    if not isinstance(tensor, torch.Tensor) or not tensor.is_contiguous() or not tensor.numel():
        shape = getattr(tensor, "shape", "")
        raise wrong_type(f"{type(tensor).__name__} {tuple(shape)} in {path}", "no contiguous tensor")
    if tensor.dtype not in (torch.float16, torch.float32):
        raise wrong_type(f"tensor in {path}", tensor.dtype)
    dtype = np.dtype("<f2" if tensor.dtype == torch.float16 else "<f4")
    return FileRows(path, dtype, tuple(tensor.shape), offset + int(tensor.storage_offset()) * dtype.itemsize)


def raw_rows(path: Path, count: int) -> FileRows:
    """The raw float32 memory map of `count` images; their width follows from the file's size."""
    size_bytes = path.stat().st_size
    if count < 1 or size_bytes == 0 or size_bytes % (4 * count):
        raise BenchError(
            f"{path} has {size_bytes:,} bytes",
            wanted=f"{count:,} rows of float32, all of one width",
            cure="Check that the file belongs to this list of images; if so, it is cut short: fetch it again.",
        )
    return FileRows(path, np.dtype("<f4"), (count, size_bytes // (4 * count)))


def wrong_type(seen: str, dtype: object) -> BenchError:
    """The error for numbers of a type that no descriptors have."""
    return BenchError(
        f"{seen} of type {dtype}",
        wanted="rows of float16 or float32",
        cure="Convert it, or check that the right file lies there.",
    )


def _check_sources(dataset: h5py.Dataset, path: Path) -> None:
    """BenchError when a part of a virtual dataset is missing, for HDF5 would read zeros in its place."""
    for name in {source.file_name for source in dataset.virtual_sources()} if dataset.is_virtual else ():
        if name != "." and not (path.parent / name).exists():
            raise BenchError(
                f"{path} reads a part of {dataset.name!r} from {name}, which is not there",
                wanted="all parts of a virtual dataset beside it",
                cure=f"Put {name} into {path.parent}.",
            )


def _record_offset(path: Path) -> int:
    """Where the bytes of the only storage begin in the zip file that torch.save writes (they are not compressed)."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        (record,) = [one for one in archive.infolist() if one.filename.rsplit("/", 2)[1:] == ["data", "0"]]
        file.seek(record.header_offset + 26)  # of the local header, whose extra field is its own
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
    return record.header_offset + 30 + name + extra
