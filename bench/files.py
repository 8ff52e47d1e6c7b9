"""Files that are whole or not there: written beside, flushed to the disk, then renamed."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench.errors import BenchError


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` if the block succeeds, else it is removed.

    sync: wait until it is on the disk. Without, a crash of the machine (not of the program) may leave a cut file:
    for many small files that are checked when they are read; nor is removed then what kills have left (`clear`).
    Raises BenchError when the folder cannot be written or the disk is full.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if sync:
            clear(path.parent, glob.escape(path.name))
        yield beside
        if sync:
            _sync(beside, os.O_RDWR)
        beside.replace(path)
        if sync:
            _sync(path.parent, os.O_RDONLY)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def clear(folder: Path, name: str = "*") -> None:
    """Removes what processes of this machine that were killed have left of `replacing` files; name: a pattern."""
    for left in folder.glob(f".{name}.{platform.node()}-*.part"):
        process = left.stem.rpartition("-")[2]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            left.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Writes `content`, all of it or nothing. See `replacing`."""
    with replacing(path, sync=sync) as beside:
        beside.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, all of it or nothing."""
    write_bytes(path, text.encode("utf8"))


def digest(path: Path, kind: str = "sha256") -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def unwritable(path: Path, error: OSError) -> BenchError:
    """The error for a file that could not be written."""
    cures = {
        errno.ENOSPC: "Free some space, then run the command again: it goes on where it stopped.",
        errno.EDQUOT: "Free some of your quota, then run the command again: it goes on where it stopped.",
        errno.EROFS: "Choose another folder, for this file system is read-only.",
        errno.EACCES: "Choose a folder that you may write to.",
        errno.EPERM: "Choose a folder that you may write to.",
    }
    return BenchError(
        f"cannot write {path} ({error.strerror or error})",
        wanted="a writable folder with free space",
        cure=cures.get(error.errno or 0, "Check the folder, then run the command again."),
    )


def _sync(path: Path, access: int) -> None:
    descriptor = os.open(path, access)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
