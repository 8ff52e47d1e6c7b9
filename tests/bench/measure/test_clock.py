from __future__ import annotations

import gc
import statistics
import time
from types import SimpleNamespace

import pytest

from bench.errors import BenchError
from bench.measure import clock
from bench.measure.clock import Noise, time_calls, time_each, within


def test_sleeping_20_ms_takes_20_ms():
    timing, _ = time_calls(lambda: time.sleep(0.02), warmup=2, runs=5)
    assert len(timing.samples_ms) == 5
    assert timing.summary.minimum >= 20
    assert timing.summary.median < 40
    assert timing.cold_ms >= 20
    assert 0 <= timing.gap_ms < 20
    assert timing.wall_ms * 5 == pytest.approx(timing.noise.wall_s * 1e3)


def test_a_sleep_is_measured_within_one_percent_of_another_clock():
    inside = []

    def call():
        start = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        time.sleep(0.05)
        inside.append((time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) - start) / 1e6)

    timing, _ = time_calls(call, warmup=1, runs=9)
    ratios = [ours / theirs for ours, theirs in zip(timing.samples_ms, inside[-9:], strict=True)]
    assert statistics.median(ratios) == pytest.approx(1, abs=0.01)


def test_different_calls_are_timed_once_each():
    called = []
    calls = [lambda name=name: called.append(name) or time.sleep(0.01 * name) for name in (1, 3)]
    first, second = time_each(calls)
    assert called == [1, 1, 3] and first >= 10 and second >= 30
    assert time_each([]) == ()


def test_a_budget_leaves_calls_that_fit():
    assert within(10, 0.1, warmup=10, runs=10) == (10, 10)
    assert within(10, 1.0, warmup=10, runs=10) == (4, 6)
    assert within(10, 3.0, warmup=10, runs=10) == (0, 3)
    assert within(10, 30.0, warmup=10, runs=10) == (0, 2)
    assert within(10, 30.0, warmup=10, runs=1) == (0, 1)


def test_sleeping_takes_no_processor_time():
    timing, _ = time_calls(lambda: time.sleep(0.02), warmup=0, runs=5)
    assert timing.noise.cpu_s < 0.05 < 0.1 <= timing.noise.wall_s


def test_cold_call_is_neither_warm_up_nor_sample():
    calls = []

    def call():
        calls.append(time.sleep(0.05 if not calls else 0))
        return len(calls)

    timing, output = time_calls(call, warmup=3, runs=4)
    assert output == len(calls) == 1 + 3 + 4
    assert timing.cold_ms >= 50 > timing.summary.median
    assert (timing.warmup, len(timing.samples_ms), timing.device) == (3, 4, "cpu")


def test_freeing_an_output_is_not_in_the_samples():
    class Costly:
        def __del__(self):
            time.sleep(0.02)

    timing, output = time_calls(Costly, warmup=1, runs=4)
    assert isinstance(output, Costly)
    assert timing.summary.median < 10
    assert timing.gap_ms >= 15 * 3 / 4  # three of the four outputs are freed within the window


def test_no_garbage_collection_from_the_warm_up_on():
    states = []
    assert gc.isenabled()
    time_calls(lambda: states.append(gc.isenabled()), warmup=2, runs=3)
    assert states == [True] + [False] * 5
    assert gc.isenabled()


def test_garbage_collection_is_back_after_a_failure():
    calls = []

    def call():
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("third call")

    with pytest.raises(RuntimeError, match="third"):
        time_calls(call)
    assert gc.isenabled()


def test_cuda_samples_are_event_pairs_read_after_one_synchronise(monkeypatch):
    import torch

    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("record")

        def elapsed_time(self, end):
            log.append("read")
            return 0.25

    def call():
        log.append("call")
        time.sleep(0.001)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append(f"synchronise {device}"))
    timing, _ = time_calls(call, warmup=2, runs=3, device="cuda:1")
    wait = "synchronise cuda:1"
    pair = ["record", "call", "record"]
    assert log == ["call", wait, "call", "call", wait, wait, *pair * 3, wait, *["read"] * 3]
    assert timing.samples_ms == (0.25, 0.25, 0.25)
    assert timing.gap_ms == pytest.approx(timing.wall_ms - 0.25) and timing.gap_ms >= 0.75


def test_involuntary_switches_and_steal_are_those_of_the_window(monkeypatch):
    switches, stolen = iter([100, 107]), iter([2.0, 2.3])
    monkeypatch.setattr(clock.resource, "getrusage", lambda _: SimpleNamespace(ru_nivcsw=next(switches)))
    monkeypatch.setattr(clock, "_stolen_s", lambda: next(stolen))
    monkeypatch.setattr(clock.os, "cpu_count", lambda: 3)
    timing, _ = time_calls(lambda: None, warmup=0, runs=1)
    assert timing.noise.involuntary_switches == 7
    assert timing.noise.steal_share * timing.noise.wall_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("switches", "steal", "noisy"),
    [(0, 0.0, False), (0, None, False), (0, 0.02, True), (399, 0.0, False), (401, 0.0, True)],
)
def test_noisy(switches, steal, noisy):
    assert Noise(wall_s=1.0, cpu_s=2.0, involuntary_switches=switches, steal_share=steal).noisy is noisy


@pytest.mark.parametrize("options", [{"runs": 0}, {"warmup": -1}, {"device": "tpu"}])
def test_impossible_measurements_are_refused(options):
    with pytest.raises(BenchError, match="wanted"):
        time_calls(lambda: None, **options)
