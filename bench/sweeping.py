"""The cell of a sweep: what a re-ranker costs at several values of an axis, and the law that it keeps to."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.axes import Axis, Sweep
from bench.cells import Cell, CellFailed, CellMissing, CellResult, Limits, isolated
from bench.console import progress
from bench.cost import CostTask, describe_inputs
from bench.measure import this_machine
from bench.measure.law import Departure, Fit, Term, fit, repeatability
from bench.provenance import code_sha256
from bench.reporting.scaling import ON_THE_LAW
from bench.results import Figure, Journal, Record, SweepKey

#: Differences below these mean nothing: of a call's latency, and of a process's resident memory.
RESOLUTION_MS, RESOLUTION_BYTES = 0.01, 2.0**20
#: What there is of a law beside its coefficients.
BESIDE = ("residual", "noise", "departs_at", "departs_by", "departs_onwards")
UNTOLD = "with as few values, one process each cannot tell"

#: What the processes found, by value.
Found = Mapping[int, Sequence[Mapping[str, Any]]]


def sweep_cell(
    task: CostTask,
    sweep: Sweep,
    *,
    threads: int,
    work: Path,
    limits: Limits,
    processes: int = 3,
) -> Cell:
    """The cell of one re-ranker along one axis.

    processes: that measure each value; with fewer than 2, nothing tells growth from the mood of a process. work: folder
    of journals.
    """
    largest = sweep.task(task, sweep.values[-1])
    key = SweepKey(
        reranker=task.reranker,
        device=task.device,
        dtype=task.dtype,
        axis=str(sweep.axis),
        values=",".join(map(str, sweep.values)),
        candidates=largest.candidates,
        inputs=describe_inputs(largest.inputs),
    )

    heading = f"{key.model_dump_json()} {asdict(task)} {threads} {this_machine().fingerprint} {code_sha256()}"
    path = work / f"{hashlib.sha256(heading.encode()).hexdigest()[:16]}.journal"

    def run() -> CellResult:
        if (reason := sweep.unsuited(task)) is not None:
            raise CellMissing(reason)
        journal = Journal(path, heading)
        order = list(turns(sweep.values, processes=processes, seed=task.seed))
        measure = partial(_measure, task, sweep, journal, threads=threads, limits=limits)
        failed = measure(order)
        if left := _left(sweep, _found(sweep, journal, failed)):  # whether that was the mood of the processes
            again = turns(left, processes=processes, seed=task.seed + 1)
            failed |= measure([(value, processes + process) for value, process in again])
        return _result(sweep, _found(sweep, journal, failed), failed)

    def thorough(record: Record) -> bool:
        seen = [record.figure(name).value or 0 for name in ("processes", "fewest_runs")]
        return seen[0] >= processes and (task.budget_s is not None or seen[1] >= task.runs)

    return Cell(key, run, enough=thorough, discard=lambda: path.unlink(missing_ok=True))


def turns(values: Sequence[int], *, processes: int, seed: int) -> Iterator[tuple[int, int]]:
    """(value, process) in the order in which they are measured: every value once, in any order, then again.

    Ascending values would make a machine that slows down look like growth.
    """
    chance = random.Random(seed)
    for process in range(processes):
        yield from ((value, process) for value in chance.sample(list(values), len(values)))


def _measure(
    task: CostTask,
    sweep: Sweep,
    journal: Journal,
    order: Sequence[tuple[int, int]],
    *,
    threads: int,
    limits: Limits,
) -> dict[int, str]:
    """Fills the journal, a part for each value and process; gives the reasons of values that could not be measured."""
    failed: dict[int, str] = {}
    with progress(f"{task.reranker}, {sweep.axis}") as shown:
        for done, (value, process) in enumerate(order):
            shown(done, len(order))
            name = f"{value}/{process}"
            if name in journal.parts or value in failed:
                continue
            used = value if sweep.axis is Axis.THREADS else threads
            try:
                payload = asdict(sweep.task(task, value))
                found = isolated("bench.cost:observe", payload, threads=used, limits=limits)
            except CellFailed as reason:
                failed[value] = str(reason)
            else:
                journal.add(name, _kept(found))
        shown(len(order), len(order))
    return failed


def _kept(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a journal keeps of one process."""
    host = found["host"]
    whole = host["peak_bytes"] is not None and host["baseline_bytes"] is not None
    return {
        "median_ms": found["summary"]["median"],
        "p95_ms": found["summary"]["p95"],
        "runs": len(found["samples_ms"]),
        "delta_bytes": host["peak_bytes"] - host["baseline_bytes"] if whole else None,
        "reason": host["reason"],
        "noisy": found["noisy"],
        "scores_sha256": found["scores_sha256"],
    }


def _found(sweep: Sweep, journal: Journal, failed: Mapping[int, str]) -> Found:
    """What the processes found at every value that none of them failed at; CellFailed when those are too few for a
    law, or when processes gave different scores."""
    whole = {
        value: [part for name, part in sorted(journal.parts.items()) if name.startswith(f"{value}/")]
        for value in sweep.values
        if value not in failed
    }
    if len(whole) <= len(sweep.axis.latency):
        raise CellFailed("; ".join(f"{reason} ({sweep.axis}={value})" for value, reason in sorted(failed.items())))
    for value, seen in whole.items():
        if len({one["scores_sha256"] for one in seen}) > 1:
            raise CellFailed(f"processes gave different scores at {sweep.axis}={value}")
    return whole


