"""What an archive holds, member by member, whatever its kind; damage is told from a full disk."""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from bench.errors import BenchError

#: tarfile reads what describes a member as one piece: more than this describes nothing.
CHUNK_BYTES = 1 << 20
LARGEST_READ_BYTES = 64 << 20
LONGEST_LINK_BYTES = 4096
KINDS = (".zip", ".tar", ".tar.gz", ".tgz")

Progress = Callable[[int, int], None]


class ArchiveError(BenchError):
    """An archive that is damaged, or that holds what it should not."""


@dataclass(frozen=True)
class Member:
    """A file (`open` gives its bytes), another name of one (`hard_link`), a link (to `link`), or a folder."""

    name: str
    size_bytes: int = 0
    open: Callable[[], IO[bytes] | None] | None = None
    link: str | None = None
    hard_link: str | None = None

    @property
    def is_folder(self) -> bool:
        return self.open is None and self.link is None and self.hard_link is None


def kind_of(name: str) -> str | None:
    """The one of KINDS that a file's name ends in."""
    return next((kind for kind in sorted(KINDS, key=len, reverse=True) if name.lower().endswith(kind)), None)


def members(archive: Path, progress: Progress) -> Iterator[Member]:
    """Each member, to be read before the next is asked for. progress: bytes of the archive that are done.

    Raises ArchiveError for a damaged archive, one of a kind not in KINDS, a device, and an encrypted member.
    """
    kind = kind_of(archive.name)
    if kind is None:
        raise ArchiveError(
            f"the archive {archive}", wanted=f"one of {', '.join(KINDS)}", cure="Unpack it by hand, and pack it anew."
        )
    with reading(archive):
        yield from _zipped(archive, progress) if kind == ".zip" else _taped(archive, progress, packed=kind != ".tar")


def refused(archive: Path, name: str, seen: str, *, wanted: str) -> ArchiveError:
    """The error for a member that must not be unpacked."""
    return ArchiveError(
        f"{archive}: member {name[:200]!r} is {seen}",
        wanted=wanted,
        cure="Nothing was unpacked. Do not use this archive: fetch it anew, from its home page.",
    )


@contextmanager
def reading(archive: Path) -> Iterator[None]:
    """Turns what the libraries raise for damage into ArchiveError."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:  # headers may hold any number, and the libraries raise whatever it leads to
        raise ArchiveError(
            f"the archive {archive} is damaged, or cannot be read ({str(error) or type(error).__name__})",
            wanted="a whole archive",
            cure="Nothing was unpacked. Remove it and fetch it again.",
        ) from error


def _zipped(archive: Path, progress: Progress) -> Iterator[Member]:
    done, total = 0, archive.stat().st_size
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            if info.flag_bits & 1:
                raise refused(archive, info.filename, "encrypted", wanted="members that can be read")
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                raise refused(archive, info.filename, "a device", wanted="files and folders")
            if info.filename.endswith("/"):  # ZipInfo.is_dir() fails on an empty name before Python 3.12
                yield Member(info.filename)
            elif stat.S_ISLNK(mode):
                with file.open(info) as target:
                    yield Member(info.filename, link=target.read(LONGEST_LINK_BYTES).decode("utf8"))
            else:
                yield Member(info.filename, info.file_size, open=partial(file.open, info))
            done = min(done + info.compress_size, total)
            progress(done, total)


def _taped(archive: Path, progress: Progress, *, packed: bool) -> Iterator[Member]:
    total = archive.stat().st_size
    with archive.open("rb") as raw, gzip.open(raw) if packed else raw as stream, _opened(stream) as file:
        for info in file:
            if info.issym():
                yield Member(info.name, link=info.linkname)
            elif info.islnk():
                yield Member(info.name, hard_link=info.linkname)
            elif info.isdir():
                yield Member(info.name)
            elif not info.isreg():
                raise refused(archive, info.name, "a device", wanted="files and folders")
            else:
                yield Member(info.name, info.size, open=partial(file.extractfile, info))
            progress(raw.tell(), total)
        while stream.read(CHUNK_BYTES):  # to its end, where gzip's checksum is
            pass


def _opened(stream: Any) -> tarfile.TarFile:
    return tarfile.open(fileobj=_Wary(stream), mode="r:")


class _Wary:
    """A file that hands out no more at once than a tar's headers need."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > LARGEST_READ_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
