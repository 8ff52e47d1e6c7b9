"""Archives of data sets, unpacked."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.fetching.archives import unpack
from tests.fuzz.reading import Reader, edit, edit_members

#: Name -> content, None for a folder, and where a link leads.
MEMBERS: dict[str, bytes | str | None] = {"a": None, "a/one.txt": b"one" * 9, "two.txt": b"2", "a/link": "one.txt"}
#: What names and links may be replaced by.
OUTSIDE = ("../out", "/tmp/out", "a/../../out", "a/link", "link", "..", ".", "", "a\\..\\..\\out", "C:out", "a" * 300)


def zips(_: Path) -> Iterator[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", method) as archive:
            for name, value in MEMBERS.items():
                info = zipfile.ZipInfo(f"{name}/" if value is None else name)
                info.compress_type = method
                if isinstance(value, str):
                    info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, value or b"")
        yield content.getvalue()


def tars(_: Path, *, packed: bool) -> Iterator[bytes]:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=form) as archive:
            for name, value in MEMBERS.items():
                add(archive, name, value)
            hard = tarfile.TarInfo("a/hard")
            hard.type, hard.linkname = tarfile.LNKTYPE, "two.txt"
            archive.addfile(hard)
            if form != tarfile.USTAR_FORMAT:
                add(archive, "long" * 50, b"3")
        yield gzip.compress(content.getvalue(), mtime=0) if packed else content.getvalue()


def add(archive: tarfile.TarFile, name: str, value: bytes | str | None) -> None:
    info = tarfile.TarInfo(name)
    if isinstance(value, bytes):
        info.size = len(value)
    elif value is None:
        info.type = tarfile.DIRTYPE
    else:
        info.type, info.linkname = tarfile.SYMTYPE, value
    archive.addfile(info, io.BytesIO(value) if isinstance(value, bytes) else None)


def edit_tar(content: bytes, rng: random.Random) -> bytes:
    """A header edited, or a name or link put into it that leads elsewhere, and its checksum right."""
    if rng.random() < 0.3:
        return edit(content, rng)
    found = bytearray(content)
    place = 512 * rng.randrange(max(1, len(content) // 512))
    header = found[place : place + 512]
    if len(header) < 512:
        return edit(content, rng)
    kind = rng.randrange(3)
    if kind == 0:
        where, length = rng.choice(((0, 100), (157, 100)))
        header[where : where + length] = rng.choice(OUTSIDE).encode()[:length].ljust(length, b"\0")
    elif kind == 1:
        header[156] = rng.choice(b"0123456789LKxgSVDMA\0")
    else:
        header = bytearray(edit(bytes(header), rng)[:512].ljust(512, b"\0"))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    found[place : place + 512] = header
    return bytes(found)


def edit_packed(content: bytes, rng: random.Random) -> bytes:
    """What is packed edited, and packed again."""
    try:
        return gzip.compress(edit_tar(gzip.decompress(content), rng), compresslevel=1, mtime=0)
    except Exception:  # an edited one
        return edit(content, rng)


def edit_zip(content: bytes, rng: random.Random) -> bytes:
    """A member renamed, or made a link to elsewhere; or as `edit_members`."""
    if rng.random() < 0.5:
        return edit_members(content, rng)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for info, data in members:
                if rng.random() < 0.3:
                    info.filename = rng.choice(OUTSIDE)
                if rng.random() < 0.2:
                    info.external_attr, data = (stat.S_IFLNK | 0o777) << 16, rng.choice(OUTSIDE).encode()
                archive.writestr(info, data)
        return packed.getvalue()
    except Exception:  # an edited one
        return edit(content, rng)


def read(path: Path) -> None:
    """Unpacks into a folder of its own."""
    into = path.parent / "unpacked"
    try:
        unpack(path, into)
        for found in into.rglob("*"):
            assert found.resolve().is_relative_to(into.resolve()), f"a link to {found.resolve()}"
    finally:
        if into.exists():
            shutil.rmtree(into)


READERS = (
    Reader("archive-zip", "case.zip", zips, read, mutate=edit_zip),
    Reader("archive-tar", "case.tar", partial(tars, packed=False), read, mutate=edit_tar),
    Reader("archive-tar-gz", "case.tar.gz", partial(tars, packed=True), read, mutate=edit_packed),
)
