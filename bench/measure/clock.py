"""Latency of a callable, with what disturbed it."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from bench.errors import BenchError
from bench.measure.energy import Energy, EnergyCounter
from bench.measure.stats import Summary, summarise

T = TypeVar("T")

NS_PER_MS = 1e6
#: Above these a window counts as noisy. Seen: 20 to 160 switches a second of processor time where each thread had a
#: core to itself, 400 to 1000 where it shared one.
NOISY_STEAL_SHARE = 0.01
NOISY_SWITCHES_PER_CPU_S = 200.0
#: Processor time below which a rate of switches says nothing.
LEAST_CPU_S = 0.01
#: Measured calls below which there is no spread to speak of; of calls so long that they vary little, fewer will do.
FEWEST_RUNS, FEWEST_LONG_RUNS, LONG_CALL_S = 3, 2, 4.0


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What happened around the calls while they were timed.

    wall_s: length of the window. cpu_s: processor time this process had in it, over all threads.
    involuntary_switches: how often the kernel took a core away from this process.
    steal_share: part of the machine's core time that the hypervisor gave to others; None where the system hides it.
    """

    wall_s: float
    cpu_s: float
    involuntary_switches: int
    steal_share: float | None

    @property
    def noisy(self) -> bool:
        """Whether the samples should be taken again rather than believed (and never silently dropped)."""
        switches_per_cpu_s = self.involuntary_switches / max(self.cpu_s, LEAST_CPU_S)
        return (self.steal_share or 0.0) > NOISY_STEAL_SHARE or switches_per_cpu_s > NOISY_SWITCHES_PER_CPU_S


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Latency of one callable in one process: one observation, however many samples it holds.

    cold_ms: the very first call, wall time. It is neither a warm-up call nor a sample.
    samples_ms: each measured call; on CUDA the time between its two events, elsewhere wall time.
    wall_ms: the whole window, synchronised on both sides, divided by its calls.
    energy: of the whole window.
    """

    device: str
    warmup: int
    cold_ms: float
    samples_ms: tuple[float, ...]
    wall_ms: float
    noise: Noise
    energy: Energy

    @property
    def summary(self) -> Summary:
        """Figures of `samples_ms`, in milliseconds."""
        return summarise(self.samples_ms)

    @property
    def gap_ms(self) -> float:
        """Wall time a call that no sample holds: launch overhead on CUDA, the harness itself elsewhere."""
        return self.wall_ms - self.summary.mean


def time_calls(
    call: Callable[[], T], *, warmup: int = 10, runs: int = 10, device: str = "cpu", budget_s: float | None = None
) -> tuple[Timing, T]:
    """Calls `call` 1 + warmup + runs times: cold, warm-up, measured. Gives the timing and the last output.

    budget_s: where the calls after the cold one would take longer, there are fewer of them, `within` which see.

    The caller makes the inputs before and hashes the output after; neither falls into the window, nor does freeing
    an output, nor garbage collection, which is off from the warm-up on. device: "cpu", or "cuda" or "cuda:N".
    Raises BenchError for less than one run or another device.
    """
    if runs < 1 or warmup < 0:
        seen = f"{warmup} warm-up and {runs} measured runs"
        raise BenchError(seen, wanted="0 or more, and 1 or more", cure="Ask for more runs.")
    if device != "cpu" and not device.startswith("cuda"):
        raise BenchError(f"device {device!r}", wanted="cpu or cuda", cure="Other devices have no events to time by.")
    synchronise = _synchroniser(device)
    start = time.perf_counter_ns()
    output = call()
    synchronise()
    cold_ms = (time.perf_counter_ns() - start) / NS_PER_MS
    if budget_s is not None:
        warmup, runs = within(budget_s, cold_ms / 1e3, warmup=warmup, runs=runs)
    with _no_collection():
        for _ in range(warmup):
            output = call()
        synchronise()
        before, charged = NoiseWindow(), EnergyCounter(device)
        measure = _wall_samples if device == "cpu" else _event_samples
        del output
        samples_ms, window_ms, output = measure(call, runs, synchronise)
        noise, energy = before.until_now(window_ms / 1e3), charged.until_now()
    timing = Timing(
        device=device,
        warmup=warmup,
        cold_ms=cold_ms,
        samples_ms=samples_ms,
        wall_ms=window_ms / runs,
        noise=noise,
        energy=energy,
    )
    return timing, output


def time_each(calls: Sequence[Callable[[], Any]]) -> tuple[float, ...]:
    """Milliseconds of each of several different calls on the CPU, once each, after one more of the first."""
    now, samples = time.perf_counter_ns, []
    with _no_collection():
        for call in [*calls[:1], *calls]:
            start = now()
            output = call()
            samples.append((now() - start) / NS_PER_MS)
            del output
    return tuple(samples[1:])


def within(budget_s: float, call_s: float, *, warmup: int, runs: int) -> tuple[int, int]:
    """Warm-up and measured calls that fit the budget when one takes `call_s` seconds.

    At least `fewest` are measured (or what was asked, if less), whatever they take; then the cold call has to do for a
    warm-up.
    """
    fitting = int(budget_s / max(call_s, 1e-9))
    if fitting >= warmup + runs:
        return warmup, runs
    measured = min(runs, max(fewest(call_s), fitting * 2 // 3))
    return min(warmup, max(0, fitting - measured)), measured


def fewest(call_s: float) -> int:
    """Calls of `call_s` seconds that are measured at least."""
    return FEWEST_RUNS if call_s < LONG_CALL_S else FEWEST_LONG_RUNS


def _wall_samples(call: Callable[[], T], runs: int, _: Callable[[], None]) -> tuple[tuple[float, ...], float, T]:
    now = time.perf_counter_ns
    samples = [0] * runs
    begin = now()
    for run in range(runs):
        output = None  # frees the last output here, outside the sample
        start = now()
        output = call()
        samples[run] = now() - start
    window_ns = now() - begin
    return tuple(sample / NS_PER_MS for sample in samples), window_ns / NS_PER_MS, cast(T, output)


def _event_samples(
    call: Callable[[], T], runs: int, synchronise: Callable[[], None]
) -> tuple[tuple[float, ...], float, T]:
    """Samples between pairs of CUDA events, read after a single synchronise, so that no call waits for another."""
    import torch

    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(runs)]
    synchronise()
    begin = time.perf_counter_ns()
    for start, end in pairs:
        output = None
        start.record()
        output = call()
        end.record()
    synchronise()
    window_ms = (time.perf_counter_ns() - begin) / NS_PER_MS
    return tuple(start.elapsed_time(end) for start, end in pairs), window_ms, cast(T, output)


def _synchroniser(device: str) -> Callable[[], None]:
    if device == "cpu":
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


@contextmanager
def _no_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class NoiseWindow:
    """The counters at one moment, to be held against a later one."""

    def __init__(self) -> None:
        self.cpu_s = time.process_time()
        self.switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        self.stolen_s = _stolen_s()

    def until_now(self, wall_s: float) -> Noise:
        now = NoiseWindow()
        share = None
        if self.stolen_s is not None and now.stolen_s is not None and wall_s > 0:
            share = (now.stolen_s - self.stolen_s) / (wall_s * (os.cpu_count() or 1))
        return Noise(
            wall_s=wall_s,
            cpu_s=now.cpu_s - self.cpu_s,
            involuntary_switches=now.switches - self.switches,
            steal_share=share,
        )


def _stolen_s() -> float | None:
    """Core time that the hypervisor took since boot, over all cores (8th column of /proc/stat, see proc(5))."""
    try:
        cpu = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        return int(cpu[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None
