"""What measuring itself costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.measure import host_memory, run_isolated, time_calls

CALLS = 1000


@pytest.mark.benchmark(group="harness")
def test_timing_1000_calls_of_nothing(benchmark):
    timing, _ = benchmark(time_calls, lambda: None, warmup=0, runs=CALLS)
    assert len(timing.samples_ms) == CALLS
    benchmark.extra_info["gap_ms_per_call"] = timing.gap_ms


@pytest.mark.benchmark(group="harness")
def test_a_memory_window_around_nothing(benchmark):
    seen, _ = benchmark(host_memory, lambda: None)
    assert seen.reason or seen.delta_bytes < 1 << 22


@pytest.mark.benchmark(group="harness")
def test_an_isolated_process_that_does_nothing(benchmark, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "bench" / "measure")
    outcome = benchmark.pedantic(
        run_isolated, ("isolated_targets:steps", {"steps": 1}), {"timeout_s": 60}, rounds=5, warmup_rounds=1
    )
    assert outcome.ok
