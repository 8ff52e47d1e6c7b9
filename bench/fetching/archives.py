"""Archives from elsewhere, unpacked without trust: everything lands in one folder, or nothing does.

tarfile's own filters let through what a small archive says that it comes to, and zipfile has none.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.fetching.members import ArchiveError, Member, Progress, members, reading, refused
from bench.files import unwritable

CHUNK_BYTES = 1 << 20
INSIDE = "names and links within the archive"

#: Nothing, absolute, on a drive, with a step up or a zero byte: a name that could leave its folder.
_UNSAFE = re.compile(r"^$|^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\0")


@dataclass(frozen=True)
class Limits:
    """What an archive may come to."""

    most_bytes: int
    most_members: int

    @classmethod
    def of(cls, size_bytes: int) -> Limits:
        """For an archive of this size: images hardly shrink, so that one which grows more holds something else."""
        return cls(most_bytes=4 * size_bytes + (64 << 20), most_members=10_000 + size_bytes // 512)


def unpack(
    archive: Path,
    into: Path,
    *,
    take: str = "",
    flat: bool = False,
    limits: Limits | None = None,
    progress: Progress = lambda done, total: None,
) -> None:
    """Adds all files of a .zip, .tar, .tar.gz or .tgz to the folder `into`, or none.

    take: only what lies in this folder of the archive, without its name. flat: folders are dropped, all files lie side
    by side. Raises ArchiveError, naming archive and member, for a damaged archive; names that are absolute or step up;
    links that leave the folder; devices; and more members or bytes than `limits` (None: those that suit its size), by
    what the archive says and by what it turns out to hold. Raises BenchError when the disk is full.
    """
    beside = into.with_name(f".{into.name}.unpacking")
    try:
        limits = limits or Limits.of(archive.stat().st_size)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        found = _allowed(archive, members(archive, progress), limits)
        _write(archive, _chosen(archive, found, take, flat), beside, limits)
        if not any(beside.iterdir()):
            raise ArchiveError(
                f"the archive {archive} has nothing{f' in {take}' if take else ''}",
                wanted="the files of the data set",
                cure="Fetch it again; if it stays so, its authors have changed it.",
            )
        _merge(beside, into)
    except OSError as error:
        raise unwritable(into, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _allowed(archive: Path, found: Iterable[Member], limits: Limits) -> Iterator[Member]:
    """Members with safe names, as long as they are within the limits by what the archive says."""
    said_bytes = 0
    for count, member in enumerate(found, 1):
        said_bytes += member.size_bytes
        for name in (member.name, member.hard_link):
            if name is not None and _UNSAFE.search(name):
                raise refused(archive, member.name, f"named {name[:200]!r}", wanted=INSIDE)
        if count > limits.most_members:
            raise refused(archive, member.name, f"number {count}", wanted=f"at most {limits.most_members} members")
        if said_bytes > limits.most_bytes:
            raise _too_much(archive, member, limits)
        yield member


def _chosen(archive: Path, found: Iterable[Member], take: str, flat: bool) -> Iterator[Member]:
    """The members in the folder `take`, by their names in it; files without their folders where they are to be flat."""
    names: set[str] = set()
    for member in found:
        name = _inside(member.name, take)
        if name is None or (flat and member.is_folder):
            continue
        if flat:
            name = posixpath.basename(name)
            if member.open is None or name in names:
                raise refused(archive, member.name, "a link, or has a namesake", wanted="files with names of their own")
            names.add(name)
        hard_link = None if member.hard_link is None else _inside(member.hard_link, take) or ""
        yield replace(member, name=name, hard_link=hard_link)


def _inside(name: str, take: str) -> str | None:
    """A member's name in the folder `take`; None for what lies elsewhere, and for the folder itself."""
    name = posixpath.normpath(name)
    if take:
        name = name.removeprefix(f"{take}/") if name.startswith(f"{take}/") else "."
    return None if name == "." else name


def _write(archive: Path, found: Iterable[Member], folder: Path, limits: Limits) -> None:
    """Files, then their other names, then links: so that nothing is ever written through a link."""
    left, later = limits.most_bytes, []
    for member in found:
        path = folder / member.name
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
        elif member.open is None:
            later.append(member)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            left -= _copy(archive, member, path, left, limits)
    for member in sorted(later, key=lambda one: one.link is not None):
        _link(archive, member, folder)
    for member in later:  # once all are there, for one may lead through another
        if not _within(folder / member.name, folder) or not (folder / member.name).exists():
            raise refused(archive, member.name, f"a link to {member.link or member.hard_link!r}", wanted=INSIDE)


def _copy(archive: Path, member: Member, path: Path, left: int, limits: Limits) -> int:
    """Writes a member of at most `left` bytes; returns how many it had."""
    assert member.open is not None
    written = 0
    with reading(archive):
        source = member.open()
    assert source is not None
    with source, path.open("wb") as target:
        while True:
            with reading(archive):
                data = source.read(CHUNK_BYTES)
            if not data:
                return written
            written += len(data)
            if written > left:
                raise _too_much(archive, member, limits)
            target.write(data)


def _link(archive: Path, member: Member, folder: Path) -> None:
    """Makes a link, or another name of a file; a later check finds where links lead in the end."""
    path = folder / member.name
    if not _within(path.parent, folder):
        raise refused(archive, member.name, "to be written through a link", wanted=INSIDE)
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.link is not None:
        path.symlink_to(member.link)
        return
    target = folder / (member.hard_link or "")
    if not target.is_file():
        raise refused(archive, member.name, f"another name of {member.hard_link!r}", wanted="one of a file before it")
    path.hardlink_to(target)


def _within(path: Path, folder: Path) -> bool:
    """Whether it lies in the folder, links followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _too_much(archive: Path, member: Member, limits: Limits) -> Exception:
    return refused(
        archive,
        member.name,
        "where it comes to too much",
        wanted=f"at most {limits.most_bytes} bytes, from an archive of {archive.stat().st_size}",
    )


def _merge(source: Path, into: Path) -> None:
    """Moves what was unpacked to its place, in one go where nothing is there yet."""
    if not into.exists():
        into.parent.mkdir(parents=True, exist_ok=True)
        source.replace(into)
        return
    for path in sorted(source.rglob("*")):
        target = into / path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
        else:
            path.replace(target)
