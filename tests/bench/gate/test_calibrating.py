"""Calibration and power on duels without processes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bench.errors import BenchError
from bench.gate import calibrating
from bench.gate import duels as several
from bench.gate.baseline import noise_model
from bench.gate.calibrating import calibration, measured_power
from bench.gate.duel import GATE_CANDIDATES, GateCell
from bench.gate.duels import DuelPlan
from bench.provenance import Surroundings
from tests.bench.gate.fakes import FakeDuels

NAMES = ("none:first-stage", "sg-rerank:default")
PLAN = DuelPlan(tuple(GateCell(reranker=name) for name in NAMES), threads=1, timeout_s=9)
HERE = Surroundings(threads=1, seed=0, command="python -m bench.check --calibrate")


@pytest.fixture
def duels(monkeypatch):
    found = FakeDuels()
    monkeypatch.setattr(several, "duel", found)
    return found


def calibrated(tmp_path, count=12):
    return calibration(PLAN, count, duels=4, cache=tmp_path, surroundings=HERE)


def test_a_calibration_gives_a_record_of_every_re_ranker(duels, tmp_path):
    found = calibrated(tmp_path)
    records = found.records
    assert [record.key.reranker for record in records] == list(NAMES) and len(duels.held) == 12
    for record in records:
        assert record.status == "ok" and record.key.kind == "noise" and record.key.duels == 4
        assert 0 < record.figure("threshold").value < 0.2
        assert len(record.series["log_ratios"]) == len(record.series["base_ms"]) == 12
        assert len(record.series["memory_bytes"]) == 24
    assert found.journal.exists()


def test_the_model_comes_back_from_the_records_of_this_machine_and_these_threads(duels, tmp_path):
    records = calibrated(tmp_path).records
    model = noise_model(PLAN.cells, records, HERE, duels=4)
    assert set(model) == set(NAMES) and model[NAMES[0]].threshold == records[0].figure("threshold").value
    assert noise_model(PLAN.cells, records, Surroundings(threads=2, seed=0, command=""), duels=4) == {}
    elsewhere = [
        record.model_copy(update={"provenance": record.provenance.model_copy(update={"fingerprint": "x"})})
        for record in records
    ]
    assert noise_model(PLAN.cells, elsewhere, HERE, duels=4) == {}
    larger = [GateCell(reranker=name, candidates=51) for name in NAMES]
    assert noise_model(larger, records, HERE, duels=4) == {}


def test_a_calibration_of_nothing_is_refused(duels, tmp_path):
    duels.failing = (NAMES[0], "head")
    plan = DuelPlan(PLAN.cells[:1], threads=1, timeout_s=9)
    with pytest.raises(BenchError, match="no re-ranker ran .*exited with code 7"):
        calibration(plan, 5, duels=4, cache=tmp_path, surroundings=HERE)
    assert not list((tmp_path / calibrating.FOLDER).iterdir())


def scores(side, cells, **_):
    hashes = ("b" * 64, (1.0, 3.0, 2.0)) if side.planted else ("a" * 64, (3.0, 1.0, 2.0))
    return {cell.reranker: SimpleNamespace(scores=hashes[1], scores_sha256=hashes[0]) for cell in cells}


def test_power_of_added_shares_and_of_changes_that_run(duels, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "facts", scores)
    model = noise_model(PLAN.cells, calibrated(tmp_path).records, HERE, duels=4)
    records = measured_power(PLAN, 16, model, duels=4, cache=tmp_path, surroundings=HERE).records
    found = {(record.key.planted, record.key.how): record for record in records}
    assert list(found) == [
        ("nothing", "added"),
        *((f"slower by {share} %", "added") for share in (5, 10, 20, 50)),
        ("slower by 20 %", "run"),
        ("memory +50 %", "run"),
        ("another ranking", "run"),
    ]
    for record in records:
        assert record.key.reranker == ",".join(NAMES) and record.key.candidates == GATE_CANDIDATES
        assert record.figure("comparisons").value == (8 if record.key.how == "added" else 2)
        assert record.figure("rate_low").value <= record.figure("rate").value <= record.figure("rate_high").value
    assert found["nothing", "added"].figure("detected").value == 0
    assert all(record.figure("rate").value == 1 for key, record in found.items() if key[0] == "slower by 20 %")
    assert (
        found["memory +50 %", "run"].figure("rate").value == found["another ranking", "run"].figure("rate").value == 1
    )


def test_power_goes_on_where_it_was_interrupted(duels, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "facts", scores)
    model = noise_model(PLAN.cells, calibrated(tmp_path).records, HERE, duels=4)
    before = len(duels.held)
    duels.stop_at = before + 10
    with pytest.raises(KeyboardInterrupt):
        measured_power(PLAN, 8, model, duels=4, cache=tmp_path, surroundings=HERE)
    duels.stop_at = None
    measured_power(PLAN, 8, model, duels=4, cache=tmp_path, surroundings=HERE)
    assert len(duels.held) == before + 8 + 2 * 8


def test_power_needs_a_model_and_enough_duels(duels, tmp_path):
    with pytest.raises(BenchError, match="no noise model of this machine for none:first-stage, sg-rerank:default"):
        measured_power(PLAN, 16, {}, duels=4, cache=tmp_path, surroundings=HERE)
    model = noise_model(PLAN.cells, calibrated(tmp_path).records, HERE, duels=4)
    with pytest.raises(BenchError, match="--power 7"):
        measured_power(PLAN, 7, model, duels=4, cache=tmp_path, surroundings=HERE)
