"""The layout of descriptor files, and opening them.

Local descriptors: dataset `features` (N, L, 5 + D), as published ones have it, or (N,) of two fields, `metadata`
(L, 5) and `descriptor` (L, D). Global ones of our own: dataset `global` (N, G), of others `features` (N, G). Sizes of
the described images: `size` (N, 2), width and height in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from bench.features import hdf5

LAYOUT_VERSION = 1
LOCAL, GLOBAL, SIZE, MAPS = "features", "global", "size", "maps"
#: Of one list of images, side by side in a folder.
LOCAL_FILE, GLOBAL_FILE, SIZE_FILE, MAPS_FILE = "local.hdf5", "global.hdf5", "size.hdf5", "maps.hdf5"
#: Names under which global descriptors lie, ours and others'; the first that exists is read.
GLOBAL_FILES = tuple(f"{kind}.{ending}" for kind in ("global", "cls") for ending in ("hdf5", "npy", "pt"))
#: Says that the images beside it are made up, and of what.
DISTRACTORS_FILE = "distractors.json"
#: Attribute with a hash of what the descriptors come from.
FINGERPRINT = "fingerprint"
#: Attributes with how the descriptors were made, in words, and with what `xy` means where it is not pixels.
ABOUT, XY = "about", "xy"
#: What `xy` means in published files: the place's row comes first.
ROW_COLUMN = "row, column in 0..1"

#: Columns of `features`; mask is 1 for padding, and the descriptor goes on to the last column.
X, Y, SCALE, MASK, WEIGHT, DESCRIPTOR = range(6)
#: Fields of compound files: those columns, and the descriptor.
METADATA_FIELD, DESCRIPTOR_FIELD = "metadata", "descriptor"


@contextmanager
def open_hdf5(path: Path) -> Iterator[hdf5.File]:
    """The file, for reading; BenchError when it is missing, cut short, not HDF5, or of a kind that is not read."""
    try:
        with described(path):
            yield hdf5.File(path)
    except OSError as error:
        raise BenchError(
            f"cannot read {path} as HDF5 ({error.strerror or error})",
            wanted="a whole HDF5 file",
            cure="Check the path, or extract the descriptors first.",
        ) from error


@contextmanager
def described(path: Path) -> Iterator[None]:
    """Turns what damaged bytes lead to into BenchError."""
    try:
        yield
    except (BenchError, OSError):
        raise
    except hdf5.Short as error:
        raise cut_short(path, error.seen, error.wanted) from error
    except Exception as error:  # bytes at random can make anything of numbers and text
        raise BenchError(
            f"cannot read {path} as HDF5 ({error if isinstance(error, hdf5.Damaged) else repr(error)})",
            wanted="a whole HDF5 file, as h5py writes it unless told otherwise",
            cure="If it is damaged, delete it and extract (or fetch) it again; else rewrite it with `h5repack`.",
        ) from error


def cut_short(path: Path, seen: int, wanted: int) -> BenchError:
    """The error for a file of `seen` bytes that should have `wanted`."""
    return BenchError(
        f"{path} has {seen:,} bytes", wanted=f"{wanted:,}", cure="Delete it and extract (or fetch) it again."
    )
