"""An entry's files, fetched, verified, unpacked beside and put in place as a whole.

In the entry's folder, `.fetching/NAME` holds what is on its way: downloads, what is `ready`, and a record of each file
that is verified. When all are, each becomes its target by one rename, and `fetched.json` takes the records.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.fetching.archives import unpack
from bench.fetching.download import PATIENT, Patience, download
from bench.fetching.entry import Entry, File
from bench.fetching.members import ArchiveError
from bench.files import digest, replacing, unwritable, write_text
from rerankers import RerankError, hub

log = logging.getLogger(__name__)

RECORDS = "fetched.json"
STAGING = ".fetching"
READY = "ready"

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass(frozen=True)
class Record:
    """What was got of a file, and when (UTC)."""

    url: str
    bytes: int
    sha256: str
    date: str


@dataclass(frozen=True)
class _Job:
    """One entry on its way into `folder`."""

    entry: Entry
    folder: Path
    progress: Progress
    patience: Patience

    @property
    def work(self) -> Path:
        return self.folder / STAGING / self.entry.name

    def ready(self, file: File) -> Path:
        return self.work / READY / file.target

    def note(self, file: File) -> Path:
        return self.work / f"{file.name}.json"


def fetch(entry: Entry, data_root: Path, *, progress: Progress, patience: Patience = PATIENT) -> bool:
    """Puts what is missing of an entry into its folder below `data_root`; whether anything was.

    What is there already stays, and is only compared with a hash where one is known. An archive that lies in the folder
    is taken instead of a download. An interrupted call goes on where it stopped. Raises BenchError for what cannot be
    reached, is not what it should be, cannot be unpacked or written, and while another process is at work there.
    """
    job = _Job(entry, data_root / entry.folder, progress, patience)
    if all(_in_place(job, file) for file in entry.files):
        return False
    if unknown := sum(file.sha256 is file.md5 is file.md5_url is None for file in entry.files):
        log.info("%s: nobody publishes hashes of %d files; %s holds those that come", entry.name, unknown, RECORDS)
    with _alone(job.folder):
        missing = [file for file in entry.files if not _in_place(job, file)]
        for file in missing:
            if not job.note(file).exists():
                _prepare(job, file)
        _install(job, missing)
        shutil.rmtree(job.work, ignore_errors=True)
    return bool(missing)


def left_to_do(entry: Entry, data_root: Path) -> bool:
    """Whether something is missing that only the user can get."""
    return bool(entry.by_hand) and not all(any((data_root / entry.folder).glob(path)) for path in entry.needs)


def _in_place(job: _Job, file: File) -> bool:
    """Whether there is nothing to do. A file that came otherwise is verified once, and recorded."""
    target = job.folder / file.target
    if job.note(file).exists() or not target.exists():
        return False
    if file.target == file.name and file.name not in read_records(job.folder):
        log.info("%s is there already: it is only verified", target)
        _write_records(job.folder, {file.name: _verified(job, file, target, None)})
    return True


def _prepare(job: _Job, file: File) -> None:
    """Gets a file (or takes the archive that the user has put there), verifies it, and makes it ready."""
    given, got = job.folder / file.name, job.work / file.name
    own = not given.is_file()
    source = got if own else given
    md5 = _get(job, file, got) if own else file.md5
    record = _verified(job, file, source, md5)
    try:
        _make_ready(job, file, source)
    except ArchiveError:
        if own:
            got.unlink()
        raise
    write_text(job.note(file), json.dumps(asdict(record)))
    if own:
        got.unlink(missing_ok=True)


def _get(job: _Job, file: File, path: Path) -> str | None:
    """Downloads a file; returns its MD5 where one is published."""
    put_at = job.folder / file.name
    if not path.exists():
        if file.url.startswith(hub.PREFIX):
            _copy_from_hub(file, path, put_at)
            return file.md5
        with job.progress(f"{job.entry.name}: {file.name}") as show:
            download(file.url, path, size_bytes=file.size_bytes, put_at=put_at, progress=show, patience=job.patience)
    if file.md5_url is None:
        return file.md5
    said = path.with_name(f"{path.name}.md5")
    download(file.md5_url, said, put_at=put_at, patience=job.patience)
    word = said.read_text(encoding="utf8", errors="replace").split()
    said.unlink()
    return word[0].lower() if word else None


def _copy_from_hub(file: File, path: Path, put_at: Path) -> None:
    try:
        found = hub.fetch(file.url)
    except RerankError as error:
        cure = f"{error.cure} Or put it at {put_at}."
        raise BenchError(error.seen, wanted=error.wanted, cure=cure) from error
    with replacing(path) as beside:
        shutil.copyfile(found, beside)


def _verified(job: _Job, file: File, path: Path, md5: str | None) -> Record:
    """Its record; BenchError, and the download is removed, when it is not the file that is known, or was got before."""
    seen = {"bytes": str(path.stat().st_size), "SHA-256": digest(path)}
    before = read_records(job.folder).get(file.name)
    held = before.sha256 if before and before.url == file.url and file.sha256 is None else None
    wanted = {"bytes": file.size_bytes, "SHA-256": file.sha256 or held, "MD5": md5}
    if md5 is not None:
        seen["MD5"] = digest(path, "md5")
    for what, value in wanted.items():
        if value is None or seen[what] == str(value):
            continue
        if path.parent == job.work:
            path.unlink()
        cure = (
            "Run the command again, without the file if you have put it there. If it stays so, the server has another."
        )
        if held and before:
            cure = f"The server had another file on {before.date}: remove its entry in {RECORDS} to take the new one."
        raise BenchError(f"{path.name} from {file.url}: {what} {seen[what]}", wanted=f"{what} {value}", cure=cure)
    return Record(file.url, path.stat().st_size, seen["SHA-256"], datetime.now(UTC).date().isoformat())


def _make_ready(job: _Job, file: File, path: Path) -> None:
    ready = job.ready(file)
    if file.unpack_to is not None:
        with job.progress(f"{job.entry.name}: unpacking {file.name}") as show:
            unpack(path, ready, take=file.take, flat=file.flat, progress=show)
        return
    ready.parent.mkdir(parents=True, exist_ok=True)
    path.replace(ready)


def _install(job: _Job, files: list[File]) -> None:
    """Everything is ready: puts it in place, by one rename for each target."""
    try:
        for target in dict.fromkeys(file.target for file in files):
            place = job.folder / target
            if not place.exists():  # else an earlier call was killed between this and the records
                (job.work / READY / target).replace(place)
    except OSError as error:
        raise unwritable(job.folder, error) from error
    got = {file.name: _noted(job.note(file)) for file in files}
    _write_records(job.folder, got)


def _noted(path: Path) -> Record:
    try:
        return _record(json.loads(path.read_text(encoding="utf8")))
    except Exception as error:  # whatever JSON of another form leads to
        path.unlink(missing_ok=True)
        raise BenchError(
            f"{path} was damaged ({error!s:.200})", wanted="what this command has noted", cure="Run it again."
        ) from error


def read_records(folder: Path) -> dict[str, Record]:
    """By file name, what `fetched.json` of a folder holds; nothing where it is not there."""
    path = folder / RECORDS
    try:
        stored = json.loads(path.read_text(encoding="utf8"))
        return {name: _record(one) for name, one in stored.items()}
    except FileNotFoundError:
        return {}
    except Exception as error:  # whatever JSON of another form leads to
        raise BenchError(
            f"cannot read {path} ({error!s:.200})", wanted="what an earlier fetch has written", cure="Remove it."
        ) from error


def _record(stored: dict[str, Any]) -> Record:
    record = Record(**stored)
    if not all(type(value) is (int if name == "bytes" else str) for name, value in asdict(record).items()):
        raise ValueError("a field of another type")
    return record


def _write_records(folder: Path, new: Mapping[str, Record]) -> None:
    if new:
        merged = read_records(folder) | dict(new)
        write_text(folder / RECORDS, json.dumps({name: asdict(merged[name]) for name in sorted(merged)}, indent=1))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the staging folder for this process; it goes when nothing is on its way any more."""
    staging = folder / STAGING
    try:
        staging.mkdir(parents=True, exist_ok=True)
        lock = (staging / "lock").open("a")
    except OSError as error:
        raise unwritable(staging, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(
                f"another process is fetching into {folder}", wanted="one at a time", cure="Wait until it is done."
            ) from None
        try:
            yield
        finally:
            with suppress(OSError):
                if [path.name for path in staging.iterdir()] == ["lock"]:
                    (staging / "lock").unlink()
                    staging.rmdir()
