"""The gate as a command: real processes on two cheap re-rankers, changes planted into what is stored."""

from __future__ import annotations

import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from bench import check
from bench.check import main
from bench.errors import BenchError
from bench.gate import checking, revisions
from bench.gate import duels as several
from bench.gate.checking import Gate
from bench.prepare import Descriptors
from bench.results import Figure, Record, ResultStore
from tests.bench.gate.fakes import FakeDuels
from tests.support import MINI, ROOT, exit_code

NAMES = ("none:first-stage", "sg-rerank:default")
OPTIONS: dict[str, Any] = {
    "rerankers": "none,sg-rerank",
    "candidates": 6,
    "duels": 1,
    "threads": 1,
    "training": MINI,
    "local_descriptors": 50,
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def baselines(cache, tmp_path_factory):
    """A baseline of this tree."""
    folder = tmp_path_factory.mktemp("baselines")
    assert job(cache, folder, folder.parent, update=True) == 0
    return folder


@pytest.fixture(autouse=True)
def no_job_page(monkeypatch):
    monkeypatch.delenv(check.STEP_SUMMARY, raising=False)


def job(cache: Path, baselines: Path, records: Path, **changes: Any) -> int:
    return exit_code(main, baselines=baselines, cache=cache, records=records, **(OPTIONS | changes))


def records_of(folder: Path) -> dict[tuple[str, str], Record]:
    return {(record.key.kind, record.key.reranker): record for record in ResultStore(folder)}


def replaced(baselines: Path, folder: Path, kind: str, reranker: str, **changes: Any) -> Path:
    """A copy of the baseline with one record changed."""
    shutil.copytree(baselines, folder)
    store = ResultStore(folder)
    store.put(records_of(folder)[kind, reranker].model_copy(update=changes))
    return folder


@pytest.fixture
def as_before(monkeypatch, baselines):
    """What this tree gives is what it gave: without running it again."""
    monkeypatch.setattr(Gate, "fresh", lambda gate: list(ResultStore(baselines)))


def test_images_are_described_as_every_re_ranker_of_the_default_list_reads_them():
    """Which a small data set to learn words on would not do: whitening cannot give more dimensions than images."""
    given = {name: one.default for name, one in signature(main).parameters.items()}
    assert Descriptors(locals=given["local_descriptors"], training=given["training"]) == Descriptors()


def test_update_stores_all_that_is_compared(baselines):
    found = records_of(baselines)
    assert set(found) == {(kind, name) for kind in ("gate", "accuracy") for name in NAMES}
    gate = found["gate", "sg-rerank:default"]
    assert len(gate.series["scores"]) == 6 and len(gate.scores_sha256) == 64
    assert len(gate.series["latency_process_medians_ms"]) == 1 and gate.figure("parameters").value == 0
    assert gate.figure("latency_median_ms").value > 0 and gate.key.weights == "none"
    assert len(found["accuracy", "none:first-stage"].series["ap_hard"]) == 8


def test_the_same_code_is_fine_and_every_output_is_written(cache, baselines, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n")
    monkeypatch.setenv(check.STEP_SUMMARY, str(page))
    files = {name: tmp_path / "out" / name for name in ("summary", "junit", "json")}
    assert job(cache, baselines, tmp_path, **files) == 0
    assert files["summary"].read_text().startswith("### No regression")
    assert page.read_text() == "before\n" + files["summary"].read_text()
    suite = ET.parse(files["junit"]).getroot().find("testsuite")
    assert suite.get("failures") == suite.get("errors") == "0" and int(suite.get("tests")) == 16
    found = json.loads(files["json"].read_text())
    statuses = {(one["reranker"], one["what"]): one["status"] for one in found["verdicts"]}
    for name in NAMES:
        for what in ("weights", "parameters", "kernels", "scores", "AP"):
            assert statuses[name, what] == "same"
        assert statuses[name, "latency"] == statuses[name, "memory"] == "not compared"
    assert found["exit_code"] == 0 and found["machine"] and "sg-rerank:default" in capsys.readouterr().out


def test_a_changed_fact_is_a_regression(cache, baselines, tmp_path, as_before):
    record = records_of(baselines)["gate", "sg-rerank:default"]
    fewer = record.figures | {"parameters": Figure(value=7)}
    folder = replaced(baselines, tmp_path / "b", "gate", "sg-rerank:default", figures=fewer)
    report = tmp_path / "found.json"
    assert job(cache, folder, tmp_path, json=report) == 1
    (changed,) = [one for one in json.loads(report.read_text())["verdicts"] if one["status"] == "changed"]
    assert (changed["what"], changed["base"], changed["head"]) == ("parameters", "7", "0")


def test_a_worse_query_is_a_regression(cache, baselines, tmp_path, as_before):
    record = records_of(baselines)["accuracy", "none:first-stage"]
    better = record.series | {"ap_hard": [min(1.0, (ap or 0) + 0.01) for ap in record.series["ap_hard"]]}
    folder = replaced(baselines, tmp_path / "b", "accuracy", "none:first-stage", series=better)
    assert job(cache, folder, tmp_path) == 1


def test_a_cell_that_is_gone_or_fails_is_missing(cache, baselines, tmp_path, monkeypatch):
    fresh = list(ResultStore(baselines))
    monkeypatch.setattr(Gate, "fresh", lambda gate: fresh[:-1])
    assert job(cache, baselines, tmp_path) == 3
    failed = fresh[-1].model_copy(update={"status": "failed", "reason": "no result after 600 s"})
    monkeypatch.setattr(Gate, "fresh", lambda gate: [*fresh[:-1], failed])
    assert job(cache, baselines, tmp_path) == 3
    assert job(cache, baselines, tmp_path, rerankers="none") == 0  # nobody asked for it


def test_without_a_baseline_nothing_can_be_compared(cache, tmp_path):
    with pytest.raises(BenchError, match="no baseline in .*--update"):
        main(baselines=tmp_path / "none", cache=cache, records=tmp_path, **OPTIONS)


def test_update_takes_the_place_of_older_records_and_keeps_those_of_failed_cells(
    baselines, cache, tmp_path, monkeypatch
):
    fresh = list(ResultStore(baselines))
    shutil.copytree(baselines, tmp_path / "b")
    other = [one.model_copy(update={"key": one.key.model_copy(update={"weights": "other"})}) for one in fresh[:-1]]
    failed = fresh[-1].model_copy(update={"status": "failed", "reason": "no result after 600 s"})
    monkeypatch.setattr(Gate, "fresh", lambda gate: [*other, failed])
    assert job(cache, tmp_path / "b", tmp_path, update=True) == 3
    found = list(ResultStore(tmp_path / "b"))
    assert len(found) == len(fresh) and all(one.status == "ok" for one in found)
    assert sorted(one.key.weights for one in found) == ["none", "other", "other", "other"]


def test_update_makes_no_sense_against_a_revision(cache, tmp_path):
    with pytest.raises(BenchError, match="--update with --against"):
        main(against="HEAD", update=True, baselines=tmp_path, cache=cache, records=tmp_path, **OPTIONS)


def test_calibration_is_stored_and_used_from_then_on(cache, baselines, tmp_path, monkeypatch, as_before, capsys):
    monkeypatch.setattr(several, "duel", FakeDuels())
    shutil.copytree(baselines, tmp_path / "b")
    assert job(cache, tmp_path / "b", tmp_path / "r", calibrate=True, duels=4, duels_in_all=8, update=True) == 0
    assert set(records_of(tmp_path / "r")) == {("noise", name) for name in NAMES} < set(records_of(tmp_path / "b"))
    assert "sg-rerank:default" in capsys.readouterr().out and not list((cache / "gate").glob("calibrate-*"))
    report = tmp_path / "found.json"
    assert job(cache, tmp_path / "b", tmp_path, json=report) == 0
    statuses = {one["what"]: one["status"] for one in json.loads(report.read_text())["verdicts"]}
    assert statuses["latency"] == "within noise" and statuses["memory"] in ("same", "within noise")


def test_power_is_stored(cache, tmp_path, monkeypatch):
    from tests.bench.gate.test_calibrating import scores

    monkeypatch.setattr("bench.gate.calibrating.facts", scores)
    monkeypatch.setattr(several, "duel", FakeDuels())
    assert job(cache, tmp_path / "b", tmp_path / "r", calibrate=True, duels=4, duels_in_all=8, power=8) == 0
    kinds = [record.key.kind for record in ResultStore(tmp_path / "r")]
    assert kinds.count("noise") == 2 and kinds.count("power") == 8 and not (tmp_path / "b").exists()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout whose one commit holds this tree's re-rankers, sg-rerank with its scores turned round."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "rerankers", folder / "rerankers", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    source = folder / "rerankers" / "superglobal.py"
    source.write_text(source.read_text() + TURNED)
    identity = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    for arguments in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "--message=Turned")):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    monkeypatch.setattr(revisions, "ROOT", folder)
    return folder


