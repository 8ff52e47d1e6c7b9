"""The fixture as others use it, in pytest runs of their own, and the page that shows it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from bench.contract import breaches, subject
from bench.errors import BenchError
from bench.pytest_plugin import _row
from rerankers import Ranking, Reranker
from rerankers.interface import best_first
from tests.support import ROOT

PAGE = ROOT / "docs" / "own-reranker.md"
PLUGIN = "bench.pytest_plugin"
FEW = {"candidates": 10, "sizes": {"query_locals": 8, "candidate_locals": 8, "local_dim": 16}}

TESTS = """
import pytest
import torch

import bench.measure
from rerankers import Flops, Reranker

SIZES = {"candidates": 10, "query_locals": 8, "candidate_locals": 8, "local_dim": 16, "rounds": 3, "warmup_rounds": 2}


class Counted(Reranker):
    needs = ("local",)
    calls = 0

    def __init__(self):
        self.network = torch.nn.Linear(16, 4, bias=False).requires_grad_(False)

    def score(self, query, candidates):
        type(self).calls += 1
        return self.network(candidates.local).sum(dim=(1, 2))

    def closed_form(self, query, candidates):
        return Flops(executed=2 * 10 * 8 * 16 * 4, algorithmic=2 * 10 * 8 * 16 * 4)

    def module(self):
        return self.network


class Uncounted(Counted):
    uncounted = "it stops early"


class Hungry(Counted):
    def score(self, query, candidates):
        self.held = torch.ones(64 << 18)  # 64 MiB, touched
        scores = super().score(query, candidates)
        del self.held
        return scores


class Growing(Counted):
    def score(self, query, candidates):
        return super().score(query, candidates) + type(self).calls


@pytest.fixture(autouse=True)
def known_peak(monkeypatch):
    monkeypatch.setattr(bench.measure, "matmul_peak", lambda dtype: 1e12)


def test_counted(rerank_benchmark, benchmark):
    ranking = rerank_benchmark(Counted(), **SIZES)
    assert ranking.order.shape == ranking.key.shape == (10,)
    assert benchmark.disabled or benchmark.extra_info["gflops_executed"] == 2 * 10 * 8 * 16 * 4 / 1e9
    print(f"calls: {Counted.calls}")


def test_uncounted(rerank_benchmark):
    rerank_benchmark(Uncounted(), name="not counted", **SIZES)


def test_hungry(rerank_benchmark):
    rerank_benchmark(Hungry(), **SIZES)


def test_by_name(rerank_benchmark):
    rerank_benchmark("chamfer:rootsift-48", candidates=5, rounds=1, warmup_rounds=0)


def test_broken(rerank_benchmark):
    rerank_benchmark(Growing(), **SIZES)


def test_without_sizes(rerank_benchmark):
    rerank_benchmark(Counted())
"""


class Run:
    """A run of pytest by somebody else, in a folder and a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.report, self.saved = folder / "report.xml", folder / "saved.json"
        command = ["-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={self.report}", *arguments]
        self.code, self.text = python(folder, *command)

    @property
    def outcomes(self) -> dict[str, str]:
        """passed, failed, error or skipped, by test."""
        words = {"failure": "failed", "error": "error", "skipped": "skipped"}
        cases = ET.parse(self.report).iter("testcase")
        return {case.attrib["name"]: next((words[c.tag] for c in case if c.tag in words), "passed") for case in cases}

    def info(self) -> dict[str, dict]:
        """extra_info by test, of --benchmark-json."""
        return {one["name"]: one["extra_info"] for one in json.loads(self.saved.read_text("utf8"))["benchmarks"]}


def python(folder: Path, *command: str) -> tuple[int, str]:
    """Exit code and output of the interpreter, in a folder whose modules and entry points it finds."""
    path = os.pathsep.join((str(folder), str(ROOT)))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("PYTEST_ADDOPTS", None)
    ended = subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return ended.returncode, ended.stdout


def installed(folder: Path, project: str) -> None:
    """What pip leaves of a pyproject.toml for others to find: its entry points."""
    told = tomllib.loads(project)["project"]
    info = folder / f"{told['name'].replace('-', '_')}-{told['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {told['name']}\nVersion: {told['version']}\n")
    groups = told["entry-points"].items()
    lines = [line for group, points in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines))


def blocks(language: str) -> list[str]:
    found = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", PAGE.read_text("utf8"))
    return [text for name, text in found if name == language]


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("others")
    (folder / "test_others.py").write_text(TESTS)
    return Run(folder, "-p", PLUGIN, f"--benchmark-json={folder / 'saved.json'}", "-rP")


