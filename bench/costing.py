"""The cost cell: its passes in processes of their own, and the figures that come of what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from bench.cells import CellFailed, CellResult, Limits, isolated
from bench.cost import MEMORY_RUNS, CostTask
from bench.measure import quantile
from bench.measure.clock import LEAST_CPU_S, fewest
from bench.results import Figure, Record
from rerankers.registry import learned_weights, parse

GIGA = 1e9
#: Where nothing is cut, each of these shares a process; in a hurry all of them do, FLOPs last.
APART: tuple[tuple[str, ...], ...] = (("latency", "rates", "spread"), ("memory",), ("flops",))
TOGETHER: tuple[tuple[str, ...], ...] = (("latency", "rates", "spread", "memory", "flops"),)
#: What a process takes before its first call, about.
START_S = 4.0
#: Calls of the further processes that show how far two processes lie apart.
AGAIN_WARMUP, AGAIN_RUNS = 1, 3

Found = Mapping[str, Any]


@dataclass(frozen=True)
class Protocol:
    """How thoroughly a cell is measured.

    budget_s: of the warm-up and measured calls; None: none is cut. processes: that time it, the first of them in full.
    counted: candidates that FLOPs are counted on; None: all.
    """

    passes: tuple[tuple[str, ...], ...] = APART
    budget_s: float | None = None
    processes: int = 3
    counted: int | None = None


def measure(task: CostTask, protocol: Protocol, *, threads: int, limits: Limits) -> CellResult:
    """All passes of one cell.

    CellFailed when a pass fails, the witnesses of the FLOPs disagree, or the passes saw different scores.
    """
    task = replace(task, budget_s=protocol.budget_s, counted=protocol.counted)
    again = replace(task, warmup=min(task.warmup, AGAIN_WARMUP), runs=min(task.runs, AGAIN_RUNS))
    parts = [(task, passes) for passes in protocol.passes] + [(again, ("latency",))] * (protocol.processes - 1)
    processes = [
        isolated(
            "bench.cost:run",
            {"task": asdict(one), "passes": list(passes)},
            threads=threads,
            limits=limits,
        )
        for one, passes in parts
    ]
    found = {name: one for process in processes[: len(protocol.passes)] for name, one in process.items()}
    found |= {name: sum(process[name] for process in processes) for name in ("wall_s", "calls_s")}
    others = [process["latency"] for process in processes[len(protocol.passes) :]]
    hashes = {name: found[name]["scores_sha256"] for name in ("latency", "memory", "flops")}
    hashes |= {f"process {number}": one["scores_sha256"] for number, one in enumerate(others, 2)}
    if len(set(hashes.values())) != 1:
        raise CellFailed(f"the passes gave different scores: {hashes}")
    if found["flops"].get("verdict") == "disagree":
        raise CellFailed(found["flops"]["explanation"])
    series = {
        "latency_samples_ms": found["latency"]["samples_ms"],
        "process_medians_ms": [one["summary"]["median"] for one in (found["latency"], *others)],
        **{name: values for name, values in found["spread"].items() if name in ("pairs_ms", "queries_ms")},
    }
    notes, scoring = _notes(task, found), found["latency"]["scoring"]
    return CellResult(_figures(found, series), series, notes, hashes["latency"], scoring)


def expected_s(earlier: Record, protocol: Protocol, calls: int) -> float:
    """Seconds that a cell may take, whose warm-up and measured calls are `calls`, judged by an earlier record."""
    call_s = (earlier.figure("latency_median_ms").value or 0) / 1e3
    timed = calls * call_s if protocol.budget_s is None else min(calls * call_s, protocol.budget_s)
    timed = max(timed, fewest(call_s) * call_s) + call_s
    again = (protocol.processes - 1) * (1 + AGAIN_WARMUP + AGAIN_RUNS) * call_s
    rest = (2 if protocol.budget_s is not None else 1 + MEMORY_RUNS + 4) * call_s
    return timed + again + rest + START_S * (len(protocol.passes) + protocol.processes - 1)


def _notes(task: CostTask, found: Found) -> list[str]:
    """What a reader of the row must know."""
    timed, counted = found["latency"], found["flops"]
    random = None in learned_weights(parse(task.reranker), {})
    notes = [f"random weights, seed {task.seed}"] if random else []
    asked, taken = (task.warmup, task.runs), (timed["warmup"], len(timed["samples_ms"]))
    if taken != asked:
        notes.append(f"{taken[0]} + {taken[1]} runs: {asked[0]} + {asked[1]} do not fit {task.budget_s:g} s")
    if counted.get("counted", task.candidates) != task.candidates:
        notes.append(f"FLOPs by the closed form; the witnesses {counted['verdict']} on {counted['counted']} candidates")
    if timed["noisy"]:
        noise = timed["noise"]
        steal = "" if noise["steal_share"] is None else f", {noise['steal_share']:.1%} steal"
        notes.append(f"noisy: {noise['involuntary_switches']} involuntary switches{steal}")
    if len(set(timed["threads"].values())) > 1:
        notes.append(f"libraries differ in threads: {timed['threads']}")
    return notes


def _figures(found: Found, series: Mapping[str, Sequence[float]]) -> dict[str, Figure]:
    figures = _flops_figures(found["flops"]) | _latency_figures(found["latency"]) | _memory_figures(found["memory"])
    figures |= _noise_figures(found["latency"]) | _spread_figures(found["spread"], series)
    figures |= {name: Figure(value=found["rates"][name]) for name in ("peak_gflop_per_s", "copy_gbyte_per_s")}
    figures |= {
        "calls_s": Figure(value=found["calls_s"]),
        "harness_s": Figure(value=found["wall_s"] - found["calls_s"]),
    }
    return figures | _rates(figures) | _roofline(figures)


def _latency_figures(found: Found) -> dict[str, Figure]:
    summary, energy = found["summary"], found["energy"]
    names = {"mean": "mean", "std": "std", "median": "median", "min": "minimum", "p95": "p95"}
    on_gpu = found["device"] != "cpu"
    joules = None if energy["joules"] is None else energy["joules"] / len(found["samples_ms"])
    return {f"latency_{name}_ms": Figure(value=summary[source]) for name, source in names.items()} | {
        "cold_ms": Figure(value=found["cold_ms"]),
        "launch_gap_ms": _figure(found["gap_ms"] if on_gpu else None, "a CPU call is timed whole"),
        "energy_joules": _figure(joules, energy["reason"]),
    }


def _noise_figures(found: Found) -> dict[str, Figure]:
    noise = found["noise"]
    hidden = "the system does not say what the hypervisor took"
    return {
        "noisy": Figure(value=int(found["noisy"])),
        "steal_share": _figure(noise["steal_share"], hidden),
        "switches_per_cpu_s": Figure(value=noise["involuntary_switches"] / max(noise["cpu_s"], LEAST_CPU_S)),
    }


def _spread_figures(found: Found, series: Mapping[str, Sequence[float]]) -> dict[str, Figure]:
    """How far processes lie apart, and pairs and queries of a re-ranker that stops early."""
    medians = series["process_medians_ms"]
    apart = (max(medians) - min(medians)) / median(medians) if len(medians) > 1 and median(medians) else None
    figures = {"process_spread": _figure(apart, "one process timed it")}
    for name in ("pairs", "queries"):
        values = found.get(f"{name}_ms")
        for label, share in (("p50", 0.5), ("p95", 0.95)):
            value = None if values is None else quantile(values, share)
            figures[f"{name}_{label}_ms"] = _figure(value, found.get("reason"))
    return figures


def _memory_figures(found: Found) -> dict[str, Figure]:
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
        "device_driver_bytes": (device["driver_bytes"], device),
    }
    return {name: _figure(value, part["reason"]) for name, (value, part) in values.items()}


def _flops_figures(found: Found) -> dict[str, Figure]:
    figures = {"parameters": Figure(value=found["parameters"]), "bytes_least": Figure(value=found["bytes_least"])}
    if found["uncounted"]:
        names = ("executed", "algorithmic", "dispatcher", "closed_form", "deepspeed")
        uncounted = Figure(reason=found["uncounted"])
        return figures | {f"gflops_{name}": uncounted for name in names} | {"bytes_touched": uncounted}
    witnesses = {
        f"gflops_{name.replace(' ', '_')}": _gflops(one["flops"], one["reason"])
        for name, one in found["witnesses"].items()
    }
    executed = witnesses["gflops_dispatcher"]
    if found["bytes_touched"] is None:  # counted on some candidates only
        part = Figure(reason=f"counted on {found['counted']} candidates only: the witnesses {found['verdict']}")
        executed = _gflops(found["executed"], None)
        witnesses = dict.fromkeys(witnesses, part) | {"gflops_closed_form": executed}
    return figures | {
        **witnesses,
        "gflops_executed": executed,
        "gflops_algorithmic": _gflops(found["algorithmic"], "this re-ranker brings no closed form"),
        "bytes_touched": _figure(found["bytes_touched"], "some candidates only were counted"),
    }


def _rates(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """FLOP/s reached, and its share of what a matrix product reached in the same run."""
    work, taken, peak = (figures[name] for name in ("gflops_executed", "latency_median_ms", "peak_gflop_per_s"))
    if work.value is None or not taken.value or not peak.value:
        missing = Figure(reason=work.reason or "no time passed")
        return {"achieved_gflop_per_s": missing, "fraction_of_peak": missing}
    reached = work.value / (taken.value / 1e3)
    return {"achieved_gflop_per_s": Figure(value=reached), "fraction_of_peak": Figure(value=reached / peak.value)}


def _roofline(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """The time that no program of these FLOPs can beat on this machine, by its product and its copying.

    Source: Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009; the memory side with the least bytes.
    """
    work, peak, least, copy = (
        figures[name] for name in ("gflops_executed", "peak_gflop_per_s", "bytes_least", "copy_gbyte_per_s")
    )
    if work.value is None or not peak.value or not least.value or not copy.value:
        missing = Figure(reason=work.reason or "the machine's rates are unknown")
        return dict.fromkeys(("intensity_flop_per_byte", "roofline_compute_ms", "roofline_memory_ms"), missing)
    return {
        "intensity_flop_per_byte": Figure(value=work.value * GIGA / least.value),
        "roofline_compute_ms": Figure(value=1e3 * work.value / peak.value),
        "roofline_memory_ms": Figure(value=1e3 * least.value / GIGA / copy.value),
    }


def _gflops(flops: int | None, reason: str | None) -> Figure:
    return _figure(None if flops is None else flops / GIGA, reason)


def _figure(value: float | int | None, reason: str | None) -> Figure:
    return Figure(reason=reason or "not measured") if value is None else Figure(value=value)
