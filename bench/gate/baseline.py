"""Records of the gate: what is stored of a re-ranker, and the noise model that belongs to a machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from bench.cost import describe_inputs
from bench.gate.duel import Failure, GateCell
from bench.gate.duels import Rounds
from bench.gate.facts import Facts, weights_text
from bench.gate.noise import CellNoise, Observed, cell_noise, noise_figures, noise_series
from bench.gate.verdicts import KERNEL
from bench.provenance import Surroundings
from bench.results import Figure, GateKey, NoiseKey, Record
from rerankers.registry import inputs_of, parse

GIGA = 1e9
DEVICE, DTYPE = "cpu", "float32"


def gate_records(
    cells: Sequence[GateCell],
    facts: Mapping[str, Facts | Failure],
    held: Rounds,
    surroundings: Surroundings,
) -> list[Record]:
    """One record a re-ranker, from its facts and the rounds of one side; a failed one carries the reason."""
    return [_gate_record(cell, facts.get(cell.reranker), held, surroundings) for cell in cells]


def noise_records(
    cells: Sequence[GateCell],
    observed: Mapping[str, Observed],
    model: Mapping[str, CellNoise],
    seconds: Mapping[str, float],
    surroundings: Surroundings,
) -> list[Record]:
    """One record a re-ranker of the model, with all that it was made from."""
    return [
        Record(
            key=NoiseKey(**_workload(cell), duels=model[cell.reranker].duels),
            status="ok",
            figures=noise_figures(model[cell.reranker]),
            series=noise_series(observed[cell.reranker]),
            provenance=_provenance(surroundings, seconds.get(cell.reranker, 0.0)),
        )
        for cell in cells
        if cell.reranker in model
    ]


def noise_model(
    cells: Sequence[GateCell], records: Iterable[Record], surroundings: Surroundings, *, duels: int
) -> dict[str, CellNoise]:
    """By re-ranker, of this machine with these threads: the first record, one for `duels` duels before others."""
    wanted = {(cell.reranker, cell.candidates) for cell in cells}
    here = surroundings.provenance(started_at=datetime.now(UTC), wall_s=0)
    known = [
        record
        for record in records
        if isinstance(record.key, NoiseKey)
        and record.status == "ok"
        and (record.key.reranker, record.key.candidates) in wanted
        and (record.provenance.fingerprint, record.provenance.threads) == (here.fingerprint, here.threads)
    ]
    found: dict[str, CellNoise] = {}
    for record in sorted(known, key=lambda one: isinstance(one.key, NoiseKey) and one.key.duels != duels):
        found.setdefault(record.key.reranker, cell_noise(record))
    return found


def _gate_record(cell: GateCell, facts: Facts | Failure | None, held: Rounds, surroundings: Surroundings) -> Record:
    name = cell.reranker
    failure = facts if isinstance(facts, Failure) else held.failures.get(name)
    done = isinstance(facts, Facts) and failure is None and name in held.rounds
    fields: dict[str, Any] = {"status": "failed", "reason": failure.reason if failure else "not run"}
    if done and isinstance(facts, Facts):
        fields = _measured(facts, held, name)
    return Record(
        key=GateKey(**_workload(cell), weights=facts.weights if isinstance(facts, Facts) else weights_text(name)),
        provenance=_provenance(surroundings, held.seconds.get(name, 0.0)),
        **fields,
    )


def _measured(facts: Facts, held: Rounds, name: str) -> dict[str, Any]:
    medians_ms, memory = held.medians_ms(name), held.memory_bytes(name)
    known = [value for value in memory if value is not None]
    uncounted = Figure(reason=facts.flops_reason or "not counted")
    figures = {
        "parameters": Figure(value=facts.parameters),
        "gflops_executed": uncounted if facts.flops is None else Figure(value=facts.flops / GIGA),
        "latency_median_ms": Figure(value=median(medians_ms)),
        "peak_delta_bytes": Figure(value=median(known))
        if known
        else Figure(reason="the system does not say the peak of a process"),
        "rounds": Figure(value=len(medians_ms)),
        "noisy_rounds": Figure(value=held.noisy(name)),
        **{f"{KERNEL}{kernel}": Figure(value=count) for kernel, count in sorted(facts.kernels.items())},
    }
    series: dict[str, list[float | int | None]] = {
        "scores": [score if math.isfinite(score) else None for score in facts.scores],
        "latency_process_medians_ms": list(medians_ms),
        "memory_process_bytes": list(memory),
    }
    return {"status": "ok", "figures": figures, "series": series, "scores_sha256": facts.scores_sha256}


def _workload(cell: GateCell) -> dict[str, Any]:
    """What the keys of the gate say of a cell."""
    return {
        "reranker": cell.reranker,
        "device": DEVICE,
        "dtype": DTYPE,
        "candidates": cell.candidates,
        "inputs": describe_inputs(inputs_of(parse(cell.reranker))),
    }


def _provenance(surroundings: Surroundings, wall_s: float) -> Any:
    """Of a cell that has just ended."""
    return surroundings.provenance(started_at=datetime.now(UTC) - timedelta(seconds=wall_s), wall_s=wall_s)