def test_what_passes_and_what_fails(measured):
    failed = {name for name, outcome in measured.outcomes.items() if outcome != "passed"}
    assert measured.code == 1 and failed == {"test_broken", "test_without_sizes"}, measured.text
    assert "Growing breaks the contract of a re-ranker" in measured.text
    assert "the same inputs gave another ranking" in measured.text
    assert "Counted, which needs 'local', without local_dim" in measured.text
    assert "local_dim=128" in measured.text


def test_calls(measured):
    # cold, 2 warm-up, 3 measured, one of ties, before the test looks: memory and two counts are taken in between
    assert "calls: 10" in measured.text


def test_what_is_saved(measured):
    info = measured.info()["test_counted"]
    assert info["reranker"] == "Counted" and info["candidates"] == 10 and info["parameters"] == 16 * 4
    assert info["flops_verdict"] == "agree" and "closed form: 10,240" in info["flops_explanation"]
    assert info["share_of_peak"] == pytest.approx(info["gflop_per_s"] / 1000)
    assert info["noisy"] in (True, False)
    assert info["inputs"] == "8 x 8 locals of 16" and info["reasons"] == {}
    assert len(info["scores_sha256"]) == 64 and len(info["machine"]) == 12 and info["threads"]["torch"] == 1
    assert "test_broken" not in measured.info()


def test_a_missing_figure_has_its_reason(measured):
    info = measured.info()["test_uncounted"]
    assert info["reranker"] == "not counted"
    assert info["gflops_executed"] is info["gflop_per_s"] is info["share_of_peak"] is None
    assert info["reasons"]["gflops_executed"] == "it stops early"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not say a process's peak")
def test_peak_memory_is_what_was_allocated(measured):
    assert measured.info()["test_hungry"]["peak_memory_bytes"] == pytest.approx(64 << 20, rel=0.05)


def test_the_table_at_the_end(measured):
    table = measured.text.split("cost of re-rankers")[1]
    rows = {line.split("  ")[0]: line for line in table.splitlines()}
    assert {"Counted", "not counted", "Hungry", "chamfer:rootsift-48"} <= set(rows)
    assert "Growing" not in rows
    assert rows["not counted"].count("- [1]") == 3 and "[1] it stops early" in table


def test_a_disturbed_row_says_so():
    quiet = {"reranker": "mine", "candidates": 10, "gflops_executed": 1.0, "median_ms": 2.0, "gflop_per_s": 500.0}
    quiet |= {
        "share_of_peak": 0.5,
        "peak_memory_bytes": None,
        "reasons": {"peak_memory_bytes": "hidden"},
        "noisy": False,
    }
    notes: dict[str, int] = {}
    assert _row(quiet, notes) == ("mine", "10", "1.00", "2.00", "500", "50.0", "- [1]") and notes == {"hidden": 1}
    assert _row({**quiet, "noisy": True}, notes)[3] == "2.00 [2]" and "noisy" in list(notes)[1]


def test_disabled_it_still_checks_the_contract(tmp_path):
    (tmp_path / "test_others.py").write_text(TESTS)
    run = Run(tmp_path, "-p", PLUGIN, "--benchmark-disable", "-rP")
    assert {name for name, outcome in run.outcomes.items() if outcome != "passed"} == {
        "test_broken",
        "test_without_sizes",
    }
    assert "calls: 3" in run.text and "cost of re-rankers" not in run.text


QUIET = """
import sys

def test_nothing_heavy_is_loaded():
    assert "bench.pytest_plugin" in sys.modules
    assert not {"torch", "numpy", "bench.contract", "bench.measure"} & set(sys.modules)

def test_skipped(rerank_benchmark):
    rerank_benchmark("none")

def test_of_another_kind():
    pass
"""


@pytest.mark.parametrize("how", ["entry point", "by hand", "both"])
def test_it_is_found_costs_nothing_at_the_start_and_is_skipped_on_request(tmp_path, how):
    (tmp_path / "test_quiet.py").write_text(QUIET)
    if how != "by hand":
        installed(tmp_path, (ROOT / "pyproject.toml").read_text("utf8"))
    # only the plug-ins that are wanted here: others that are installed may load numpy
    run = Run(
        tmp_path, *(() if how == "entry point" else ("-p", PLUGIN)), "--benchmark-skip", "-p", "no:hypothesispytest"
    )
    assert run.code == 0, run.text
    assert run.outcomes["test_skipped"] == "skipped"


