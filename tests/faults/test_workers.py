"""Re-rankers that crash, hang, eat the memory or babble: each ends as a failed record with a reason, the others are
unharmed, and nothing that they have started goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench.results import Record, ResultStore
from tests.faults import faulty
from tests.support import MINI, ROOT, by_name
from tests.tally import Tally

#: More than a cell takes on a busy machine; what hangs is waited for less.
TIMEOUT_S, HANGING_S = 120, 15
LIMIT_GIB = 2
MARK = "RERANK_FAULTS"
MIB = 1 << 20
#: What is well, before and behind the others.
FIRST, LAST = "none:first-stage", "chamfer:rootsift-48"
NO_RESULT = "before it gave a result"
KILLED = "killed by SIGKILL, as the kernel does when the machine is out of memory"
#: How the reason begins, by fault; None for a cell that is well all the same.
REASONS = {
    **dict.fromkeys(("fine", "chatters", "grandchildren", "threads", "forks"), None),
    **dict.fromkeys(("sleeps", "busy", "stubborn", "holding", "stopped"), f"no result after {HANGING_S} s"),
    "segfault": f"killed by SIGSEGV {NO_RESULT}",
    "killed": KILLED,
    "leaves": f"exited with code 0 {NO_RESULT}",
    "exits": "SystemExit: no more",
    "unspeakable": "ValueError: no such image: caf\\udce9\\udcff.jpg\\x1b[31m\n",
    "speechless": "Mute",
    "verbose": "ValueError: yyy",
    "grandchildren-and-leaves": f"exited with code 3 {NO_RESULT}",
    "closes": "exited with code 1",
    "babbles": "something else than a result came from it",
    "shuts": f"closed its channel to this process {NO_RESULT}",
    "becomes-another": f"closed its channel to this process {NO_RESULT}",
    "greedy": "out of memory: ",
    "not-a-number": "RerankError: NotANumber gave scores",
}
#: What is tried in short, a fault by one command only; each takes seconds.
BRIEFLY = {
    "accuracy": ("segfault", "unspeakable", "grandchildren-and-leaves", "chatters"),
    "profile": ("killed", "leaves", "closes", "greedy"),
}
ENDLESS, BRIEFLY_ENDLESS = tuple(fault.__name__ for fault in faulty.ENDLESS), ("holding",)
OPTIONS = {
    "accuracy": f"--dataset {MINI} --training {MINI} --locals 100 --shortlist 10",
    "profile": "--protocol quick --budget 0 --warmup 0 --runs 1 --candidates 5 --device cpu",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package that adds the family `faulty`."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copy(faulty.__file__, folder / "faulty.py")
    facts = folder / "faulty-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[rerankers]\nfaulty = faulty\n")
    return folder


class Run:
    """One command on its way, and what is left of it."""

    def __init__(
        self,
        name: str,
        rerankers: Iterable[str],
        package: Path,
        folder: Path,
        *,
        timeout_s: float = TIMEOUT_S,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        folder.mkdir()
        words = f"-m bench.{name} {OPTIONS[name]} --rerankers {','.join(rerankers)} --threads 1 --timeout {timeout_s}"
        limit = () if before else ("--memory-limit", str(LIMIT_GIB))
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *words.split(), *limit, "--records", folder / "results", "--cache", folder / "cache"],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(package), MARK: self.mark},
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=before,
            )

    def end(self) -> tuple[int, dict[str, Record]]:
        """Its exit code, and its records by re-ranker."""
        code = self.process.wait(1200)
        return code, by_name(self.folder / "results")

    def left_over(self) -> list[str]:
        """Processes that it has started and that go on."""
        found = []
        for process in psutil.process_iter(["environ", "cmdline"]):
            if (process.info["environ"] or {}).get(MARK) == self.mark:
                found.append(" ".join(process.info["cmdline"] or ["?"]))
                process.kill()
        return found


@pytest.fixture(scope="module")
def runs(package: Path, tmp_path_factory: pytest.TempPathFactory, thorough: bool) -> Iterator[dict[str, Run]]:
    """Both commands at once, each with re-rankers that are well around those that are not; and one of what hangs."""
    folder, started = tmp_path_factory.mktemp("runs"), {}
    for name in OPTIONS:
        faults = REASONS.keys() - {*ENDLESS, "not-a-number"} if thorough else BRIEFLY[name]
        started[name] = Run(name, [FIRST, *(f"faulty:{fault}" for fault in faults), LAST], package, folder / name)
    hanging = [f"faulty:{fault}" for fault in (ENDLESS if thorough else BRIEFLY_ENDLESS)]
    started["hanging"] = Run("accuracy", hanging, package, folder / "hanging", timeout_s=HANGING_S)
    yield started
    for run in started.values():
        run.process.kill()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*OPTIONS, "hanging"])
def test_each_fault_becomes_a_reason_and_harms_no_other(runs: dict[str, Run], name: str, tally: Tally) -> None:
    run = runs[name]
    code, records = run.end()
    said = (run.folder / "log").read_text(encoding="utf8", errors="replace")
    assert "Traceback" not in said and code == 1, said
    if name in OPTIONS:
        assert records[FIRST].status == records[LAST].status == "ok"
    for key in sorted(records.keys() - {FIRST, LAST}):
        fault, record = key.removeprefix("faulty:"), records[key]
        wanted = REASONS[fault]
        kind = "is well" if wanted is None else "hangs" if fault in ENDLESS else "fails"
        what = f"a worker that {kind}"
        if wanted is None:
            right = record.status == "ok"
        else:
            right = record.status == "failed" and (record.reason or "").startswith(wanted)
        tally.note(what, found=None if right else f"{fault}: {record.status}, {record.reason}")
        assert right, (fault, record.status, record.reason)
    assert run.left_over() == []


def test_a_limit_says_how_much_it_allows(runs: dict[str, Run]) -> None:
    reason = runs["profile"].end()[1]["faulty:greedy"].reason or ""
    assert reason.endswith(f"(under a limit of {LIMIT_GIB} GiB)") and "can't allocate memory" in reason


def test_the_limit_is_no_part_of_what_is_looked_up(runs: dict[str, Run]) -> None:
    for run in runs.values():
        for record in ResultStore(run.folder / "results"):
            assert not [name for name in record.key.model_dump() if "memory" in name]


def test_scores_that_are_no_numbers_are_bad_input(package: Path, tmp_path: Path, tally: Tally) -> None:
    run = Run("profile", ["faulty:not-a-number"], package, tmp_path / "run")
    code, records = run.end()
    reason = records["faulty:not-a-number"].reason or ""
    assert code == 2 and reason.startswith("RerankError: NotANumber gave scores of shape (5,) with 5 NaN")
    tally.note("a worker that fails")


def test_the_kernel_kills_the_worker_and_not_the_command(package: Path, tmp_path: Path, tally: Tally) -> None:
    """Under a limit of a control group, which no process can see coming."""
    with control_group(1200 * MIB) as enter:
        run = Run("profile", ["faulty:greedy", LAST], package, tmp_path / "run", before=enter)
        code, records = run.end()
        assert run.left_over() == []
    assert code == 1 and records[LAST].status == "ok"
    assert (records["faulty:greedy"].status, records["faulty:greedy"].reason) == ("failed", KILLED)
    tally.note("a worker that the kernel kills for memory")


@contextmanager
def control_group(limit: int) -> Iterator[Callable[[], None]]:
    """What a child does to be in a new group with this limit of memory; skips where none can be made."""
    one, two = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    parent, file = (one, "memory.limit_in_bytes") if one.is_dir() else (two, "memory.max")
    group = parent / f"rerank-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        (group / file).write_text(str(limit))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group of memory can be made here ({error})")
    try:
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid())) and None
    finally:
        group.rmdir()
