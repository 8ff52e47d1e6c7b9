"""Two runs at once: one waits for the other, nothing is done twice, and both see what an undisturbed run gives."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.commands import COMMANDS, litter, outcome
from tests.faults.watch import Watch
from tests.tally import Tally

WAITS = "waiting for"
#: A line of what a command says for each thing that it does: of a cell, of a validation.
DONE = {"accuracy": r"\]\s+\S+: running", "profile": r"\]\s+\S+: running", "extract": None, "train": r"step \d+: loss"}
TIMEOUT_S = 600.0

pytestmark = pytest.mark.timeout(0)  # each process has a time limit of its own


@pytest.fixture(scope="module")
def undisturbed(ground: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], str]]:
    """The outcome of each command, and what it said."""
    found = {}
    for name in DONE:
        folder = COMMANDS[name].ready(tmp_path_factory.mktemp("alone") / name, ground)
        assert COMMANDS[name].run(folder, ground, timeout_s=TIMEOUT_S) == 0
        found[name] = outcome(folder), said(folder, "log")
    return found


@pytest.mark.parametrize("name", DONE)
def test_one_waits_for_the_other(
    name: str, ground: Path, undisturbed: dict[str, tuple[dict[str, Any], str]], tmp_path: Path, tally: Tally
) -> None:
    command, folder = COMMANDS[name], COMMANDS[name].ready(tmp_path / "both", ground)
    logs = ("one", "other")
    with Watch(folder) as watch:
        runs = [command.start(folder, ground, log=log) for log in logs]
        assert ended(runs) == [0, 0], [said(folder, log) for log in logs]
    assert not watch.twice()
    wanted, told = undisturbed[name]
    assert outcome(folder) == wanted and not litter(folder)
    heard = [said(folder, log) for log in logs]
    if (pattern := DONE[name]) is not None:  # stores are locked one by one, each for a second: two may never meet
        assert any(WAITS in one for one in heard)
        assert sorted(len(re.findall(pattern, one)) for one in heard) == [0, len(re.findall(pattern, told))]
    tally.note(f"two runs of {name} at once in one folder")


def test_one_goes_on_when_the_other_is_killed(
    ground: Path, undisturbed: dict[str, tuple[dict[str, Any], str]], tmp_path: Path, tally: Tally
) -> None:
    command, folder = COMMANDS["accuracy"], COMMANDS["accuracy"].ready(tmp_path / "both", ground)
    logs = ("one", "other")
    runs = [command.start(folder, ground, log=log) for log in logs]
    end = time.monotonic() + TIMEOUT_S
    while not (waiting := [WAITS in said(folder, log) for log in logs]).count(True) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(runs[waiting.index(False)].pid, signal.SIGKILL)
    assert sorted(ended(runs)) == [-signal.SIGKILL, 0], [said(folder, log) for log in logs]
    assert outcome(folder) == undisturbed["accuracy"][0] and not litter(folder)
    tally.note("two runs of accuracy at once in one folder, of which the one at work is killed")


def test_runs_that_share_the_cache_only_do_not_meet(
    ground: Path, undisturbed: dict[str, tuple[dict[str, Any], str]], tmp_path: Path, tally: Tally
) -> None:
    command, folders = COMMANDS["accuracy, cold"], [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        (folder / "cache").symlink_to(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    runs = [command.start(folder, ground) for folder in folders]
    assert ended(runs) == [0, 0], [said(folder, "log") for folder in folders]
    one, other = map(outcome, folders)
    assert one == other and one.keys() == undisturbed["accuracy"][0].keys()
    assert not any(map(litter, [*folders, tmp_path / "cache"]))
    assert any(WAITS in said(folder, "log") for folder in folders)  # where images are rendered, or words learnt
    tally.note("two runs of accuracy at once with one cold cache")


def ended(runs: list[subprocess.Popen[bytes]]) -> list[int]:
    """The exit codes of all, none of which goes on after this."""
    try:
        return [run.wait(TIMEOUT_S) for run in runs]
    finally:
        for run in runs:
            run.kill()


def said(folder: Path, log: str) -> str:
    """What a run has said, in one line: the console breaks them anywhere."""
    return re.sub(r"\s+", " ", (folder / log).read_text(encoding="utf8"))
