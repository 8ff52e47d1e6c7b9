"""One side of a duel: a process that holds the re-rankers of one revision, and does as it is told."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.cost import CostTask, Workload
from bench.gate.facts import facts_of
from bench.gate.revisions import only_from
from bench.measure import NoiseWindow, host_memory
from rerankers import Ranking

NS_PER_MS = 1e6


class Contender:
    """Answers {"do": "prepare", "turn", "leave" or "facts", ...}."""

    def __init__(self, payload: dict[str, Any]) -> None:
        """payload: path, where `rerankers` is to come from, None for this tree; planted, as `Planted` has it."""
        if payload["path"] is not None:
            only_from(Path(payload["path"]))
        self.planted: dict[str, float] = payload["planted"]
        self.call: Callable[[], Ranking] | None = None
        self.window: NoiseWindow | None = None
        self.since_s = 0.0

    def __call__(self, question: dict[str, Any]) -> Any:
        asked: dict[str, Callable[..., Any]] = {
            "prepare": self.prepare,
            "turn": self.turn,
            "leave": self.leave,
            "facts": self.facts,
        }
        return asked[question.pop("do")](**question)

    def prepare(self, task: dict[str, Any]) -> dict[str, Any]:
        """Builds a re-ranker and its inputs; the memory of its second call, and what the next one takes."""
        self.call = self.window = None  # of a cell that failed
        load = CostTask(**task).prepared()
        load.call()
        memory, _ = host_memory(load.call)
        self.call = load.call
        if self.planted:
            self.call = planted(load, memory.delta_bytes or 0, **self.planted)
            memory, _ = host_memory(self.call)
        start = time.perf_counter_ns()
        self.call()
        call_ms = (time.perf_counter_ns() - start) / NS_PER_MS
        self.window, self.since_s = NoiseWindow(), time.perf_counter()
        return {"memory_bytes": memory.delta_bytes, "call_ms": call_ms}

    def turn(self, calls: int) -> float:
        """Milliseconds a call."""
        assert self.call is not None
        gc.collect(0)
        gc.disable()
        try:
            start = time.perf_counter_ns()
            for _ in range(calls):
                self.call()
            taken_ns = time.perf_counter_ns() - start
        finally:
            gc.enable()
        return taken_ns / calls / NS_PER_MS

    def leave(self) -> dict[str, Any]:
        """What disturbed the turns; frees all that was prepared."""
        assert self.window is not None
        noise = self.window.until_now(time.perf_counter() - self.since_s)
        self.call = self.window = None  # what refers to itself goes before the next window of memory
        return asdict(noise) | {"noisy": noise.noisy}

    def facts(self, task: dict[str, Any]) -> dict[str, Any]:
        """What does not depend on when it runs: see bench.gate.facts."""
        load = CostTask(**task).prepared()
        call = load.call
        if self.planted:  # facts do not show time, and counting is slow as it is
            call = planted(load, 0, **{**self.planted, "slower": 0.0})
        return asdict(facts_of(load, call))


def planted(
    load: Workload, peak_bytes: int, *, slower: float = 0.0, memory: float = 0.0, scores: float = 0.0
) -> Callable[[], Ranking]:
    """The call with a change for the worse: what the gate has to notice.

    slower: share of its time that it goes on for. memory: share of its peak that it takes on top. scores: not 0 makes
    the best and the worst candidate change places.
    """

    def call() -> Ranking:
        start = time.perf_counter_ns()
        taken = np.ones(int(memory * peak_bytes), dtype=np.uint8)
        ranking = load.call()
        if scores:
            key = ranking.key.clone()
            best, worst = int(key.argmax()), int(key.argmin())
            key[best], key[worst] = ranking.key[worst], ranking.key[best]
            ranking = replace(ranking, key=key)
        end = start + (time.perf_counter_ns() - start) * (1 + slower)
        while time.perf_counter_ns() < end:
            pass
        del taken
        return ranking

    return call