def _left(sweep: Sweep, whole: Found) -> list[int]:
    """The values that have left a law, ascending."""
    left: set[int] = set()
    for name, form, resolution in (
        ("median_ms", sweep.axis.latency, RESOLUTION_MS),
        ("delta_bytes", sweep.axis.memory, RESOLUTION_BYTES),
    ):
        made = _fit(_column(whole, name), form, resolution)
        if made is not None and made.departure is not None:
            values, gone = list(whole), made.departure
            left |= set(values[gone.place :] if gone.onwards else values[gone.place : gone.place + 1])
    return sorted(left)


def _result(sweep: Sweep, whole: Found, failed: Mapping[int, str]) -> CellResult:
    """Figures of both laws, and series along the values; None in a series where a value could not be measured."""
    parts = [part for seen in whole.values() for part in seen]
    series: dict[str, list[float | int | None]] = {
        "values": list(sweep.values),
        "process_medians_ms": [part["median_ms"] for part in parts],
    }
    figures, taken = _law(sweep, _column(whole, "median_ms"), sweep.axis.latency, "ms", RESOLUTION_MS)
    series |= {"latency_median_ms": taken["measured"], "predicted_ms": taken["predicted"]}
    p95 = _column(whole, "p95_ms")
    series["latency_p95_ms"] = [median(p95[value]) if value in p95 else None for value in sweep.values]
    hidden = next((part["reason"] for part in parts if part["delta_bytes"] is None), None)
    if hidden is None:
        memory, taken = _law(sweep, _column(whole, "delta_bytes"), sweep.axis.memory, "bytes", RESOLUTION_BYTES)
    else:
        memory = dict.fromkeys(BESIDE, Figure(reason=hidden))
        taken = dict.fromkeys(("measured", "predicted"), [None] * len(sweep.values))
    figures |= {f"memory_{name}": figure for name, figure in memory.items()}
    series |= {"peak_delta_bytes": taken["measured"], "memory_predicted_bytes": taken["predicted"]}
    figures["processes"] = Figure(value=min(map(len, whole.values())))
    figures["fewest_runs"] = Figure(value=min(part["runs"] for part in parts))
    scores = "".join(f"{value} {seen[0]['scores_sha256']}\n" for value, seen in whole.items())
    return CellResult(figures, series, _notes(sweep, whole, failed), hashlib.sha256(scores.encode()).hexdigest())


def _column(whole: Found, name: str) -> dict[int, list[float]]:
    return {value: [part[name] for part in seen] for value, seen in whole.items()}


def _fit(found: Mapping[int, Sequence[float]], form: Sequence[Term], resolution: float) -> Fit | None:
    """The law of the medians; None for too few values, or where some were not taken."""
    if len(found) <= len(form) or any(one is None for seen in found.values() for one in seen):
        return None
    noise = repeatability(list(found.values()), resolution=resolution)
    medians = [float(median(seen)) for seen in found.values()]
    return fit(list(found), medians, form, resolution=resolution, noise=noise)


def _law(
    sweep: Sweep, found: Mapping[int, Sequence[float]], form: Sequence[Term], unit: str, resolution: float
) -> tuple[dict[str, Figure], dict[str, list[float | int | None]]]:
    """Figures of the law, and what was measured and predicted at every value of the axis."""
    known = {value: float(median(seen)) for value, seen in found.items()}
    measured = [known.get(value) for value in sweep.values]
    made = _fit(found, form, resolution)
    if made is None:
        few = Figure(reason=f"{len(known)} values do not make a law of {len(form)} terms")
        none: list[float | int | None] = [None] * len(sweep.values)
        return dict.fromkeys(BESIDE, few), {"measured": measured, "predicted": none}
    figures = {f"law_{term}_{unit}": Figure(value=size) for term, size in made.law.coefficients.items()}
    figures["residual"] = figure(made.residual, "the values that keep to the law are as many as its terms")
    figures["noise"] = figure(made.noise, "one process a value")
    untold = made.noise is None and len(known) == len(form) + 1
    figures |= _departure(list(known), made.departure, UNTOLD if untold else ON_THE_LAW)
    return figures, {"measured": measured, "predicted": made.law.at(sweep.values).tolist()}


def figure(value: float | None, reason: str) -> Figure:
    """The figure of a value that may be missing."""
    return Figure(reason=reason) if value is None else Figure(value=value)


def _departure(values: Sequence[int], found: Departure | None, reason: str) -> dict[str, Figure]:
    """departs_by: share of the law, positive for more than it says. departs_onwards: 1, or 0 for that value alone."""
    if found is None:
        return dict.fromkeys(BESIDE[2:], Figure(reason=reason))
    shown = {"at": values[found.place], "by": found.off, "onwards": int(found.onwards)}
    return {f"departs_{name}": Figure(value=value) for name, value in shown.items()}


def _notes(sweep: Sweep, whole: Found, failed: Mapping[int, str]) -> list[str]:
    """What a reader of the row must know."""
    notes = [f"{sweep.axis}={value} was not measured: {reason}" for value, reason in sorted(failed.items())]
    noisy = [str(value) for value, seen in whole.items() if sum(part["noisy"] for part in seen) * 2 > len(seen)]
    if noisy:
        notes.append(f"noisy at {', '.join(noisy)}: others had cores of this machine meanwhile")
    return notes
