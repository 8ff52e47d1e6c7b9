"""A disk that is full, at any moment: exit code 2 with a cure, nothing half-written, and once there is space the same
command goes on to what an undisturbed run leaves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.commands import AT_ONCE, litter
from tests.faults.report import command_of, left
from tests.faults.rooms import Room, room
from tests.faults.whole import broken
from tests.tally import Tally

LARGE_KIB = 1 << 18
#: Sizes that are tried, from none to what a command needs.
STEPS = 10
#: Space that is free when a command starts, in KiB: what it needs at most, and those that are tried in short.
SIZES = {
    "accuracy": (48, (12,)),
    "profile": (32, ()),
    "extract": (1000, ()),
    "train": (13000, ()),
    "accuracy, cold": (10500, ()),
    "report": (3000, ()),
}
#: Files that can be made when a command starts: at most, and in short.
FILES = {"accuracy": (9, ()), "extract": (12, (3,)), "train": (8, ()), "accuracy, cold": (90, ()), "report": (40, ())}
#: What a full disk is called, and what to do.
FULL = ("No space left on device", "Free some space")

pytestmark = pytest.mark.timeout(0)  # each process has a time limit of its own


@dataclass(frozen=True)
class Trial:
    """A command that meets a full disk: so much space, or so many files, are free when it starts."""

    name: str
    kib: int = LARGE_KIB
    files: int = 0
    #: Whether the folder for temporary files is on that disk, too.
    temporary: bool = False

    def __str__(self) -> str:
        return f"{self.name} with {f'{self.files} files' if self.files else f'{self.kib} KiB'} left"


def met(trial: Trial, ground: Path, folder: Path, wanted: Path) -> bool:
    """Whether the disk was full for the trial; asserts that nothing is wrong with it, nor with the next start."""
    command = command_of(trial.name)
    prepared, run, log = command.ready(folder / "prepared", ground), folder / "run", folder / "log"
    run.mkdir()
    with room() as here:
        here.disk(run, LARGE_KIB, 1 << 16)
        here.call("cp", "-a", f"{prepared}/.", run)
        (here.see(run) / "temporary").mkdir()
        shutil.rmtree(prepared)
        fill(here, run, trial)
        env = {"TMPDIR": str(run / "temporary")} if trial.temporary else {}
        code, said = here.run(command.argv(run, ground), log, env), log.read_text(encoding="utf8")
        assert "Traceback" not in said, f"{trial}: {said[-3000:]}"
        assert broken(here.see(run)) == [], trial
        if code != 0:
            assert code == 2 and all(words in " ".join(said.split()) for words in FULL), (
                f"{trial}: {code}, {said[-2000:]}"
            )
        here.resize(run, LARGE_KIB, 1 << 16)
        again = here.run(command.argv(run, ground), log)
        assert again == 0, f"{trial}, with space: {log.read_text(encoding='utf8')[-3000:]}"
        assert left(here.see(run)) == left(wanted), trial
        assert litter(here.see(run)) == [] and broken(here.see(run)) == [], trial
    shutil.rmtree(folder)
    return code != 0


def fill(here: Room, run: Path, trial: Trial) -> None:
    """Shrinks the disk until only so much is free."""
    facts = os.statvfs(here.see(run))
    used = (facts.f_blocks - facts.f_bfree) * facts.f_frsize // 1024
    files = facts.f_files - facts.f_ffree
    here.resize(
        run,
        min(LARGE_KIB, max(4, used + trial.kib)),  # 0 would be without limit
        files + trial.files if trial.files else 1 << 16,
    )


def trials(name: str, thorough: bool) -> list[Trial]:
    most, brief = SIZES[name]
    sizes = [round(most * step / STEPS) for step in range(STEPS)] if thorough else brief
    files, few = FILES.get(name, (0, ()))
    numbers = sorted({max(1, round(files * step / 8)) for step in range(1, 8)}) if thorough and files else few
    found = [Trial(name, kib) for kib in sizes] + [Trial(name, files=number) for number in numbers]
    return found + [Trial(name, kib, temporary=True) for kib in sizes[:2] if thorough]


@pytest.mark.parametrize("name", SIZES)
def test_a_full_disk(
    name: str,
    stocked: Path,
    undisturbed: Callable[[str], Path],
    tmp_path: Path,
    thorough: bool,
    tally: Tally,
) -> None:
    asked = trials(name, thorough)
    if not asked:
        pytest.skip("in thorough only: a trial takes a minute")
    folders = [tmp_path / str(number) for number in range(len(asked))]
    for folder in folders:
        folder.mkdir()
    wanted = undisturbed(name)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        full_in = list(pool.map(lambda trial, folder: met(trial, stocked, folder, wanted), asked, folders))
    for trial, full in zip(asked, full_in, strict=True):
        place = "no place for files" if trial.files else "a full disk"
        tally.note(f"{place} under {name}" if full else f"a nearly full disk that was enough for {name}")
