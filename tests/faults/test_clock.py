"""Clocks that are wrong and jump, and files of the future and of 1970: the same outcome, nothing done twice, and no
time that runs backwards in what is said and recorded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.results import ResultStore
from tests.faults.commands import COMMANDS, finished, litter, outcome
from tests.support import ROOT
from tests.tally import Tally

#: Runs of each command, in short and thorough.
RUNS = {"accuracy": (1, 5), "profile": (0, 5), "extract": (0, 5), "train": (0, 5)}
#: Seconds since 1970: then, before, and in 2100.
TIMES = (0, -86400, 4102444800)
MARK = "RERANK_JUMPS"

#: Not imported: whoever does has the clock that it makes.
JUMPING = Path(__file__).with_name("jumping.py")

pytestmark = pytest.mark.timeout(0)


def run(name: str, folder: Path, ground: Path, **env: str) -> int:
    """The exit code of a command with this environment; what it says goes to folder/log."""
    with (folder / "log").open("ab") as log:
        return subprocess.run(
            COMMANDS[name].argv(folder, ground),
            cwd=ROOT,
            env=os.environ | env,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=600,
        ).returncode


@pytest.mark.parametrize("name", RUNS)
def test_a_clock_that_jumps(
    name: str,
    ground: Path,
    undisturbed: Callable[[str], Path],
    tmp_path: Path,
    thorough: bool,
    tally: Tally,
) -> None:
    shutil.copy(JUMPING, tmp_path / "sitecustomize.py")
    if not RUNS[name][thorough]:
        pytest.skip("in thorough only")
    for number in range(RUNS[name][thorough]):
        folder, jumps = COMMANDS[name].ready(tmp_path / str(number), ground), tmp_path / f"{number}.jumps"
        jumps.mkdir()
        env = {"PYTHONPATH": str(tmp_path), MARK: str(jumps)}
        code = run(name, folder, ground, **env)
        said = (folder / "log").read_text(encoding="utf8")
        assert code == 0, said
        assert "Traceback" not in said and not re.search(r"-\d+(\.\d+)? (s|min)\b", said), said
        assert len(list(jumps.iterdir())) >= 1
        assert outcome(folder) == outcome(undisturbed(name)) and litter(folder) == []
        for record in ResultStore(folder / "results"):
            assert 0 < record.provenance.wall_s < 600
            assert all((value.value or 0) >= 0 for key, value in record.figures.items() if key.endswith(("_s", "_ms")))
        before = finished(folder)
        assert run(name, folder, ground, **env) == 0 and finished(folder) == before
        tally.note(f"a clock that jumps under {name}, and under its second start")


def test_files_of_the_future_and_of_1970(
    ground: Path, undisturbed: Callable[[str], Path], tmp_path: Path, tally: Tally
) -> None:
    """What is kept is known by its content: all but the images, whose times say whether they have changed."""
    folder = shutil.copytree(undisturbed("accuracy"), tmp_path / "run")
    before = finished(folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".jpg"]
    for number, path in enumerate(files):
        os.utime(path, (TIMES[number % len(TIMES)],) * 2)
    contents = {path: path.read_bytes() for path in files if path.suffix == ".hdf5"}
    assert run("accuracy", folder, ground) == 0
    assert finished(folder) == before and outcome(folder) == outcome(undisturbed("accuracy"))
    assert all(path.read_bytes() == content for path, content in contents.items())
    said = (folder / "log").read_text(encoding="utf8")
    assert "descriptors of" not in said and said.count(": kept from ") == len(before)
    tally.note("files of 1969, 1970 and 2100 under accuracy", tried=len(files))


def test_images_of_the_future_and_of_1970(ground: Path, tmp_path: Path, thorough: bool, tally: Tally) -> None:
    (source,) = (ground / "cache" / "datasets").glob("facades-mini-*")
    images = shutil.copytree(source, tmp_path / "own")
    pictures = sorted(images.rglob("*.jpg"))
    for number, path in enumerate(pictures):
        os.utime(path, (TIMES[number % len(TIMES)],) * 2)
    program = f"-m bench.extract {images} --preset rootsift --side 128 --top 20 --device cpu --threads 1"
    words = [sys.executable, *program.split(), "--cache", tmp_path / "cache", "--out", tmp_path / "out"]
    found = []
    for _ in range(2):
        assert subprocess.run(words, cwd=ROOT, capture_output=True, timeout=600).returncode == 0
        found.append({path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "out").iterdir()})
    assert len(found[0]) == 4 and found[0] == found[1]
    tally.note("images of 1969, 1970 and 2100 under extract, twice", tried=len(pictures))
