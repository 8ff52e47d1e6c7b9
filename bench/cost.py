"""What one re-ranker costs per 100 candidates: the cost cell, in three passes that each run in a process of their own.

Counting changes the program that is counted, and timing needs what memory measuring frees; so latency, memory and
FLOPs are taken apart, on the same inputs, and the hash of the scores shows that they saw the same program.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

import rerankers
from bench.cells import CellFailed, CellResult, isolated
from bench.features.synthetic import workload
from bench.measure import count, device_memory, host_memory, matmul_peak, threads_in_force, time_calls
from bench.results import Figure
from rerankers import Ranking, Reranker
from rerankers.registry import Inputs, inputs_of, parse

MEMORY_RUNS = 3
GIGA = 1e9


@dataclass(frozen=True)
class CostTask:
    """One cost cell, as JSON can carry it."""

    reranker: str
    device: str
    dtype: str
    candidates: int
    seed: int
    warmup: int
    runs: int
    budget_s: float | None = None

    def prepared(self) -> tuple[Reranker, Callable[[], Ranking], dict[str, Any]]:
        """The re-ranker, the call that is measured, and the inputs of that call."""
        spec = parse(self.reranker)
        reranker = rerankers.build(spec, allow_random=True, seed=self.seed, dtype=self.dtype)
        inputs = asdict(inputs_of(spec))
        query, candidates, similarity = workload(candidates=self.candidates, seed=self.seed, **inputs)
        query, candidates = query.to(self.device), candidates.to(self.device)
        similarity = similarity.to(self.device)
        if (network := reranker.module()) is not None:
            network.to(self.device)
        ranked = {"query": query, "candidates": candidates}
        return reranker, lambda: reranker.ranking(query, candidates, similarity), ranked


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


def latency(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """First pass: the cold call, the warm-up, the measured calls, and the machine's matrix product beside them."""
    task = CostTask(**payload)
    _, call, _ = task.prepared()
    timing, ranking = time_calls(call, warmup=task.warmup, runs=task.runs, device=task.device, budget_s=task.budget_s)
    peak = matmul_peak(task.dtype, device=task.device)
    return {
        "cold_ms": timing.cold_ms,
        "warmup": timing.warmup,
        "samples_ms": list(timing.samples_ms),
        "summary": asdict(timing.summary),
        "noise": asdict(timing.noise),
        "noisy": timing.noise.noisy,
        "threads": threads_in_force(),
        "peak_gflop_per_s": peak / GIGA,
        "scores_sha256": scores_sha256(ranking),
    }


