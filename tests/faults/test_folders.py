"""Folders that cannot be written, are something else, or go away: exit code 2 that says which and what to do, before
any work where it can be known; and a next start that goes on."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.commands import COMMANDS, Command, litter, outcome
from tests.faults.report import command_of
from tests.faults.rooms import room
from tests.faults.whole import broken
from tests.support import MINI, ROOT
from tests.tally import Tally

ON_OWN = Command(
    "accuracy on own images",
    ("-m", "bench.accuracy"),
    f"--dataset {{ground}}/own --training {MINI} --locals 50 --threads 1 --shortlist 5 --rerankers none "
    "--cache {folder}/cache --records {folder}/results",
)
EXTRACT_OWN = Command(
    "extract of own images",
    ("-m", "bench.extract"),
    "{ground}/own --preset rootsift --side 128 --top 20 --device cpu --threads 1 "
    "--cache {folder}/cache --out {folder}/out",
)
#: (command, folder) that nobody may write in, in short and in thorough only.
READ_ONLY = (("accuracy", "results"), ("extract", "out"))
READ_ONLY_TOO = (
    *(
        ("report", "out"),
        ("accuracy", "cache"),
        ("profile", "results"),
        ("extract", "cache"),
        ("train", "out"),
        ("train", "cache"),
    ),
    *(("accuracy", "."), ("extract", "."), ("report", "."), ("train", ".")),
)
NOBODY = "nobody"

pytestmark = pytest.mark.timeout(0)


def said_in(folder: Path) -> str:
    """What a command has said, without the breaks of its lines."""
    return " ".join((folder / "log").read_text(encoding="utf8").split())


def refused(code: int, said: str, *words: str) -> None:
    assert code == 2 and "Traceback" not in said and "error: " in said, (code, said)
    for one in words:
        assert one in said, said


@pytest.fixture(scope="module")
def ready(stocked: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a folder of a run, with everything that a command begins with."""

    def made(name: str) -> Path:
        return command_of(name).ready(tmp_path_factory.mktemp("folders") / "run", stocked)

    return made


def test_read_only_folders(stocked: Path, ready: Callable[[str], Path], thorough: bool, tally: Tally) -> None:
    for name, place in READ_ONLY + (READ_ONLY_TOO if thorough else ()):
        run = ready(name)
        (run / place).mkdir(exist_ok=True)
        before = sorted(path for path in run.rglob("*") if path.name != "log")
        with room() as here:
            here.read_only(run / place)
            code = here.run(command_of(name).argv(run, stocked), run.with_name("log"))
        refused(code, said_in(run.parent), "Read-only file system", "Choose another folder, for this file system")
        if place == ".":
            assert sorted(path for path in run.rglob("*") if path.name != "log") == before
        tally.note(f"a folder of a read-only disk, {place} of {name}")


def test_read_only_data(stocked: Path, tmp_path: Path, thorough: bool, tally: Tally) -> None:
    """Reading is enough."""
    (source,) = (stocked / "cache" / "datasets").glob(f"{MINI}-*")
    if not (stocked / "own").exists():
        shutil.copytree(source, stocked / "own")
    for number, command in enumerate((EXTRACT_OWN, ON_OWN) if thorough else (EXTRACT_OWN,)):
        run = command.ready(tmp_path / str(number), stocked)
        with room() as here:
            here.read_only(stocked)
            assert here.run(command.argv(run, stocked), run / "log") == 0, said_in(run)
        assert outcome(run) and litter(run) == []
        tally.note(f"data of a read-only disk under {command.name}")