TURNED = """

for _variant in VARIANTS.values():
    def _turned(make=_variant.make):
        made = make()
        original = made.score
        made.score = lambda query, candidates: -original(query, candidates)
        return made
    object.__setattr__(_variant, "make", _turned)
"""


def test_against_a_revision(checkout, cache, tmp_path):
    report = tmp_path / "found.json"
    assert job(cache, tmp_path / "b", tmp_path, against="HEAD", duels=2, json=report) == 1
    found = json.loads(report.read_text())
    verdicts = {(one["reranker"], one["what"]): one for one in found["verdicts"]}
    assert verdicts["none:first-stage", "scores"]["status"] == verdicts["none:first-stage", "AP"]["status"] == "same"
    assert verdicts["sg-rerank:default", "scores"]["status"] == "changed"
    assert "another ranking" in verdicts["sg-rerank:default", "scores"]["detail"]
    assert verdicts["sg-rerank:default", "AP"]["status"] in ("better", "worse")
    assert "as long as nothing is calibrated" in verdicts["none:first-stage", "latency"]["detail"]
    assert "Turned" in found["base"] and any("--calibrate" in note for note in found["notes"])


def test_an_unknown_revision_is_bad_input(checkout, cache, tmp_path):
    with pytest.raises(BenchError, match="unknown revision 'nowhere'"):
        main(against="nowhere", baselines=tmp_path, cache=cache, records=tmp_path, **OPTIONS)


def test_cells_are_the_default_ones_and_all_others_of_the_baseline(baselines):
    stored = list(ResultStore(baselines))
    extra = stored[0].model_copy(update={"key": stored[0].key.model_copy(update={"reranker": "ransac:homography"})})
    gone = stored[0].model_copy(update={"key": stored[0].key.model_copy(update={"reranker": "gone:micro"})})
    names = [cell.reranker for cell in checking.cells_of("", [*stored, extra, gone], candidates=6, seed=0)]
    assert len(names) == len(checking.DEFAULT) + 1 and names[-1] == "ransac:homography"
    asked = checking.cells_of("sg-rerank,none", stored, candidates=6, seed=1)
    assert [(cell.reranker, cell.candidates, cell.seed) for cell in asked] == [(NAMES[1], 6, 1), (NAMES[0], 6, 1)]
