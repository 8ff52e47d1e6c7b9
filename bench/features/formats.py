"""The kinds of files that descriptors lie in: what is in them, and where."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.errors import BenchError
from bench.features import hdf5
from bench.features.chunked import ChunkRows, PartRows
from bench.features.layout import DESCRIPTOR_FIELD, GLOBAL, LOCAL, METADATA_FIELD, open_hdf5
from bench.features.rows import LONGEST_BYTES, FileRows, Rows, Stored
from rerankers import torch_files
from rerankers.errors import RerankError

NAMES = ("<f2", "<f4", ">f2", ">f4")
READ = tuple(map(np.dtype, NAMES))
#: The one form in which NumPy writes the heading of an array of numbers.
_NPY = re.compile(rb"\{'descr': '([<>|]\w\d{1,2})', 'fortran_order': False, 'shape': \((\d+(?:, ?\d+)*),?\), ?\} *\n")


def global_rows(path: Path, count: int | None) -> tuple[Rows, dict[str, Any]]:
    """The global descriptors in a file of any kind, and its attributes.

    HDF5 with a dataset `global`, `.npy`, what torch.save wrote, or, when the number of images is known, raw float32.
    Raises BenchError when the file is missing, cut short or of another kind.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(torch_files.LEGACY))
    except OSError as error:
        raise BenchError(
            f"cannot read {path} ({error.strerror})",
            wanted="a file of global descriptors",
            cure="Check the path, or extract the descriptors first.",
        ) from error
    if start.startswith(b"\x89HDF"):
        with open_hdf5(path) as file:
            name = LOCAL if LOCAL in file.links and GLOBAL not in file.links else GLOBAL  # as ELViS calls them too
        return hdf5_rows(path, name)
    if start.startswith(b"\x93NUMPY"):
        return npy_rows(path), {}
    if start.startswith(torch_files.ZIP):
        return torch_rows(path), {}
    if count is not None and start != torch_files.LEGACY:
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
    with open_hdf5(path) as file:
        return _rows(file, name), file.attributes


def _rows(file: hdf5.File, name: str, *, alone: bool = False) -> Stored:
    """alone: as a part of a virtual dataset, which is none itself."""
    path, dataset = file.content.path, file.dataset(name, known=READ)
    if dataset is None:
        raise BenchError(
            f"no dataset {name!r} in {path} (it has {', '.join(sorted(file.links)) or 'nothing'})",
            wanted=f"the dataset {name!r}",
            cure="Convert the file to this layout.",
        )
    shape, layout = dataset.shape, dataset.layout
    if dataset.dtype not in READ:
        raise wrong_type(f"dataset {name!r} in {path}", dataset.dtype)
    if not shape or layout is None:
        raise BenchError(
            f"the dataset {name!r} of shape {shape} in {path} is empty",
            wanted="at least one image",
            cure="Extract or fetch it again.",
        )
    if math.prod(shape[1:]) * dataset.dtype.itemsize > LONGEST_BYTES:
        raise hdf5.Damaged(f"rows of shape {shape[1:]}")
    if isinstance(layout, hdf5.Contiguous):
        return FileRows(path, dataset.dtype, shape, layout.offset)
    if isinstance(layout, hdf5.Chunked):
        return ChunkRows(file.content, dataset.dtype, shape, layout)
    if alone:
        raise hdf5.Damaged(f"{name!r} of a virtual dataset, which is virtual itself")
    parts = []
    for source in layout.sources:
        part = _source(file, source, name)
        if source.first + source.stop - source.start > len(part) or part.shape[1:] != shape[1:]:
            raise hdf5.Damaged(f"a part of {name!r} of shape {part.shape} in {source.file}")
        parts.append((part, source.first, source.first + source.stop - source.start))
    return PartRows(parts, shape, dataset.dtype)


