"""One file over HTTP: into `<name>.part`, on from where it stopped, and under its name when it is whole.

Pooch starts anew after each interruption, which archives of tens of gigabytes do not forgive: hence requests itself.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from bench.errors import BenchError
from bench.files import unwritable, write_text

CHUNK_BYTES = 1 << 20
#: Of a file whose length neither the catalog nor the server tells.
MOST_BYTES = 200 << 30
#: A server in trouble, not a wrong request.
PASSING = frozenset({429, 500, 502, 503, 504})

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Patience:
    """When a download is given up.

    silent_s: the longest wait for an answer and for any byte of it. A connection that brings less than `least_bytes`
    in `window_s` counts as broken, and so many `attempts` that bring less than that, `pause_s` apart, are the end.
    """

    silent_s: float = 30.0
    window_s: float = 60.0
    least_bytes: int = 64 << 10
    attempts: int = 5
    pause_s: float = 2.0


PATIENT = Patience()


class _BrokenError(Exception):
    """A connection that did not bring all: worth another attempt."""


class _Part:
    """What has come of a file, and by which stamp its server tells one version of it from another."""

    def __init__(self, whole: Path) -> None:
        self.whole = whole
        self.path = whole.with_name(f"{whole.name}.part")
        self._stamp = whole.with_name(f"{whole.name}.part.stamp")
        self.size = self.path.stat().st_size if self.path.exists() else 0

    def headers(self) -> dict[str, str]:
        """That ask for what is missing, if the file is still the one that it was."""
        asked = {"Accept-Encoding": "identity"}  # an archive is wanted as it lies there
        if self.size:
            asked["Range"] = f"bytes={self.size}-"
            stamp = self._stamp.read_text(encoding="utf8") if self._stamp.exists() else ""
            asked |= {"If-Range": stamp} if stamp else {}
        return asked

    def restart(self, stamp: str) -> None:
        self.path.unlink(missing_ok=True)
        self.size = 0
        write_text(self._stamp, stamp)

    def finish(self) -> None:
        """Gives the file its name; it is on the disk then."""
        with self.path.open("ab") as file:
            os.fsync(file.fileno())
        self.path.replace(self.whole)
        self._stamp.unlink(missing_ok=True)


def download(
    url: str,
    path: Path,
    *,
    size_bytes: int | None = None,
    put_at: Path,
    progress: Progress = lambda done, total: None,
    patience: Patience = PATIENT,
) -> None:
    """Fetches `url` to `path`, which is there only when it is whole; what has come stays in `<path>.part` till then.

    size_bytes: its length, where that is known; another one is an error. put_at: where the user may put the file
    instead. A connection that breaks is taken up again. Raises BenchError when there is no way to the server, when it
    has no such file or one of another length, when the connection breaks too often, and when the disk is full.
    """
    try:
        part = _Part(path)
        _insist(url, part, size_bytes, put_at, progress, patience)
        part.finish()
    except OSError as error:
        raise unwritable(path, error) from error


def _insist(
    url: str, part: _Part, size_bytes: int | None, put_at: Path, progress: Progress, patience: Patience
) -> None:
    """As many connections as it takes."""
    fruitless, first = 0, True
    while True:
        before = part.size
        try:
            return _receive(url, part, size_bytes, progress, patience)
        except requests.ConnectionError as error:
            if first:
                raise _unreachable(url, error, put_at) from error
            reason = _told(error)
        except (_BrokenError, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            reason = _told(error)
        fruitless = 0 if part.size - before >= patience.least_bytes else fruitless + 1
        if fruitless >= patience.attempts:
            raise BenchError(
                f"{url} broke off after {part.size} bytes, {fruitless} times in a row ({reason})",
                wanted="the whole file",
                cure=f"Run the command again: it goes on where it stopped. Or put the file at {put_at}.",
            )
        first = False
        time.sleep(patience.pause_s)


def _receive(url: str, part: _Part, size_bytes: int | None, progress: Progress, patience: Patience) -> None:
    """One connection: everything that is missing, or an exception."""
    with requests.get(url, stream=True, headers=part.headers(), timeout=patience.silent_s) as response:
        total = _length(response, part)
        if total is not None and size_bytes is not None and total != size_bytes:
            raise _wrong_length(url, total, size_bytes)
        watch = _Watch(patience, part.size)
        with part.path.open("ab") as file:
            while part.size != total and (data := response.raw.read1(CHUNK_BYTES, decode_content=False)):
                most = size_bytes or total or MOST_BYTES
                if part.size + len(data) > most:
                    raise _wrong_length(url, part.size + len(data), most)
                part.size += file.write(data)
                file.flush()  # so that not even a kill costs it
                progress(part.size, total or part.size)
                watch.look(part.size)
    if total not in (None, part.size):
        raise _BrokenError(f"it ended after {part.size} of {total} bytes")
    if size_bytes is not None and part.size != size_bytes:
        raise _wrong_length(url, part.size, size_bytes)


def _length(response: requests.Response, part: _Part) -> int | None:
    """Of the whole file, where the server tells it; `part` begins anew where the answer does."""
    status, given = response.status_code, response.headers
    told = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", given.get("Content-Range", ""))
    if status == HTTPStatus.PARTIAL_CONTENT and told and told[1] and int(told[1]) == part.size:
        return None if told[2] == "*" else int(told[2])
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and told and told[2] == str(part.size):
        return part.size
    if status in (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        part.restart("")
        raise _BrokenError(f"the server does not go on at the byte that was asked for ({status})")
    if status in PASSING:
        raise _BrokenError(f"{status} {response.reason}")
    if status != HTTPStatus.OK:
        raise BenchError(
            f"{response.url}: {status} {response.reason}",
            wanted="the file",
            cure="It may have moved: look at the data set's home page, which `--list` names.",
        )
    tag = given.get("ETag", "")
    part.restart(tag if tag.startswith('"') else given.get("Last-Modified", ""))
    length = given.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


class _Watch:
    """Finds connections that bring next to nothing, but do so without end."""

    def __init__(self, patience: Patience, size: int) -> None:
        self.patience, self.size, self.begun = patience, size, time.monotonic()

    def look(self, size: int) -> None:
        now = time.monotonic()
        if now - self.begun < self.patience.window_s:
            return
        if size - self.size < self.patience.least_bytes:
            raise _BrokenError(f"{size - self.size} bytes in {now - self.begun:.0f} s")
        self.size, self.begun = size, now


def _told(error: Exception) -> str:
    """What lies behind an error, without what each library has wrapped around it."""
    root: BaseException = error
    while root.__cause__ or root.__context__:
        root = root.__cause__ or root.__context__ or root
    return (str(root) or type(root).__name__).splitlines()[0][:200]


def _wrong_length(url: str, seen: int, wanted: int) -> BenchError:
    return BenchError(
        f"{seen} bytes or more at {url}" if seen > wanted else f"{seen} bytes at {url}",
        wanted=f"{wanted}",
        cure="The server has another file by this name: look at the data set's home page, which `--list` names.",
    )


def _unreachable(url: str, error: Exception, put_at: Path) -> BenchError:
    return BenchError(
        f"cannot reach {urlsplit(url).hostname} for {url} ({_told(error)})",
        wanted="a network that leads there",
        cure=f"Try again with one (HTTPS_PROXY names a proxy), or download the file elsewhere, put it at {put_at}, "
        "and run the command again.",
    )
