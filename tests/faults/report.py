"""`bench.report` as one more command that faults meet, and what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults.commands import COMMANDS, Command, outcome

REPORT = Command(
    "report", ("-m", "bench.report"), "--records {ground}/records --out {folder}/out --cache {folder}/cache"
)


def command_of(name: str) -> Command:
    """One of the commands, or the report."""
    return REPORT if name == REPORT.name else COMMANDS[name]


def left(folder: Path) -> dict[str, Any]:
    """What a run must leave as an undisturbed one leaves it; of a report, which files there are."""
    out = folder / "out"
    return outcome(folder) | {path.name: True for path in out.glob("*") if (out / "index.html").exists()}
