"""A store on its way to the disk: filled by many processes, in any order, and resumed after any interruption.

The rows go to `<name>.partial`, an HDF5 file whose one dataset is contiguous and allocated in advance, so that
a row is a place in the file and needs no HDF5 to write. `<name>.journal` lists the finished runs of rows, each
with its checksum: a run counts only while its rows still match, so that neither a kill nor a power cut can leave
half a run that passes for a whole one. The file gets its name when everything is in it.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.features import hdf5
from bench.features.layout import FINGERPRINT, open_hdf5
from bench.files import unwritable
from bench.others import locked

logger = logging.getLogger(__name__)

ROW_TYPE = np.dtype("<f4")
#: What a row may consist of, as HDF5 names it.
STORED_AS = {ROW_TYPE: h5py.h5t.IEEE_F32LE, np.dtype("<f2"): h5py.h5t.IEEE_F16LE}
#: Of rows that are checked, read at once: a journal may name a run of any length.
CHECKED_BYTES = 16 << 20
Run = tuple[int, int]  # rows [start, stop)
Attributes = Mapping[str, str | int]


@dataclass(frozen=True)
class Target:
    """Where the rows lie in a file; enough for another process to read and write them."""

    path: Path
    offset: int
    row_bytes: int
    dtype: np.dtype = ROW_TYPE

    def write(self, start: int, rows: NDArray[np.floating]) -> int:
        """Writes rows from row `start` on; returns their checksum."""
        content = np.ascontiguousarray(rows, dtype=self.dtype).view(np.uint8).data
        # Not through a memory map, where a full disk would be a SIGBUS instead of an error.
        with self.path.open("r+b") as file:
            file.seek(self.offset + start * self.row_bytes)
            file.write(content)
        return zlib.crc32(content)

    def checksum(self, run: Run) -> int:
        """Of the rows as they lie in the file."""
        with self.path.open("rb") as file:
            file.seek(self.offset + run[0] * self.row_bytes)
            found, left = 0, (run[1] - run[0]) * self.row_bytes
            while data := file.read(min(left, CHECKED_BYTES)):
                found, left = zlib.crc32(data, found), left - len(data)
            return found


class Partial:
    """An unfinished store, held by this process alone."""

    def __init__(self, target: Target, rows: int, journal: IO[str], finished: set[Run]) -> None:
        self.target, self.rows = target, rows
        self._journal, self._finished = journal, finished

    @property
    def done(self) -> int:
        """Rows that are finished."""
        return sum(stop - start for start, stop in self._finished)

    def missing(self, size: int) -> list[Run]:
        """The runs of `size` rows that are still to be written."""
        runs = [(start, min(start + size, self.rows)) for start in range(0, self.rows, size)]
        self._finished &= set(runs)  # those of another size would overlap
        return [run for run in runs if run not in self._finished]

    def finish(self, run: Run, checksum: int) -> None:
        """Notes that a run is written."""
        self._journal.write(f"{run[0]} {run[1]} {checksum}\n")
        self._journal.flush()
        self._finished.add(run)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What a store is to be, before any row of it is written. dtype: one of STORED_AS."""

    path: Path
    dataset: str
    shape: tuple[int, ...]
    attributes: Attributes
    dtype: np.dtype = ROW_TYPE

    @property
    def written(self) -> bool:
        """See `is_written`."""
        return is_written(self.path, self.attributes[FINGERPRINT])


def write_stores(outlines: Sequence[Outline], fill: Callable[[Mapping[Path, Partial]], None]) -> None:
    """`write_store` for stores that are filled together; `fill` gets those that are not finished, by their paths."""

    def within(rest: Sequence[Outline], held: dict[Path, Partial]) -> None:
        if not rest:
            fill(held)
            return
        first = rest[0]
        write_store(
            first.path,
            dataset=first.dataset,
            shape=first.shape,
            attributes=first.attributes,
            dtype=first.dtype,
            fill=lambda partial: within(rest[1:], held | {first.path: partial}),
        )

    for one in outlines:
        _forget(one.path, one.attributes[FINGERPRINT])
    while waiting := [one for one in outlines if not one.written]:  # again where another process has written one
        within(waiting, {})


def write_store(
    path: Path,
    *,
    dataset: str,
    shape: tuple[int, ...],
    attributes: Attributes,
    fill: Callable[[Partial], None],
    dtype: np.dtype = ROW_TYPE,
) -> None:
    """Makes the file `path` with one dataset of this shape and type, unless it is there with the same fingerprint.

    fill: writes and finishes the missing rows of a Partial. If it fails, what was finished is kept, and the next
    call with the same `fingerprint` among the attributes goes on from there. A call that meets another process
    at work on the same store waits for it. Raises BenchError when the folder cannot be written or its disk is
    full, which is found before the first row.
    """
    if is_written(path, attributes[FINGERPRINT]):
        _forget(path, attributes[FINGERPRINT])
        return
    beside = path.with_name(path.name + ".partial")

    def said(held: int) -> None:
        logger.info("another process is writing %s: waiting for it", path.name)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(_journal_of(path), said) as journal:
            if not is_written(path, attributes[FINGERPRINT]):  # else by the process that we waited for
                outline = Outline(path=beside, dataset=dataset, shape=shape, attributes=attributes, dtype=dtype)
                partial = _resume(outline, journal) or _begin(outline, journal)
                fill(partial)
                if partial.done != shape[0]:
                    raise RuntimeError(f"{partial.done} of {shape[0]} rows written to {beside}")
                with beside.open("rb+") as file:
                    os.fsync(file.fileno())
                beside.replace(path)
            Path(journal.name).unlink()
    except OSError as error:
        raise unwritable(path, error) from error


