"""The four long commands at their shortest, as real processes that can be killed; and what they have left, told apart
into what an interruption may change and what it may not."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from safetensors import safe_open

from bench.datasets import facades
from bench.files import digest
from bench.results import ResultStore
from tests.support import MINI, ROOT

#: What is learnt from: buildings that facades-mini does not have.
LEARNT = facades.Recipe(
    name="learnt", seed=8, landmarks=4, views=8, distractors=8, long_side_px=320, pixels_per_metre=24
)
#: Names, in the environment of all processes of a run, its log.
MARK = "RERANK_TEST_RUN"
#: So many runs of a command at once: each keeps one core busy.
AT_ONCE = 2
RERANKERS = "none,chamfer:rootsift-48"
#: bench.train, which saves its state every half a second instead of every minute, as its trainings last for minutes.
TRAINING = """
from bench.console import run
from bench.train import main
from bench.training import loop
loop.SAVE_EVERY_S = 0.5
run(main)
"""
#: Of a cost record, what is no measurement of time, of memory or of the machine, which no two runs share.
COUNTED = ("parameters", "gflops", "bytes_least", "bytes_touched")


@dataclass(frozen=True)
class Command:
    """One of them. program: what the interpreter is told; arguments: words, {folder} and {ground} for these folders.

    cold: begins with an empty cache, not with a copy of the prepared one.
    """

    name: str
    program: tuple[str, ...]
    arguments: str
    cold: bool = False

    def ready(self, folder: Path, ground: Path) -> Path:
        """Makes the folder of one run, with all that it needs; returns it."""
        folder.mkdir(parents=True)
        if not self.cold:
            shutil.copytree(ground / "cache", folder / "cache")  # with times of change, which stores go by
        return folder

    def argv(self, folder: Path, ground: Path) -> list[str]:
        words = [word.format(folder=folder, ground=ground) for word in self.arguments.split()]
        return [sys.executable, *self.program, *words]

    def start(self, folder: Path, ground: Path, *, log: str = "log") -> subprocess.Popen[bytes]:
        """Starts it as the leader of a session of its own; what it says goes to folder/log, whose path marks all
        processes of this run (`running`)."""
        with (folder / log).open("ab") as said:
            return subprocess.Popen(
                self.argv(folder, ground),
                cwd=ROOT,
                env=os.environ | {MARK: str(folder / log)},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, folder: Path, ground: Path, *, timeout_s: float = 300) -> int:
        """Runs it to its end; the exit code."""
        with self.start(folder, ground) as process:
            try:
                return process.wait(timeout_s)
            finally:
                process.kill()


# ransac, as a kill is to meet a cell that has done some of its queries
_ON_MINI = f"--dataset {MINI} --training {MINI} --locals 100 --threads 1 --shortlist 40 --rerankers none,ransac"
_HERE = "--cache {folder}/cache --records {folder}/results"
COMMANDS: Mapping[str, Command] = {
    one.name: one
    for one in (
        Command("accuracy", ("-m", "bench.accuracy"), f"{_ON_MINI} {_HERE}"),
        # two processes render and describe, so the sums of the first stage are those of two threads
        Command(
            "accuracy, cold", ("-m", "bench.accuracy"), f"{_ON_MINI.replace('threads 1', 'threads 2')} {_HERE}", True
        ),
        Command(
            "profile",
            ("-m", "bench.profile"),
            "--protocol quick --budget 0 --warmup 0 --runs 1 --candidates 5 --device cpu --threads 1 "
            f"--rerankers {RERANKERS} {_HERE}",
        ),
        Command(
            "extract",
            ("-m", "bench.extract"),
            f"{MINI} --preset rootsift --side 256 --top 50 --device cpu --threads 1 "
            "--cache {folder}/cache --out {folder}/out",
        ),
        Command(
            "train",
            ("-c", TRAINING),
            f"ames --data {{ground}}/learnt --validation {MINI} --training {MINI} --epochs 13 --batch 1 --shortlist 4 "
            "--device cpu --threads 1 --cache {folder}/cache --out {folder}/out",
        ),
    )
}


def prepare(ground: Path) -> Path:
    """Makes what all runs begin with: images to learn from, and a cache in which everything is described."""
    facades.render(LEARNT, ground / "learnt", workers=1)
    (ground / "cache").mkdir()
    for name in ("accuracy", "train"):
        folder = ground / name
        folder.mkdir()
        (folder / "cache").symlink_to(ground / "cache")
        if COMMANDS[name].run(folder, ground) != 0:
            raise AssertionError(f"{name} failed: {(folder / 'log').read_text(encoding='utf8')[-2000:]}")
        shutil.rmtree(folder)
    return ground


def running(log: Path) -> list[psutil.Process]:
    """The processes of the run that was started with this log, whoever has become their parent."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(log) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def outcome(folder: Path) -> dict[str, Any]:
    """Everything that a run must leave as an undisturbed one leaves it."""
    found: dict[str, Any] = {}
    store = ResultStore(folder / "results")
    for record in store:
        content = record.model_dump(mode="json", exclude={"provenance", "notes"})
        content["figures"].pop("rerank_seconds", None)
        if record.key.kind == "cost":
            content["series"] = {name: len(values) for name, values in content["series"].items()}
            content["figures"] = {name: value for name, value in content["figures"].items() if name.startswith(COUNTED)}
        found[store.path(record.key).name] = content
    for path in sorted((folder / "out").glob("*")):
        if path.suffix == ".hdf5" or path.name.endswith("micro.safetensors"):
            found[path.name] = digest(path)
        elif path.suffix == ".csv":
            rows = csv.DictReader(path.open(encoding="utf8"))
            found[path.name] = [{key: row[key] for key in row if key not in ("seconds", "waited")} for row in rows]
    return found


def finished(folder: Path) -> dict[str, bytes | dict[str, Any]]:
    """What is done at this moment: records and stores by their bytes, parts that journals list (`lines`), and how far
    the state of a training is."""
    found: dict[str, bytes | dict[str, Any]] = {}
    for path in sorted([*(folder / "results").glob("*.json"), *(folder / "out").glob("*.hdf5")]):
        found[path.name] = path.read_bytes()
    for path in journals(folder):
        with suppress(FileNotFoundError):  # one that is dropped just now
            found[path.name] = {"lines": whole_lines(path.read_bytes())}
    for path in states(folder):
        found[path.name] = progress(path)
    return found


def journals(folder: Path) -> list[Path]:
    """Those of unfinished cells, and of stores that are being written."""
    return sorted([*(folder / "cache" / "unfinished").rglob("*.journal"), *(folder / "out").glob("*.journal")])


def states(folder: Path) -> list[Path]:
    """Of a training that is on its way or done."""
    return sorted((folder / "out").glob("*.state.safetensors"))


def whole_lines(content: bytes) -> list[bytes]:
    """The finished parts of a journal, without its heading and without a line that a kill has cut."""
    return content.split(b"\n")[1:-1]


def progress(state: Path) -> dict[str, Any]:
    """How far a training is, as its state says."""
    with safe_open(state, "pt") as stored:
        return dict(json.loads(stored.metadata()["progress"]))


def litter(folder: Path) -> list[str]:
    """What a run that ended well should not have left anywhere in its folder."""
    kinds = (".part", ".partial", ".journal", "lock")
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.endswith(kinds))