def test_a_folder_that_becomes_read_only_between_two_cells(
    stocked: Path, ready: Callable[[str], Path], undisturbed: Callable[[str], Path], tally: Tally
) -> None:
    run, command = ready("accuracy"), COMMANDS["accuracy"]
    results, log = run / "results", run.with_name("log")
    results.mkdir()
    with room() as here:
        process = here.start(command.argv(run, stocked), log)
        first = awaited(results)
        here.read_only(results)
        code = process.wait(300)
        refused(code, said_in(run.parent), "Read-only file system", "Choose another folder")
        assert list(results.glob("*.json")) == [first] and broken(results) == []
        here.writable(results)
        kept = first.read_bytes()
        assert here.run(command.argv(run, stocked), log) == 0
    assert first.read_bytes() == kept and outcome(run) == outcome(undisturbed("accuracy")) and litter(run) == []
    tally.note("results that become read-only between two cells")


def test_results_that_are_deleted_between_two_cells(
    stocked: Path, ready: Callable[[str], Path], undisturbed: Callable[[str], Path], tally: Tally
) -> None:
    run, command = ready("accuracy"), COMMANDS["accuracy"]
    with command.start(run, stocked) as process:
        awaited(run / "results")
        shutil.rmtree(run / "results", ignore_errors=True)
        code = process.wait(300)
    assert code in (0, 2) and "Traceback" not in said_in(run), said_in(run)
    assert broken(run / "results") == []
    assert command.run(run, stocked) == 0 and outcome(run) == outcome(undisturbed("accuracy")) and litter(run) == []
    tally.note("results that are deleted between two cells")


def awaited(results: Path) -> Path:
    """The first record, once it is there."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        if found := list(results.glob("*.json")):
            return found[0]
        time.sleep(0.005)
    raise AssertionError("no record came")


def a_file(path: Path) -> None:
    path.write_text("taken")


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere") / "deep")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("place", ["results", "cache"])
@pytest.mark.parametrize("taken", [a_file, a_link_to_nowhere, a_link_to_itself])
def test_places_that_are_taken(
    place: str, taken: Callable[[Path], None], ground: Path, tmp_path: Path, thorough: bool, tally: Tally
) -> None:
    if not thorough and (place, taken) not in (("results", a_file), ("cache", a_link_to_nowhere)):
        pytest.skip("in thorough only")
    run = tmp_path / "run"
    run.mkdir()
    taken(run / place)
    code = COMMANDS["accuracy"].run(run, ground)
    refused(code, said_in(run), f"cannot write {run / place}", "wanted a writable folder")
    tally.note(f"{place} that are {taken.__name__.replace('_', ' ')}")


def test_a_record_that_is_a_folder(
    ground: Path, ready: Callable[[str], Path], undisturbed: Callable[[str], Path], tally: Tally
) -> None:
    run, name = ready("accuracy"), next(iter(outcome(undisturbed("accuracy"))))
    (run / "results" / name).mkdir(parents=True)
    code = COMMANDS["accuracy"].run(run, ground)
    refused(code, said_in(run), str(run / "results" / name), "Delete")
    (run / "results" / name).rmdir()
    tally.note("a record that is a folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_folders_of_somebody_else(thorough: bool, tally: Tally) -> None:
    """Permissions, which root does not feel: a process that has become nobody."""
    nobody = pwd.getpwnam(NOBODY)
    drop = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--"]
    drop += ["env", "--unset=COVERAGE_PROCESS_CONFIG"]  # or it would be asked to write beside the code
    with tempfile.TemporaryDirectory(dir="/tmp") as name, room() as here:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "results").mkdir(mode=0o755)
        if here.run(
            [*drop, sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import bench"],
            folder / "log",
        ):
            pytest.skip(f"nobody cannot read {ROOT} or {sys.executable}: {said_in(folder)}")
        words = f"-m bench.profile --rerankers none --device cpu --records {folder}/results --cache {folder}/cache"
        code = here.run([*drop, sys.executable, *words.split()], folder / "log", {"HOME": str(folder)})
        refused(code, said_in(folder), "Permission denied", "Choose a folder that you may write to")
        assert list((folder / "results").iterdir()) == []
    tally.note("a folder of somebody else")