def is_written(path: Path, fingerprint: str | int) -> bool:
    """Whether `path` is a finished store with this fingerprint; BenchError when it is damaged."""
    if not path.exists():
        return False
    with open_hdf5(path) as file:
        return bool(file.attributes.get(FINGERPRINT) == fingerprint)


def _journal_of(path: Path) -> Path:
    return path.with_name(path.name + ".journal")


def _forget(path: Path, fingerprint: str | int) -> None:
    """Removes the journal of a finished store, as a kill leaves it that comes between name and end; not that of
    another one which is to take its place."""

    def refuse(held: int) -> None:
        raise BlockingIOError

    if not (_journal_of(path).exists() and is_written(path, fingerprint)):
        return
    with suppress(OSError), _locked(_journal_of(path), refuse) as journal:  # where only reading is allowed, it stays
        journal.seek(0)
        if journal.readline() in ("", f"{fingerprint}\n"):
            Path(journal.name).unlink()


@contextmanager
def _locked(path: Path, waits: Callable[[int], None]) -> Iterator[IO[str]]:
    """The journal, opened for appending and locked; the lock goes with this process, however it ends. waits: of
    `locked`."""
    held = locked(path, waits)
    with open(path, "a+", encoding="ascii", errors="replace", opener=lambda *_: held) as journal:
        yield journal


def _begin(outline: Outline, journal: IO[str]) -> Partial:
    journal.truncate(0)
    try:
        target = _allocate(outline)
    except OSError:
        outline.path.unlink(missing_ok=True)
        Path(journal.name).unlink()
        raise
    journal.write(f"{outline.attributes[FINGERPRINT]}\n")
    journal.flush()
    return Partial(target, outline.shape[0], journal, set())


def _allocate(outline: Outline) -> Target:
    """An HDF5 file with its one dataset's space reserved on the disk."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)  # the same content makes the same file
    try:
        with h5py.File(outline.path, "w") as file:
            file.attrs.update(outline.attributes)
            space = h5py.h5s.create_simple(outline.shape)
            h5py.h5d.create(file.id, outline.dataset.encode(), STORED_AS[outline.dtype], space, dcpl=layout)
            target = _target(outline, file[outline.dataset].id.get_offset())
    except (OSError, RuntimeError) as error:  # h5py makes a page of it, or no OSError at all when closing the file
        number = getattr(error, "errno", None) or errno.ENOSPC
        raise OSError(number, os.strerror(number)) from error
    with outline.path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, target.offset + outline.shape[0] * target.row_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that reserves no space
                raise
    return target


def _resume(outline: Outline, journal: IO[str]) -> Partial | None:
    """The store as the journal left it; None when there is none, or when it is for something else."""
    journal.seek(0)
    text = journal.read()
    if text.split("\n")[0] != outline.attributes[FINGERPRINT] or not outline.path.exists():
        return None
    try:
        with open_hdf5(outline.path) as file:
            dataset = file.dataset(outline.dataset, known=(outline.dtype,))
        if dataset is None or (dataset.shape, dataset.dtype) != (outline.shape, outline.dtype):
            return None
        if not isinstance(dataset.layout, hdf5.Contiguous):
            return None
        target = _target(outline, dataset.layout.offset)
    except BenchError:  # damaged: nothing to resume
        return None
    if not text.endswith("\n"):  # the last line was cut short
        journal.write("\n")
    finished = set()
    for start, stop, checksum in re.findall(r"^(\d{1,18}) (\d{1,18}) (\d{1,18})$", text, flags=re.MULTILINE):
        run = int(start), int(stop)
        if run[0] < run[1] <= outline.shape[0] and target.checksum(run) == int(checksum):
            finished.add(run)
    partial = Partial(target, outline.shape[0], journal, finished)
    logger.info("resuming %s at %d of %d images", outline.path.stem, partial.done, partial.rows)
    return partial


def _target(outline: Outline, offset: int | None) -> Target:
    if offset is None:
        raise BenchError(
            f"HDF5 gave no place for the dataset in {outline.path}",
            wanted="contiguous storage",
            cure="Update h5py and HDF5.",
        )
    return Target(outline.path, offset, math.prod(outline.shape[1:]) * outline.dtype.itemsize, outline.dtype)
