"""Where a record comes from: commit, code, machine, versions, command."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.measure import this_machine, versions
from bench.results import Provenance

ROOT = Path(__file__).resolve().parent.parent
#: What may change a figure; the reports only print it.
MEASURED_BY = ("rerankers/**/*.py", "bench/**/*.py")
NOT_MEASURED_BY = ("bench/reporting", "bench/report.py")


@dataclass(frozen=True)
class Start:
    """When something began, by the calendar; and by a clock that nobody sets, for how long it takes."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    counter_s: float = field(default_factory=time.perf_counter)

    @property
    def ago_s(self) -> float:
        return time.perf_counter() - self.counter_s


@dataclass(frozen=True)
class Surroundings:
    """What all cells of one command share."""

    threads: int
    seed: int
    command: str

    def provenance(self, *, started_at: datetime, wall_s: float) -> Provenance:
        commit, dirty = git_state()
        here = this_machine()
        return Provenance(
            project_version=_own_version(),
            commit=commit,
            dirty=dirty,
            code_sha256=code_sha256(),
            command=self.command,
            started_at=started_at.astimezone(UTC).isoformat(timespec="seconds"),
            wall_s=round(wall_s, 3),
            seed=self.seed,
            threads=self.threads,
            fingerprint=here.fingerprint,
            machine={name: _plain(value) for name, value in asdict(here).items()},
            versions=versions(),
        )


def command_line(module: str) -> str:
    """The command as a reader would type it."""
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    start = ["python"] if processes == "1" else ["torchrun", "--nproc-per-node", processes]
    return " ".join([*start, "-m", module, *sys.argv[1:]])


@cache
def code_sha256() -> str:
    """Of the code that decides a figure, whether committed or not: a record of other code is measured again."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in MEASURED_BY for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(NOT_MEASURED_BY):
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def git_state() -> tuple[str | None, bool | None]:
    """(commit, whether the code differs from it); (None, None) outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None, None
    changed = _git("status", "--porcelain", "--untracked-files=all", "--", "rerankers", "bench")
    return commit, bool(changed)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _plain(value: object) -> str | int | float | None:
    """A fact as a record keeps it; an empty list of things is none."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or None
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _own_version() -> str:
    try:
        return version("rerank-bench")
    except PackageNotFoundError:
        return "not installed"
