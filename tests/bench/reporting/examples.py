"""Example records: a small comparison with every kind of trouble in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.results import AccuracyKey, CostKey, Figure, Provenance, Record

MACHINE_A, MACHINE_B = "a" * 64, "b" * 64
QUERIES = 70
NO_CUDA = "no CUDA device"


def provenance(**changes: Any) -> Provenance:
    """A clean commit on machine A."""
    found: dict[str, Any] = {
        "project_version": "0.1.0",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
        "code_sha256": "c" * 64,
        "command": "python -m bench.profile",
        "started_at": "2025-03-01T10:00:00+00:00",
        "wall_s": 12.5,
        "seed": 0,
        "threads": 2,
        "fingerprint": MACHINE_A,
        "machine": {"cpu": "Example CPU", "cores": 2, "memory_bytes": 24 * 2**30, "gpu": None},
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
    }
    return Provenance(**(found | changes))


def cost_record(reranker: str = "ames:dinov2", *, figures: dict[str, Any] | None = None, **changes: Any) -> Record:
    """A finished cost cell; `figures` maps a name to a value or to the reason for its absence."""
    values: dict[str, Any] = {
        "parameters": 2_079_745,
        "gflops_executed": 46.9,
        "gflops_algorithmic": 35.9,
        "gflops_dispatcher": 46.9,
        "gflops_closed_form": 46.8,
        "gflops_deepspeed": 47.0,
        "latency_mean_ms": 616.4,
        "latency_std_ms": 13.7,
        "latency_median_ms": 612.25,
        "latency_min_ms": 601.0,
        "latency_p95_ms": 640.0,
        "cold_ms": 1_204.0,
        "launch_gap_ms": "a CPU call is timed whole",
        "process_spread": 0.083,
        "noisy": 0,
        "steal_share": 0.0,
        "switches_per_cpu_s": 31.5,
        "pairs_p50_ms": "every pair takes the same work",
        "pairs_p95_ms": "every pair takes the same work",
        "queries_p50_ms": "every pair takes the same work",
        "queries_p95_ms": "every pair takes the same work",
        "energy_joules": "no energy counter can be read here",
        "achieved_gflop_per_s": 76.1,
        "peak_gflop_per_s": 179.0,
        "fraction_of_peak": 0.425,
        "copy_gbyte_per_s": 20.0,
        "bytes_least": 100 * 2**20,
        "bytes_touched": 4_000 * 2**20,
        "intensity_flop_per_byte": 447.0,
        "roofline_compute_ms": 262.0,
        "roofline_memory_ms": 5.24,
        "calls_s": 19.0,
        "harness_s": 1.0,
        "baseline_rss_bytes": 300 * 2**20,
        "peak_rss_bytes": 504 * 2**20,
        "delta_rss_bytes": 204 * 2**20,
        "delta_anon_bytes": 200 * 2**20,
        "delta_file_bytes": 4 * 2**20,
        "device_allocated_bytes": NO_CUDA,
        "device_reserved_bytes": NO_CUDA,
        "device_driver_bytes": NO_CUDA,
    } | (figures or {})
    key = CostKey(
        reranker=reranker,
        device=changes.pop("device", "cpu"),
        dtype=changes.pop("dtype", "float32"),
        candidates=changes.pop("candidates", 100),
        inputs=changes.pop("inputs", "600 x 50 locals of 768"),
    )
    fields: dict[str, Any] = {
        "key": key,
        "status": "ok",
        "figures": {name: _figure(value) for name, value in values.items()},
        "series": {"latency_samples_ms": [601.0, 612.25, 640.0], "process_medians_ms": [612.25, 600.0, 650.0]},
        "notes": ["random weights, seed 0"],
        "scores_sha256": "d" * 64,
        "provenance": provenance(),
    }
    return Record(**(fields | changes))


def failed_cost_record(reranker: str, reason: str) -> Record:
    """A cost cell without a single figure."""
    return cost_record(reranker).model_copy(
        update={"status": "failed", "reason": reason, "figures": {}, "series": {}, "notes": [], "scores_sha256": None}
    )


def accuracy_record(
    reranker: str,
    ap: dict[str, list[float | None]] | None = None,
    *,
    positives: list[int] | None = None,
    weights: str = "none",
    dataset: str = "facades",
    shortlist: int = 400,
    policy: str = "junk behind",
    read: int | None = None,
    **changes: Any,
) -> Record:
    """A finished accuracy cell; without `ap`, a failed one."""
    key = AccuracyKey(
        reranker=reranker,
        dataset=dataset,
        dataset_sha256="e" * 64,
        descriptors="RootSIFT-500 + VLAD-256",
        shortlist=shortlist,
        policy=policy,
        weights=weights,
        read=read,
    )
    figures: dict[str, Figure] = {}
    series: dict[str, list[float | int | None]] = {}
    for name, values in (ap or {}).items():
        known = [value for value in values if value is not None]
        figures[f"map_{name}"] = Figure(value=sum(known) / len(known))
        figures[f"map_{name}_shortlist_divisor"] = Figure(value=min(1.0, 1.25 * sum(known) / len(known)))
        figures |= {f"precision_at_{cut}_{name}": Figure(value=0.5 + 0.01 * cut) for cut in (1, 5, 10)}
        series[f"ap_{name}"] = list(values)
        series[f"positives_in_shortlist_{name}"] = list(positives or [3] * len(values))
    if ap:
        figures["rerank_seconds"] = Figure(value=41.5)
    fields: dict[str, Any] = {
        "key": key,
        "status": "ok" if ap else "failed",
        "reason": None if ap else "timeout: not done after 3,600 s",
        "figures": figures,
        "series": series,
        "provenance": provenance(command="python -m bench.accuracy --shortlist 400"),
    }
    return Record(**(fields | changes))


def comparison() -> list[Record]:
    """The records of a whole report: 70 queries, four re-rankers, a failed cell, two machines, a dirty commit."""
    dirty = provenance(commit="f" * 40, dirty=True, started_at="2025-03-02T09:30:00+00:00")
    other = provenance(fingerprint=MACHINE_B, threads=16, machine={"cpu": "Other CPU", "cores": 16})
    no_flops = dict.fromkeys(_FLOPS, "OpenCV is seen by no counter")
    return [
        cost_record(),
        cost_record("ames:dinov2", dtype="bfloat16", provenance=dirty),
        cost_record("ransac:homography", figures={"parameters": 0, **no_flops}, notes=[]),
        failed_cost_record("rrt:gld", "oom: killed at 23.1 GiB"),
        cost_record("ames:dinov2", inputs="50 x 50 locals of 768", provenance=other),
        *accuracy_records(dirty),
    ]


def accuracy_records(dirty: Provenance) -> list[Record]:
    """none, two real methods, an untrained one, a failed one."""
    random = np.random.default_rng(0)
    positives = [int(count) for count in random.integers(0, 45, QUERIES)]
    base = {name: _ap(random, scale) for name, scale in _SCALES.items()}

    def moved(shift: float, spread: float) -> dict[str, list[float | None]]:
        return {
            name: [None if one is None else float(np.clip(one + random.normal(shift, spread), 0, 1)) for one in values]
            for name, values in base.items()
        }

    return [
        accuracy_record("none:first-stage", base, positives=positives),
        accuracy_record("ransac:homography", moved(0.08, 0.12), positives=positives),
        accuracy_record("sg-rerank:published", moved(0.02, 0.05), positives=positives, provenance=dirty),
        accuracy_record("ames:rootsift", moved(-0.2, 0.2), positives=positives, weights="random"),
        accuracy_record("ransac:affine"),
    ]


_FLOPS = (
    "gflops_executed",
    "gflops_algorithmic",
    "gflops_dispatcher",
    "gflops_closed_form",
    "gflops_deepspeed",
    "achieved_gflop_per_s",
    "fraction_of_peak",
)
_SCALES = {"easy": 0.75, "medium": 0.55, "hard": 0.3, "hard_star": 0.35}


def _ap(random: np.random.Generator, scale: float) -> list[float | None]:
    values: list[float | None] = [float(value) for value in np.clip(random.normal(scale, 0.3, QUERIES), 0, 1)]
    values[3] = None
    return values


def _figure(value: Any) -> Figure:
    return Figure(reason=value) if isinstance(value, str) else Figure(value=value)