class Scores(Reranker):
    """Breaks what it is told to."""

    needs = ("local",)

    def __init__(self, breaks: str = "") -> None:
        self.breaks = breaks

    def score(self, query, candidates):
        if self.breaks == "inputs":
            candidates.local.mul_(1.0000001).sub_(1e-3)
        scores = candidates.local[:, 0, 0].clone()
        if self.breaks == "infinite":
            scores[1] = torch.inf
        return scores

    def ranking(self, query, candidates, similarity):
        found = super().ranking(query, candidates, similarity)
        if self.breaks == "number":
            return Ranking(found.order[1:], found.key[1:])
        if self.breaks == "order":
            return Ranking(found.order.roll(1), found.key)
        if self.breaks == "ties":
            return Ranking(found.key.argsort(stable=True).flip(0), found.key)
        return found


SENTENCES = {
    "": [],
    "inputs": ["the same inputs gave another ranking", "changed its inputs"],
    "infinite": ["1 of 10 scores are NaN or infinite"],
    "number": ["for 10 candidates; wanted one score a candidate"],
    "order": ["not that of the scores", "again and again"],
    "ties": ["again and again"],
}


@pytest.mark.parametrize("breaks", SENTENCES)
def test_breaches(breaks):
    taken = subject(Scores(breaks), **FEW)
    kept, first = taken.copied(), taken.call()
    found = breaches(taken, kept, first, taken.call())
    assert len(found) == len(SENTENCES[breaks])
    assert all(sentence in said for sentence, said in zip(SENTENCES[breaks], found, strict=True))


def test_behind_a_window_scores_may_be_infinite():
    reranker = Scores()
    reranker.window = 4
    taken = subject(reranker, **FEW)
    kept, first = taken.copied(), taken.call()
    assert torch.isinf(first.key[4:]).all() and not breaches(taken, kept, first, taken.call())


@pytest.mark.parametrize("request_", ["none", "sg-rerank", "ransac:affine", "chamfer:rootsift-48", "ames:micro"])
def test_those_that_are_known_keep_the_contract(request_):
    taken = subject(request_, candidates=6)
    kept, first = taken.copied(), taken.call()
    assert torch.equal(first.order, best_first(first.key)) and not breaches(taken, kept, first, taken.call())


def test_sizes_of_the_caller_go_before_those_of_the_name():
    taken = subject("chamfer:rootsift-48", candidates=3, sizes={"local_dim": 32})
    assert taken.candidates.local.shape == (3, 48, 32)


@pytest.mark.parametrize(
    ("reranker", "sizes", "words"),
    [
        (Scores(), {}, "without local_dim"),
        (Scores(), {"locals": 3}, "unknown size of inputs 'locals'"),
        ("chamfr", {}, "chamfer"),
    ],
)
def test_bad_input_is_said(reranker, sizes, words):
    with pytest.raises(ValueError, match=words):
        subject(reranker, candidates=3, sizes=sizes)


def test_a_gpu_is_refused():
    class OnMeta(Scores):
        def module(self):
            return torch.nn.Linear(2, 2, device="meta")

    with pytest.raises(BenchError, match="bench.profile --device cuda"):
        subject(OnMeta(), **FEW)


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """The page's module, installed as the page says."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text("\n\n".join(blocks("python")))
    (project,) = blocks("toml")
    installed(folder, project)
    return folder


def test_the_page_keeps_its_word():
    first, *_ = blocks("python")
    assert len(first.splitlines()) <= 20
    assert re.match(r"# .* in 20 lines\n", PAGE.read_text("utf8"))


def test_the_page_runs(own):
    (own / "page").mkdir()
    (own / "page" / "mine.py").write_text(blocks("python")[0])
    run = Run(own / "page", "-p", PLUGIN, "mine.py")
    assert run.code == 0, run.text
    table = run.text.split("cost of re-rankers")[1]
    printed = next(block for block in blocks("") if "GFLOP" in block)
    names = [line.split()[0] for line in printed.splitlines() if re.match(r"\S+ +100 ", line)]
    assert names == ["BestThree", "chamfer:rootsift-48"] and all(f"\n{name} " in table for name in names)


def test_the_page_s_family_is_profiled(own, tmp_path):
    command = ("--rerankers", "mine", "--candidates", "5", "--protocol", "quick", "--budget", "1", "--threads", "1")
    code, text = python(own, "-m", "bench.profile", *command, "--device", "cpu", "--records", str(tmp_path))
    assert code == 0, text
    (record,) = (json.loads(path.read_text("utf8")) for path in tmp_path.glob("*.json"))
    assert record["key"]["reranker"] == "mine:best-three" and record["status"] == "ok"


def test_the_page_s_commands_exist():
    commands = re.findall(r"python -m (bench\.\w+)", PAGE.read_text("utf8"))
    assert commands and all((ROOT / f"{name.replace('.', '/')}.py").exists() for name in commands)
