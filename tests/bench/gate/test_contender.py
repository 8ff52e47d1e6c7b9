"""One side of a duel, in this process: on a clock of its own, and on memory that is known."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.gate import contender
from bench.gate.contender import Contender, planted
from bench.gate.duel import GateCell
from rerankers import Ranking

MIB = 1 << 20
TASK = GateCell(reranker="ames:micro", candidates=8).task
linux = pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")


class Clock:
    """Time that passes only when told, and a little at every look."""

    def __init__(self, look_ns: int = 10) -> None:
        self.now_ns, self.look_ns = 0, look_ns

    def perf_counter_ns(self) -> int:
        self.now_ns += self.look_ns
        return self.now_ns

    def perf_counter(self) -> float:
        return self.perf_counter_ns() / 1e9


class Load:
    """A workload that takes so long, or so much memory, for keys that are known."""

    def __init__(self, clock: Clock | None = None, *, takes_ns: int = 0, takes_bytes: int = 0) -> None:
        self.clock, self.takes_ns, self.takes_bytes = clock, takes_ns, takes_bytes
        self.key = torch.tensor([0.5, 3.0, -1.0, 2.0])
        self.calls = 0
        self.collected: list[bool] = []

    def call(self) -> Ranking:
        self.calls += 1
        self.collected.append(gc.isenabled())
        if self.clock is not None:
            self.clock.now_ns += self.takes_ns
        if self.takes_bytes:
            np.ones(self.takes_bytes, dtype=np.uint8)
        return Ranking(self.key.argsort(descending=True), self.key)


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(contender, "time", found)
    return found


def holding(monkeypatch, load, **planted_changes):
    """A contender whose every task is this load."""
    monkeypatch.setattr(contender, "CostTask", lambda **_: SimpleNamespace(prepared=lambda: load))
    return Contender({"path": None, "planted": planted_changes})


@given(slower=st.floats(0, 10), takes_ns=st.integers(10_000, 10**9))
def test_a_planted_share_is_the_share_that_it_takes_longer(slower, takes_ns):
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(look_ns=takes_ns // 1000)
        patch.setattr(contender, "time", clock)
        planted(Load(clock, takes_ns=takes_ns), 0, slower=slower)()
    assert clock.now_ns == pytest.approx(takes_ns * (1 + slower), rel=0.02)


def test_planted_scores_change_the_best_and_the_worst():
    load = Load()
    assert planted(load, 0, scores=1.0)().key.tolist() == [0.5, -1.0, 3.0, 2.0]
    assert load.key.tolist() == [0.5, 3.0, -1.0, 2.0] == planted(load, 0)().key.tolist()


@linux
@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_planted_memory_is_the_share_of_the_peak_on_top(monkeypatch, share):
    taken = 64 * MIB
    ready = holding(monkeypatch, Load(takes_bytes=taken), **{"memory": share} if share else {}).prepare({})
    assert ready["memory_bytes"] == pytest.approx(taken * (1 + share), rel=0.03)


def test_a_turn_is_milliseconds_a_call(monkeypatch, clock):
    load = Load(clock, takes_ns=7_000_000)
    one = holding(monkeypatch, load)
    assert one({"do": "prepare", "task": {}})["call_ms"] == pytest.approx(7, rel=0.001)
    before = load.calls
    assert one({"do": "turn", "calls": 3}) == pytest.approx(7, rel=0.001)
    assert load.calls == before + 3


def test_a_planted_slowdown_is_in_the_turns(monkeypatch, clock):
    one = holding(monkeypatch, Load(clock, takes_ns=7_000_000), slower=0.2)
    assert one.prepare({})["call_ms"] == pytest.approx(7 * 1.2, rel=0.001)
    assert one.turn(5) == pytest.approx(7 * 1.2, rel=0.001)


def test_garbage_is_not_collected_in_a_turn_and_is_again_after_it(monkeypatch):
    load = Load()
    one = holding(monkeypatch, load)
    one.prepare({})
    load.collected.clear()
    one.turn(2)
    assert load.collected == [False, False] and gc.isenabled()
    one.call = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        one.turn(1)
    assert gc.isenabled()


def test_it_frees_a_cell_that_it_leaves_and_one_that_failed(monkeypatch):
    one = holding(monkeypatch, Load())
    one.prepare({})
    noise = one.leave()
    assert one.call is None and one.window is None
    assert {"wall_s", "cpu_s", "involuntary_switches", "steal_share", "noisy"} == set(noise)

    one.prepare({})
    held = []

    def prepared():
        held.append(one.call)
        raise RuntimeError("no such re-ranker")

    monkeypatch.setattr(contender, "CostTask", lambda **_: SimpleNamespace(prepared=prepared))
    with pytest.raises(RuntimeError):
        one.prepare({})
    assert held == [None]


def test_facts_wait_for_no_planted_time():
    """Counting is slow by itself; a million times that would never end."""
    plain, slow = (Contender({"path": None, "planted": changes}) for changes in ({}, {"slower": 1e6}))
    assert plain.facts(TASK) == slow.facts(TASK)


def test_re_rankers_from_elsewhere_than_told_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    with pytest.raises(BenchError, match=f"wanted that in {tmp_path}"):
        Contender({"path": str(tmp_path), "planted": {}})
    here = Path(contender.__file__).parents[2]
    assert Contender({"path": str(here), "planted": {}}).call is None
