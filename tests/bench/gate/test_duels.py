"""Several duels, gathered: without processes, but for their order, their failures and their journal."""

from __future__ import annotations

import pytest

from bench.gate import duels as several
from bench.gate.duel import GateCell, Side
from bench.gate.duels import DuelPlan
from tests.bench.gate.fakes import MIB, FakeDuels

SIDES = (Side(name="base"), Side(name="head"))


@pytest.fixture
def plan():
    return DuelPlan((GateCell(reranker="a"), GateCell(reranker="b")), threads=1, timeout_s=9)


def faked(monkeypatch, **options) -> FakeDuels:
    duels = FakeDuels(**options)
    monkeypatch.setattr(several, "duel", duels)
    return duels


def test_every_duel_gives_a_round_of_every_cell(plan, monkeypatch):
    duels = faked(monkeypatch)
    found = plan.run(SIDES, 3, "x")
    assert duels.held == [("a", "b")] * 3
    assert {name: len(rounds) for name, rounds in found.rounds.items()} == {"a": 3, "b": 3}
    assert found.estimate("a").duels == 3 and found.estimate("a").ratio == pytest.approx(1, abs=0.02)
    assert len(found.medians_ms("a", 1)) == 3 and found.memory_bytes("b") == [100 * MIB] * 3
    assert set(found.seconds) == {"a", "b"} and not found.failures


def test_a_planted_slowdown_shows_in_the_estimate(plan, monkeypatch):
    faked(monkeypatch)
    sides = (SIDES[0], Side(name="head", planted={"slower": 0.2}))
    assert plan.run(sides, 4, "x").estimate("b").ratio == pytest.approx(1.2, abs=0.02)


def test_a_cell_that_fails_fights_no_more(plan, monkeypatch):
    duels = faked(monkeypatch, failing=("a", "head"))
    found = plan.run(SIDES, 3, "x")
    assert duels.held == [("a", "b"), ("b",), ("b",)]
    assert found.failures["a"].reason == "exited with code 7" and "a" not in found.rounds
    assert set(found.observed()) == {"b"}


def test_when_all_have_failed_there_is_nothing_left_to_run(plan, monkeypatch):
    duels = faked(monkeypatch, failing=("a", "head"))
    plan.of(["a"]).run(SIDES, 9, "x")
    assert duels.held == [("a",)]


def test_disturbed_rounds_are_counted(plan, monkeypatch):
    faked(monkeypatch, noisy=(1, 2))
    assert plan.run(SIDES, 3, "x").noisy("a") == 2


def test_what_a_noise_model_is_made_from(plan, monkeypatch):
    faked(monkeypatch)
    seen = plan.run(SIDES, 5, "x").observed()["a"]
    assert len(seen.base_ms) == len(seen.head_ms) == len(seen.log_ratios) == 5
    assert seen.memory_bytes == (100 * MIB,) * 10


def test_an_interrupted_series_goes_on_from_its_journal(plan, monkeypatch, tmp_path):
    faked(monkeypatch, stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        plan.run(SIDES, 4, "x", plan.journal(tmp_path, "calibrate"))
    duels = faked(monkeypatch)
    duels.held = [(), ()]  # so that the seeds go on too
    found = plan.run(SIDES, 4, "x", plan.journal(tmp_path, "calibrate"))
    assert len(duels.held) == 4
    faked(monkeypatch)
    straight = plan.run(SIDES, 4, "x")
    assert found.rounds == straight.rounds


@pytest.mark.parametrize("other", [{"threads": 2}, {"cells": (GateCell(reranker="a"),)}])
def test_a_journal_of_other_cells_or_threads_is_another_one(plan, tmp_path, other):
    from dataclasses import replace

    one = plan.journal(tmp_path, "calibrate")
    assert replace(plan, **other).journal(tmp_path, "calibrate").path != one.path
    assert plan.journal(tmp_path, "power").path != one.path
    assert plan.journal(tmp_path, "calibrate").path == one.path


def test_failures_are_in_the_journal_too(plan, monkeypatch, tmp_path):
    faked(monkeypatch, failing=("a", "base"))
    plan.run(SIDES, 1, "x", plan.journal(tmp_path, "power"))
    duels = faked(monkeypatch)
    found = plan.run(SIDES, 1, "x", plan.journal(tmp_path, "power"))
    assert not duels.held and found.failures["a"].side == "base"