def memory(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Second pass: peaks of host and device over MEMORY_RUNS calls, after one call that loads what is loaded once."""
    task = CostTask(**payload)
    _, call, _ = task.prepared()
    call()

    def calls() -> Ranking:
        for _ in range(MEMORY_RUNS):
            ranking = call()
        return ranking

    device, _ = device_memory(calls, device=task.device)
    host, ranking = host_memory(calls)
    return {"host": asdict(host), "device": asdict(device), "scores_sha256": scores_sha256(ranking)}


def flops(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Third pass: parameters, and the three witnesses of the FLOPs."""
    task = CostTask(**payload)
    reranker, call, inputs = task.prepared()
    network = reranker.module()
    form = reranker.closed_form(*reranker.readable(**inputs))
    found: dict[str, Any] = {
        "parameters": 0 if network is None else sum(parameter.numel() for parameter in network.parameters()),
        "uncounted": reranker.uncounted,
        "scores_sha256": scores_sha256(call()),
    }
    if reranker.uncounted is None:
        counted = count(call, closed_form=None if form is None else form.executed)
        found |= {
            "algorithmic": None if form is None else form.algorithmic,
            "witnesses": {witness.name: asdict(witness) for witness in counted.witnesses},
            "verdict": counted.verdict,
            "explanation": counted.explanation,
        }
    return found


def scores_sha256(ranking: Ranking) -> str:
    """Of what the candidates were sorted by, so that two runs can be shown to be the same."""
    key = ranking.key.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.sha256(key.astype("<f4").tobytes()).hexdigest()


def measure(task: CostTask, *, threads: int, timeout_s: float) -> CellResult:
    """All passes of one cell, each with `timeout_s` seconds.

    CellFailed when a pass fails, the witnesses of the FLOPs disagree, or the passes saw different scores.
    """
    found = {
        name: isolated(f"bench.cost:{name}", asdict(task), threads=threads, timeout_s=timeout_s)
        for name in ("latency", "memory", "flops")
    }
    hashes = {name: one["scores_sha256"] for name, one in found.items()}
    if len(set(hashes.values())) != 1:
        raise CellFailed(f"the passes gave different scores: {hashes}")
    if found["flops"].get("verdict") == "disagree":
        raise CellFailed(found["flops"]["explanation"])
    figures = _flops_figures(found["flops"]) | _latency_figures(found["latency"]) | _memory_figures(found["memory"])
    figures |= _rates(figures)
    series = {"latency_samples_ms": found["latency"]["samples_ms"]}
    return CellResult(figures, series, _notes(task, found), hashes["latency"])


def _notes(task: CostTask, found: dict[str, Any]) -> list[str]:
    """What a reader of the row must know."""
    notes = [f"random weights, seed {task.seed}"] if found["flops"]["parameters"] else []
    asked, taken = (task.warmup, task.runs), (found["latency"]["warmup"], len(found["latency"]["samples_ms"]))
    if taken != asked:
        notes.append(f"{taken[0]} + {taken[1]} runs: {asked[0]} + {asked[1]} do not fit {task.budget_s:g} s")
    if found["latency"]["noisy"]:
        noise = found["latency"]["noise"]
        steal = "" if noise["steal_share"] is None else f", {noise['steal_share']:.1%} steal"
        notes.append(f"noisy: {noise['involuntary_switches']} involuntary switches{steal}")
    if len(set(found["latency"]["threads"].values())) > 1:
        notes.append(f"libraries differ in threads: {found['latency']['threads']}")
    return notes


def _latency_figures(found: dict[str, Any]) -> dict[str, Figure]:
    summary = found["summary"]
    names = {"mean": "mean", "std": "std", "median": "median", "min": "minimum", "p95": "p95"}
    return {f"latency_{name}_ms": Figure(value=summary[source]) for name, source in names.items()} | {
        "cold_ms": Figure(value=found["cold_ms"]),
        "peak_gflop_per_s": Figure(value=found["peak_gflop_per_s"]),
    }


def _memory_figures(found: dict[str, Any]) -> dict[str, Figure]:
    host, device = found["host"], found["device"]
    delta = None if host["peak_bytes"] is None else host["peak_bytes"] - host["baseline_bytes"]
    values = {
        "baseline_rss_bytes": (host["baseline_bytes"], host),
        "peak_rss_bytes": (host["peak_bytes"], host),
        "delta_rss_bytes": (delta, host),
        "delta_anon_bytes": (host["anon_bytes"], host),
        "delta_file_bytes": (host["file_bytes"], host),
        "device_allocated_bytes": (device["allocated_bytes"], device),
        "device_reserved_bytes": (device["reserved_bytes"], device),
    }
    return {name: _figure(value, part["reason"]) for name, (value, part) in values.items()}


def _flops_figures(found: dict[str, Any]) -> dict[str, Figure]:
    parameters = {"parameters": Figure(value=found["parameters"])}
    if found["uncounted"]:
        names = ("executed", "algorithmic", "dispatcher", "closed_form", "deepspeed")
        return parameters | {f"gflops_{name}": Figure(reason=found["uncounted"]) for name in names}
    witnesses = {
        f"gflops_{name.replace(' ', '_')}": _gflops(one["flops"], one["reason"])
        for name, one in found["witnesses"].items()
    }
    return (
        parameters
        | witnesses
        | {
            "gflops_executed": witnesses["gflops_dispatcher"],
            "gflops_algorithmic": _gflops(found["algorithmic"], "this re-ranker brings no closed form"),
        }
    )


def _gflops(flops: int | None, reason: str) -> Figure:
    return _figure(None if flops is None else flops / GIGA, reason)


def _rates(figures: dict[str, Figure]) -> dict[str, Figure]:
    """FLOP/s reached, and its share of what a matrix product reached in the same run."""
    work, median, peak = (figures[name] for name in ("gflops_executed", "latency_median_ms", "peak_gflop_per_s"))
    if work.value is None or not median.value or not peak.value:
        missing = Figure(reason=work.reason or "no time passed")
        return {"achieved_gflop_per_s": missing, "fraction_of_peak": missing}
    reached = work.value / (median.value / 1e3)
    return {"achieved_gflop_per_s": Figure(value=reached), "fraction_of_peak": Figure(value=reached / peak.value)}


def _figure(value: float | int | None, reason: str | None) -> Figure:
    return Figure(reason=reason or "not measured") if value is None else Figure(value=value)
