"""What one re-ranker costs per 100 candidates, as it is taken in a process of its own: one or several passes.

Counting changes the program that is counted, and a window for memory wants what timing does not: so the passes are
apart, all on the same inputs, and each hashes the scores, which shows that all saw the same program.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import rerankers
from bench.features.synthetic import workload
from bench.measure import (
    copy_rate,
    count,
    device_memory,
    host_memory,
    import_witnesses,
    imports_timed,
    matmul_peak,
    threads_in_force,
    time_calls,
    time_each,
    traffic,
)
from bench.reading import reading
from rerankers import Features, Ranking, Reranker
from rerankers.registry import Inputs, inputs_of, parse

#: Calls within one window of memory.
MEMORY_RUNS = 3
#: Other queries that a re-ranker which stops early is timed on.
QUERIES = 10
GIGA = 1e9


@dataclass(frozen=True)
class CostTask:
    """One cost cell, as JSON can carry it.

    budget_s: see `bench.measure.time_calls`. counted: candidates that FLOPs are counted on; None: all of them.
    locals: local descriptors of every image, in place of the published number. at_once: pairs scored at once.
    """

    reranker: str
    device: str
    dtype: str
    candidates: int
    seed: int
    warmup: int
    runs: int
    budget_s: float | None = None
    counted: int | None = None
    locals: int | None = None
    at_once: int | None = None

    @property
    def inputs(self) -> Inputs:
        """Sizes of one query's inputs."""
        published = inputs_of(parse(self.reranker))
        if self.locals is None or published.local_dim is None:
            return published
        return replace(published, query_locals=self.locals, candidate_locals=self.locals)

    def prepared(self) -> Workload:
        """The re-ranker and its inputs, on the device."""
        reranker = rerankers.build(
            self.reranker, allow_random=True, seed=self.seed, dtype=self.dtype, at_once=self.at_once
        )
        if self.locals is not None:
            reading(reranker, self.locals)
        if (network := reranker.module()) is not None:
            network.to(self.device)
        return Workload(self, reranker, *self.drawn(self.seed))

    def drawn(self, seed: int) -> tuple[Features, Features, Tensor]:
        """A query, its candidates and their similarities, on the device."""
        query, candidates, similarity = workload(candidates=self.candidates, seed=seed, **asdict(self.inputs))
        return query.to(self.device), candidates.to(self.device), similarity.to(self.device)


@dataclass
class Workload:
    """A re-ranker and one query's inputs.

    ranked: what the last measured call gave; None before the first. calls_s: wall time of all calls so far. imports_s:
    that of imports, which the harness is not charged for.
    """

    task: CostTask
    reranker: Reranker
    query: Features
    candidates: Features
    similarity: Tensor
    ranked: Ranking | None = field(default=None, init=False)
    calls_s: float = field(default=0.0, init=False)
    imports_s: float = field(default=0.0, init=False)

    def call(self) -> Ranking:
        """What is measured."""
        return self.rank(self.query, self.candidates, self.similarity)

    def part(self, images: slice) -> Callable[[], Ranking]:
        """The call on some of the candidates only."""
        return partial(self.rank, self.query, self.candidates[images], self.similarity[images])

    def ranked_once(self) -> Ranking:
        """What the last measured call gave; that of a first call where there was none."""
        if self.ranked is None:
            self.ranked = self.call()
        return self.ranked

    def rank(self, query: Features, candidates: Features, similarity: Tensor) -> Ranking:
        """One call of the re-ranker."""
        start = time.perf_counter()
        ranking = self.reranker.ranking(query, candidates, similarity)
        self.calls_s += time.perf_counter() - start
        return ranking


def describe_inputs(inputs: Inputs) -> str:
    """The sizes of a workload, as tables print them."""
    parts = []
    if inputs.local_dim:
        parts.append(f"{inputs.query_locals} x {inputs.candidate_locals} locals of {inputs.local_dim}")
    if inputs.dense:
        parts.append(f"maps of {' x '.join(map(str, inputs.dense))}")
    if inputs.global_dim:
        parts.append(f"globals of {inputs.global_dim}")
    return ", ".join(parts)


