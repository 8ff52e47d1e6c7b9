"""kill -9 at random moments: a second start loses nothing that was finished, repeats none of it, and ends as an
undisturbed run does."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.commands import AT_ONCE, COMMANDS, Command, finished, litter, outcome, running
from tests.faults.watch import Watch
from tests.tally import Tally

#: Kills of each command, in short and thorough. The cold one is slow: it renders and describes its images first.
KILLS = {"accuracy": (2, 100), "profile": (2, 100), "extract": (2, 100), "train": (2, 100), "accuracy, cold": (0, 20)}
#: How long what a killed run has started may live on.
ORPHANS_S = 5.0
TIMEOUT_S = 600.0
#: A journal without a finished part.
EMPTY: dict[str, Any] = {"lines": []}

pytestmark = pytest.mark.timeout(0)  # each process has a time limit of its own


@dataclass(frozen=True)
class Trial:
    """One kill. moment: as a share of an undisturbed run. whole: the process group, not the first process alone.
    at_once: the second start comes without waiting for the end of what the first has started."""

    number: int
    moment: float
    whole: bool
    at_once: bool


@pytest.mark.parametrize("name", KILLS)
def test_a_second_start_ends_as_an_undisturbed_run(
    name: str, ground: Path, tmp_path: Path, thorough: bool, tally: Tally
) -> None:
    command, count = COMMANDS[name], KILLS[name][thorough]
    if not count:
        pytest.skip("only under --thorough")
    chance = random.Random(f"kills of {name}")
    trials = (Trial(at, chance.random(), whole=at % 2 == 1, at_once=at % 4 >= 2) for at in itertools.count())
    found: list[tuple[Trial, set[str], list[str]]] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # as many at once as there are trials, for these take as long then
        whole = list(pool.map(lambda place: _undisturbed(command, ground, tmp_path / place), ("one", "other")))
        wanted, seconds = whole[0][0], min(one[1] for one in whole)
        assert wanted and wanted == whole[1][0]
        left = whole[0][2]
        while len(found) < count:  # a machine that has become quicker ends some before they are killed
            few = itertools.islice(trials, count - len(found))
            done = pool.map(lambda one: _trial(one, command, ground, tmp_path, wanted, seconds, left), few)
            found += [one for one in done if one is not None]
    met = Counter(what for _, seen, _ in found for what in seen)
    often = ", ".join(f"{what} in {times}" for what, times in sorted(met.items()))
    tally.note(title := f"kill -9 of {name}, then a second start", tried=0, said=f"met {often or 'nothing finished'}")
    for trial, _, problems in found:
        said = f"kill {trial.number} at {trial.moment:.4f} of {seconds:.1f} s: {'; '.join(problems)}"
        tally.note(title, found=said if problems else None)
    assert not any(problems for *_, problems in found), [problems for *_, problems in found if problems]


def _undisturbed(command: Command, ground: Path, folder: Path) -> tuple[dict[str, Any], float, list[str]]:
    """What it leaves, how long it takes, and the files that are not wanted but left by it too."""
    command.ready(folder, ground)
    start = time.monotonic()
    assert command.run(folder, ground, timeout_s=TIMEOUT_S) == 0, (folder / "log").read_text()[-2000:]
    seconds = time.monotonic() - start
    found = outcome(folder), seconds, litter(folder)
    shutil.rmtree(folder)
    return found


def _trial(
    trial: Trial,
    command: Command,
    ground: Path,
    place: Path,
    wanted: dict[str, Any],
    seconds: float,
    left: list[str],
) -> tuple[Trial, set[str], list[str]] | None:
    """What was finished or begun at the kill, and what is wrong after a second start; nothing, it is hoped. None: the
    first start had ended before."""
    folder = command.ready(place / f"{trial.number}", ground)
    first = command.start(folder, ground, log="first")
    try:
        first.wait(trial.moment * seconds)
        shutil.rmtree(folder)
        return None
    except subprocess.TimeoutExpired:
        (os.killpg if trial.whole else os.kill)(first.pid, signal.SIGKILL)
    killed = time.monotonic()
    first.wait()
    if not trial.at_once:
        _until(lambda: not running(folder / "first"), ORPHANS_S)
    before = finished(folder)
    met = {name.rpartition(".")[2] if "state" not in name else "state" for name in before if before[name] != EMPTY}
    second = command.start(folder, ground, log="second")
    with Watch(folder) as watch:
        _until(lambda: not running(folder / "first"), killed + ORPHANS_S - time.monotonic())
        orphans = running(folder / "first")
        try:
            code = second.wait(TIMEOUT_S)
        finally:
            second.kill()
    problems = [f"{one} lives on" for one in orphans]
    for one in orphans:
        with suppress(psutil.NoSuchProcess):  # it has gone meanwhile, if late
            one.kill()
    log = (folder / "second").read_text(encoding="utf8")
    if code:
        return trial, met, [*problems, f"the second start ended with {code}: {log[-1000:]}"]
    problems += [] if outcome(folder) == wanted else [_difference(wanted, outcome(folder))]
    problems += [f"{name} {what}" for name, what in _lost(before, finished(folder), watch)]
    problems += [f"{name} is left" for name in litter(folder) if name not in left]
    if not problems:
        shutil.rmtree(folder)
    return trial, met, problems


def _lost(before: dict[str, Any], after: dict[str, Any], watch: Watch) -> list[tuple[str, str]]:
    """What was finished before the second start, and is not as it was or was done again."""
    found = []
    for name, was in before.items():
        if isinstance(was, bytes):
            found += [(name, "was written anew")] if after.get(name) != was else []
        elif "lines" in was:
            lines = watch.lines(name)  # none where the cell had ended, or the watch was too slow
            found += [(name, "lost finished parts")] if lines and not set(was["lines"]) <= set(lines) else []
        else:
            rows = after[name]["curve"][: len(was["curve"])]
            found += [(name, "has validations that were repeated")] if rows != was["curve"] else []
            seen = [after[name], *watch.states(name)]
            back = [one for one in seen if one["step"] < was["step"] or one["seconds"] < was["seconds"]]
            found += [(name, f"of step {was['step']} fell back to {back[0]['step']}")] if back else []
    return found + [(name, "has parts that were done twice") for name in watch.twice()]


def _difference(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    names = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    return f"another outcome than undisturbed: {', '.join(names)}"


def _until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
