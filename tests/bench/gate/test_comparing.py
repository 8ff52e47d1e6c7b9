"""Comparisons: repeated where disturbed, confirmed where over the limit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench.gate import comparing
from bench.gate import duels as several
from bench.gate.comparing import compare
from bench.gate.duel import GateCell, Side
from bench.gate.duels import DuelPlan
from tests.bench.gate.fakes import FakeDuels

PLAN = DuelPlan((GateCell(reranker="a"), GateCell(reranker="b")), threads=1, timeout_s=9)
BASE, HEAD = Side(name="base"), Side(name="head")


@pytest.fixture
def noise(monkeypatch) -> dict[str, Any]:
    """A machine that sees 6 %, whatever the number of duels."""
    monkeypatch.setattr(comparing, "threshold_of", lambda known, duels: 0.06)
    return dict.fromkeys(("a", "b"), SimpleNamespace(memory_threshold=0.05))


def held(monkeypatch, noise, head: Side = HEAD, **options):
    duels = FakeDuels(**options)
    monkeypatch.setattr(several, "duel", duels)
    verdicts = compare(PLAN, (BASE, head), 4, noise, title="x")
    return duels, {(one.reranker, one.what): one for one in verdicts}


def test_the_same_code_is_within_noise(monkeypatch, noise):
    duels, found = held(monkeypatch, noise)
    assert len(duels.held) == 4
    assert {key: one.status for key, one in found.items()} == {
        ("a", "latency"): "within noise",
        ("a", "memory"): "same",
        ("b", "latency"): "within noise",
        ("b", "memory"): "same",
    }


def test_a_slowdown_is_confirmed_by_as_many_duels_again(monkeypatch, noise):
    duels, found = held(monkeypatch, noise, Side(name="head", planted={"slower": 0.2}))
    assert len(duels.held) == 8
    assert found["a", "latency"].status == "worse" and "8 duels" in found["a", "latency"].detail
    assert "confirmed" in found["a", "latency"].detail


def test_bad_luck_is_not_confirmed(monkeypatch, noise):
    duels, found = held(monkeypatch, noise, unlucky=(0, 1, 2))
    assert len(duels.held) == 8
    assert found["a", "latency"].status == "within noise" and "not confirmed" in found["a", "latency"].detail


def test_more_memory_is_confirmed_too(monkeypatch, noise):
    duels, found = held(monkeypatch, noise, Side(name="head", planted={"memory": 0.5}))
    assert len(duels.held) == 8 and found["b", "memory"].status == "worse"
    assert found["b", "memory"].detail.startswith("50.0 % more, 50.0 MiB")


def test_disturbed_cells_get_one_more_duel_and_nothing_is_dropped(monkeypatch, noise):
    duels, found = held(monkeypatch, noise, noisy=(1,))
    assert len(duels.held) == 5
    assert "5 duels" in found["a", "latency"].detail and "1 of 5 rounds disturbed" in found["a", "latency"].detail


def test_without_a_noise_model_the_limit_is_a_quarter_and_says_so(monkeypatch):
    _, found = held(monkeypatch, {}, Side(name="head", planted={"slower": 0.2}))
    assert found["a", "latency"].status == "within noise"
    assert "25.0 %, as long as nothing is calibrated" in found["a", "latency"].detail
    _, found = held(monkeypatch, {}, Side(name="head", planted={"slower": 0.5}))
    assert found["a", "latency"].status == "worse"


@pytest.mark.parametrize(("side", "status"), [("base", "not compared"), ("head", "missing")])
def test_a_side_that_fails(monkeypatch, noise, side, status):
    _, found = held(monkeypatch, noise, failing=("a", side))
    assert found["a", "latency"].status == status and "exited with code 7" in found["a", "latency"].detail
    assert found["b", "latency"].status == "within noise"