def run(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """The passes that `payload["passes"]` names, one after the other, on `payload["task"]`: pass -> what it found.

    "wall_s": of all of it, without the start of the process and imports. "calls_s": what of it the calls took.
    """
    gc.collect()
    gc.freeze()  # what is imported so far is not looked through again before every window
    start = time.perf_counter()
    with imports_timed() as imports:
        load = CostTask(**payload["task"]).prepared()
    load.imports_s = imports.seconds
    found: dict[str, Any] = {name: PASSES[name](load) for name in payload["passes"]}
    return found | {"wall_s": time.perf_counter() - start - load.imports_s, "calls_s": load.calls_s}


def observe(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Latency and memory of one CostTask from one process, in one dictionary."""
    load = CostTask(**payload).prepared()
    return latency(load) | memory(load)


def latency(load: Workload) -> dict[str, Any]:
    """The cold call, the warm-up, and the measured calls."""
    task = load.task
    timing, ranking = time_calls(
        load.call, warmup=task.warmup, runs=task.runs, device=task.device, budget_s=task.budget_s
    )
    load.ranked = ranking
    return {
        "device": task.device,
        "cold_ms": timing.cold_ms,
        "warmup": timing.warmup,
        "samples_ms": list(timing.samples_ms),
        "summary": asdict(timing.summary),
        "gap_ms": timing.gap_ms,
        "noise": asdict(timing.noise),
        "noisy": timing.noise.noisy,
        "energy": asdict(timing.energy),
        "threads": threads_in_force(),
        "scores_sha256": scores_sha256(ranking),
        "scoring": load.reranker.kind,
    }


def memory(load: Workload) -> dict[str, Any]:
    """Peaks of host and device over a few calls, after one that loads what is loaded once."""
    task = load.task
    calls = 1 if task.budget_s is not None else MEMORY_RUNS
    ranking = load.ranked_once()

    def called() -> Ranking:
        for _ in range(calls):
            ranking = load.call()
        return ranking

    device, _ = device_memory(called if task.device != "cpu" else lambda: ranking, device=task.device)
    host, ranking = host_memory(called)
    return {"host": asdict(host), "device": asdict(device), "scores_sha256": scores_sha256(ranking)}


def rates(load: Workload) -> dict[str, Any]:
    """What this machine can do, now: its matrix product in the type measured, and copying."""
    device = load.task.device
    return {
        "peak_gflop_per_s": matmul_peak(load.task.dtype, device=device) / GIGA,
        "copy_gbyte_per_s": copy_rate(device=device) / GIGA,
    }


def spread(load: Workload) -> dict[str, Any]:
    """Of a re-ranker that stops early: milliseconds for each pair by itself, and for other queries of the same size."""
    if load.reranker.uncounted is None:
        return {"reason": "every pair takes the same work"}
    pairs = [load.part(slice(number, number + 1)) for number in range(len(load.candidates))]
    others = [load.task.drawn(load.task.seed + 1 + number) for number in range(QUERIES)]
    queries = [partial(load.rank, *one) for one in others]
    return {"pairs_ms": list(time_each(pairs)), "queries_ms": list(time_each(queries))}


def flops(load: Workload) -> dict[str, Any]:
    """Parameters, the three witnesses of the FLOPs, and the bytes that are moved."""
    reranker, task = load.reranker, load.task
    network = reranker.module()
    found: dict[str, Any] = {
        "parameters": 0 if network is None else sum(parameter.numel() for parameter in network.parameters()),
        "bytes_least": bytes_least(load),
        "uncounted": reranker.uncounted,
        "scores_sha256": scores_sha256(load.ranked_once()),
    }
    if reranker.uncounted is not None:
        return found
    whole = reranker.closed_form(*reranker.readable(load.query, load.candidates))
    load.imports_s += import_witnesses()
    number = min(task.counted or task.candidates, task.candidates) if whole is not None else task.candidates
    part = reranker.closed_form(*reranker.readable(load.query, load.candidates[:number]))
    counted = count(load.part(slice(number)), closed_form=None if part is None else part.executed)
    return found | {
        "counted": number,
        "executed": None if whole is None else whole.executed,
        "algorithmic": None if whole is None else whole.algorithmic,
        "witnesses": {witness.name: asdict(witness) for witness in counted.witnesses},
        "verdict": counted.verdict,
        "explanation": counted.explanation,
        "bytes_touched": traffic(load.call).bytes if number == task.candidates else None,
    }


#: Passes by name, in the order in which they disturb each other least when they share a process.
PASSES: Mapping[str, Callable[[Workload], dict[str, Any]]] = {
    "latency": latency,
    "rates": rates,
    "spread": spread,
    "memory": memory,
    "flops": flops,
}


def bytes_least(load: Workload) -> int:
    """Bytes that any program must move: parameters and inputs read once, one float32 score a candidate written."""
    network = load.reranker.module()
    held = [] if network is None else list(network.parameters())
    for side in load.reranker.readable(load.query, load.candidates):
        for name in load.reranker.needs:
            value = getattr(side, name)
            held += value if isinstance(value, tuple) else [value]
    return sum(one.numel() * one.element_size() for one in held) + 4 * len(load.candidates)


def scores_sha256(ranking: Ranking) -> str:
    """Of what the candidates were sorted by, so that two runs can be shown to be the same."""
    key = ranking.key.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.sha256(key.astype("<f4").tobytes()).hexdigest()
