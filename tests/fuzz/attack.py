"""Many inputs for one reader, in processes that may die of them; what was found is tried again before it is said."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.child import Finding, Job
from tests.support import ROOT

#: A reader that kills this many processes is found out; there is no need to go on.
MOST_DEATHS = 10
#: Where inputs lie that readers have stumbled over once, a folder a reader; they are tried again in every run.
STUMBLES = Path(__file__).with_name("stumbles")


@dataclass
class Report:
    """How often a reader was tried, and what it did; shaky: inputs that killed a process, but not the next one."""

    tried: int = 0
    findings: list[Finding] = field(default_factory=list)
    shaky: int = 0


#: Where files cost least, if there.
MEMORY = Path("/dev/shm")


def attack(reader: str, engine: str, inputs: int, folder: Path, *, seed: int = 0) -> Report:
    """Tries `inputs` inputs, in as many processes as it takes; what was found is kept in `folder`."""
    with _box() as box:
        report = _attack(reader, engine, inputs, box, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for finding in report.findings:
        name = hashlib.sha256(bytes.fromhex(finding.input)).hexdigest()[:16]
        (folder / f"found-{name}").write_bytes(bytes.fromhex(finding.input))
    return report


def _attack(reader: str, engine: str, inputs: int, box: Path, seed: int) -> Report:
    report, deaths = Report(), 0
    while report.tried < inputs and deaths < MOST_DEATHS:
        job = Job(reader, engine, inputs - report.tried, seed + deaths, str(box))
        how = _run(job)
        report.tried += int(job.count_file.read_bytes() or b"0") if job.count_file.exists() else 0
        if how is None:
            break
        deaths += 1
        if not job.input_file.exists():
            raise RuntimeError(f"{reader}: the process ended before the first input: {how}")
        content = job.input_file.read_bytes()
        if (again := replay(reader, content)) is None:
            report.shaky += 1
        else:
            report.findings.append(Finding(again, content.hex()))
    report.findings += _noted(box / "findings.jsonl")
    return report


def replay(reader: str, content: bytes) -> str | None:
    """What one input does in a process of its own; None: nothing that is wrong."""
    with _box() as box:
        job = Job(reader, "replay", 1, 0, str(box))
        (box / "replay").write_bytes(content)
        how = _run(job)
        noted = _noted(job.findings_file)
    return how or (noted[0].what if noted else None)


@contextmanager
def _box() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def _noted(file: Path) -> list[Finding]:
    if not file.exists():
        return []
    return [Finding(**json.loads(line)) for line in file.read_text(encoding="utf8").splitlines()]


def _run(job: Job) -> str | None:
    """How the process ended; None: as it should."""
    job.count_file.unlink(missing_ok=True)
    nursery = _IDLE.pop() if _IDLE else _Nursery()
    code = nursery.run(job)
    _IDLE.append(nursery)
    if code == 0:
        return None
    if code == -signal.SIGALRM:
        return "hang: no answer within 2 seconds"
    if code < 0:
        return f"crash: {signal.Signals(-code).name}"
    said = (Path(job.folder) / "log").read_text(encoding="utf8", errors="replace")
    last = [line for line in said.splitlines() if line.strip()][-3:]
    return f"crash: exit code {code}: {' | '.join(last)[-400:]}"


class _Nursery:
    """A process that forks one for each job; it ends with this one, at the end of its standard input."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, job: Job) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{job.write()}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


#: Those that wait for a job.
_IDLE: list[_Nursery] = []
