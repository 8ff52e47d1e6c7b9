"""The layout of descriptor files, and opening them.

Local descriptors: dataset `features` (N, L, 5 + D), as published ones have it, or (N,) of two fields, `metadata`
(L, 5) and `descriptor` (L, D). Global ones of our own: dataset `global` (N, G), of others `features` (N, G). Sizes of
the described images: `size` (N, 2), width and height in pixels.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py

from bench.errors import BenchError

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


def open_hdf5(path: Path) -> h5py.File:
    """The file, for reading; BenchError when it is missing, cut short, or not HDF5."""
    try:
        path.open("rb").close()
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        # HDF5 tells only in words that a file is shorter than its header says.
        cut = re.search(r"truncated file: eof = (\d+),.*stored_eof = (\d+)", str(error))
        if cut:
            raise cut_short(path, int(cut[1]), int(cut[2])) from error
        raise BenchError(
            f"cannot read {path} as HDF5 ({error.strerror or error})",
            wanted="a whole HDF5 file",
            cure="Check the path; if the file is damaged, delete it and extract again.",
        ) from error


def cut_short(path: Path, seen: int, wanted: int) -> BenchError:
    """The error for a file of `seen` bytes that should have `wanted`."""
    return BenchError(
        f"{path} has {seen:,} bytes", wanted=f"{wanted:,}", cure="Delete it and extract (or fetch) it again."
    )