def local_rows(path: Path) -> tuple[Rows, Rows | None, dict[str, Any]]:
    """Local descriptors: their rows, with the columns in front; or rows of descriptors alone, and those of the columns.

    The latter where the file keeps both as fields, as files of AMES do. Raises BenchError as `hdf5_rows`.
    """
    with open_hdf5(path) as file:
        dataset = file.dataset(LOCAL, known=READ)
        if dataset is None or dataset.dtype.names is None:
            return _rows(file, LOCAL), None, file.attributes
        fields: Mapping[str, Any] = dataset.dtype.fields or {}
        shape = dataset.shape
        if not shape or len(shape) != 1 or not dataset.size or {METADATA_FIELD, DESCRIPTOR_FIELD} - fields.keys():
            raise wrong_type(f"dataset {LOCAL!r} in {path}", dataset.dtype)
        found: list[Rows] = []
        for name in (DESCRIPTOR_FIELD, METADATA_FIELD):
            inner, within = fields[name][:2]
            if inner.base not in READ or len(inner.shape) != 2 or not math.prod(inner.shape):
                raise wrong_type(f"field {name!r} of {LOCAL!r} in {path}", inner)
            if isinstance(dataset.layout, hdf5.Contiguous):
                offset, step = dataset.layout.offset + within, dataset.dtype.itemsize
                found.append(FileRows(path, inner.base, (*shape, *inner.shape), offset, stride_bytes=step))
            elif isinstance(dataset.layout, hdf5.Chunked):
                found.append(ChunkRows(file.content, dataset.dtype, shape, dataset.layout, field=name))
            else:
                raise hdf5.Damaged("fields of a virtual dataset")
        return found[0], found[1], file.attributes


def npy_rows(path: Path) -> FileRows:
    """The array in a `.npy` file; BenchError when it is cut short, not float16 or float32, or holds objects."""
    # Not np.load, which evaluates the heading.
    with path.open("rb") as file:
        start = file.read(12)
        before = 10 if start[6:7] == b"\1" else 12
        length = int.from_bytes(start[8:before], "little")
        heading = (start[before:] + file.read(min(length, 4096)))[:length]
    said = _NPY.fullmatch(heading)
    if said is None or len(said[2]) > 200:
        raise BenchError(
            f"cannot read {path} (it begins with {heading[:80]!r})",
            wanted="a whole .npy file of numbers, row by row",
            cure="Extract or fetch it again.",
        )
    dtype, shape = said[1].decode(), tuple(map(int, said[2].split(b",")))
    if not math.prod(shape) or dtype not in NAMES:
        raise wrong_type(f"array of shape {shape} in {path}", dtype)
    return FileRows(path, np.dtype(dtype), shape, before + length)


def torch_rows(path: Path) -> FileRows:
    """The one tensor that torch.save wrote; BenchError for anything else, of which nothing is executed."""
    try:
        tensor = torch_files.load(path, meta=True)
        offset = _record_offset(path)
    except Exception as error:  # whatever a zip reader raises on bytes that torch did not write
        seen = error.seen if isinstance(error, RerankError) else torch_files.first_line(error)
        raise BenchError(
            f"cannot read {path} ({seen})",
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


def _source(file: hdf5.File, source: hdf5.Source, name: str) -> Stored:
    """The rows of a part of a virtual dataset, which lies in the same file or in one beside it."""
    path, part = file.content.path, source.dataset.removeprefix("/")
    if source.file == ".":
        return _rows(file, part, alone=True)
    if Path(source.file).name != source.file:
        raise hdf5.Damaged(f"a part of {name!r} in {source.file!r}, which is not beside it")
    beside = path.parent / source.file
    if not beside.is_file():
        # HDF5 itself would read zeros in its place
        raise BenchError(
            f"{path} reads a part of {'/' + name!r} from {source.file}, which is not there",
            wanted="all parts of a virtual dataset beside it",
            cure=f"Put {source.file} into {path.parent}.",
        )
    with open_hdf5(beside) as other:
        return _rows(other, part, alone=True)


def _record_offset(path: Path) -> int:
    """Where the bytes of the only storage begin in the zip file that torch.save writes (they are not compressed)."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        (record,) = [one for one in archive.infolist() if one.filename.rsplit("/", 2)[1:] == ["data", "0"]]
        file.seek(record.header_offset + 26)  # of the local header, whose extra field is its own
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
    return record.header_offset + 30 + name + extra
