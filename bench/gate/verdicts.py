"""Base against head: from stored records, or from what duels of two revisions gave, to verdicts and an exit code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bench.gate.limits import of_earned, of_memory, of_stored_timing, of_timing
from bench.gate.rules import of_amount, of_facts, of_kernels, of_scores, of_weights
from bench.gate.words import BLOCKING, RENEW, Status, Verdict, lacking, not_compared
from bench.results import AccuracyKey, GateKey, Record

if TYPE_CHECKING:
    from bench.gate.noise import CellNoise

__all__ = [
    "BLOCKING",
    "Status",
    "Verdict",
    "against_stored",
    "exit_code",
    "kernels_of",
    "lacking",
    "not_compared",
    "of_amount",
    "of_earned",
    "of_facts",
    "of_kernels",
    "of_memory",
    "of_scores",
    "of_stored_timing",
    "of_timing",
    "of_weights",
]

#: Before the name of a kernel among a record's figures.
KERNEL: Final = "kernel "
FINE, REGRESSION, NOT_COMPARED, MISSING = 0, 1, 2, 3
#: What a record of either kind is judged by.
_CELLS: Final = {"gate": "cell", "accuracy": "AP"}


def against_stored(base: Sequence[Record], head: Sequence[Record], noise: Mapping[str, CellNoise]) -> list[Verdict]:
    """Gate and accuracy records of a baseline against those of this tree, re-ranker by re-ranker.

    Records match by kind and re-ranker; weights and setting may differ, and are then what is judged. noise: by
    re-ranker, of this machine and its threads.
    """
    stored, fresh = _by_cell(base), _by_cell(head)
    found = []
    for cell in sorted({*stored, *fresh}, key=lambda one: _place(one, [*stored, *fresh])):
        found += _cell(stored.get(cell), fresh.get(cell), noise)
    return found


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """0 fine; 1 at least one regression; 3 otherwise a cell is missing; 2 otherwise nothing could be compared."""
    seen = {verdict.status for verdict in verdicts}
    if seen & set(BLOCKING):
        return REGRESSION
    if "missing" in seen:
        return MISSING
    return FINE if seen - {"not compared"} else NOT_COMPARED


def kernels_of(record: Record) -> dict[str, int]:
    """Calls of each kernel that a gate record holds."""
    return {
        name.removeprefix(KERNEL): int(figure.value)
        for name, figure in record.figures.items()
        if name.startswith(KERNEL) and figure.value is not None
    }


def _cell(base: Record | None, head: Record | None, noise: Mapping[str, CellNoise]) -> list[Verdict]:
    """Of one re-ranker's records of one kind."""
    present = head or base
    assert present is not None
    reranker, what = present.key.reranker, _CELLS[present.key.kind]
    if head is None:
        return [lacking(reranker, what, "in the baseline, but not in this run")]
    if base is None or base.status != "ok":
        stands = "not in the baseline" if base is None else f"it failed in the baseline ({base.reason})"
        return [not_compared(reranker, what, f"{stands}: python -m bench.check --update stores it")]
    if head.status != "ok":
        return [lacking(reranker, what, f"{head.status}: {head.reason}")]
    if others := _other_setting(base, head):
        return [_elsewhere(base, head, what, others)]
    if isinstance(head.key, AccuracyKey):
        return [_earned(base, head)]
    return [*_facts(base, head), *_measured(base, head, noise)]


def _earned(base: Record, head: Record) -> Verdict:
    """AP of two accuracy records. Another machine describes the images anew, learns other visual words from them, and
    so moves AP by itself: there only agreement says something."""
    found = of_earned(base, head, _same_surroundings(base, head), stored=True)
    if found.status == "same" or base.provenance.fingerprint == head.provenance.fingerprint:
        return found
    why = "another machine learns other visual words: --against compares on one"
    return not_compared(head.key.reranker, "AP", f"{found.detail} ({why})")


def _facts(base: Record, head: Record) -> list[Verdict]:
    """Weights, counts and scores of two gate records."""
    reranker, same = head.key.reranker, _same_surroundings(base, head)
    verdicts = [of_weights(reranker, _weights(base), _weights(head), stored=True)]
    for what, name, unit in (("parameters", "parameters", ""), ("FLOPs", "gflops_executed", " GFLOP")):
        one, other = base.figure(name), head.figure(name)
        reason = other.reason or one.reason or ""
        verdicts.append(of_amount(reranker, what, one.value, other.value, unit=unit, reason=reason, stored=True))
    versions = [record.provenance.versions.get("torch", "none") for record in (base, head)]
    if versions[0] != versions[1]:
        why = f"torch {versions[0]} and torch {versions[1]} call other kernels for the same program"
        verdicts.append(not_compared(reranker, "kernels", why))
    else:
        verdicts.append(of_kernels(reranker, kernels_of(base), kernels_of(head), stored=True))
    scores = of_scores(
        reranker,
        base.series.get("scores", []),
        head.series.get("scores", []),
        (base.scores_sha256, head.scores_sha256),
        exact=same,
        why=f"compared within rtol 1e-4, atol 1e-5 and a tenth of their range: {_difference(base, head)}",
        stored=True,
    )
    return [*verdicts, scores]


def _measured(base: Record, head: Record, noise: Mapping[str, CellNoise]) -> list[Verdict]:
    """Latency and memory of two gate records, where the machine lets them be compared."""
    reranker = head.key.reranker
    if reason := _incomparable(base, head, noise):
        return [not_compared(reranker, what, reason) for what in ("latency", "memory")]
    known = noise[reranker]
    before_ms, after_ms = (_numbers(record, "latency_process_medians_ms") for record in (base, head))
    before_bytes, after_bytes = (_numbers(record, "memory_process_bytes") for record in (base, head))
    note = "" if base.provenance.versions == head.provenance.versions else _difference(base, head)
    if before_ms and after_ms:
        timing = of_stored_timing(reranker, before_ms, after_ms, known.stored_threshold, note=note)
    else:
        timing = not_compared(reranker, "latency", head.figure("latency_median_ms").reason or "not measured before")
    memory = of_memory(reranker, before_bytes, after_bytes, known.memory_threshold)
    return [timing, memory]


def _incomparable(base: Record, head: Record, noise: Mapping[str, CellNoise]) -> str:
    """Why time and memory of two records cannot be compared; nothing when they can."""
    one, other = base.provenance, head.provenance
    if one.fingerprint != other.fingerprint:
        return (
            f"the baseline is of machine {one.fingerprint[:12]}, this is {other.fingerprint[:12]}: "
            "timing of two machines says nothing"
        )
    if one.threads != other.threads:
        return f"the baseline ran with {one.threads} threads, this with {other.threads}"
    if head.key.reranker not in noise:
        return "no noise model of this machine: python -m bench.check --calibrate makes one"
    return ""


def _other_setting(base: Record, head: Record) -> dict[str, tuple[Any, Any]]:
    """What the keys differ in, weights apart."""
    one, other = (record.key.model_dump(exclude={"weights"}) for record in (base, head))
    return {name: (one.get(name), other[name]) for name in other if one.get(name) != other[name]}


def _elsewhere(base: Record, head: Record, what: str, others: Mapping[str, tuple[Any, Any]]) -> Verdict:
    """A cell whose setting is not that of the baseline: nothing else of it can be judged."""
    texts = ", ".join(f"{name} {before!r}, now {after!r}" for name, (before, after) in others.items())
    return Verdict(reranker=head.key.reranker, what=what, status="changed", detail=f"another setting: {texts}; {RENEW}")


def _same_surroundings(base: Record, head: Record) -> bool:
    """Machine, threads and libraries: the same code then gives the same bits."""
    one, other = base.provenance, head.provenance
    return (one.fingerprint, one.threads, one.versions) == (other.fingerprint, other.threads, other.versions)


def _difference(base: Record, head: Record) -> str:
    """What the surroundings of two records differ in."""
    one, other = base.provenance, head.provenance
    parts = [] if one.fingerprint == other.fingerprint else ["another machine"]
    parts += [] if one.threads == other.threads else [f"{one.threads} threads, now {other.threads}"]
    names = [name for name in sorted({*one.versions, *other.versions}) if _version(one, name) != _version(other, name)]
    parts += [f"{name} {_version(one, name)}, now {_version(other, name)}" for name in names]
    return ", ".join(parts)


def _version(provenance: Any, name: str) -> str:
    return str(provenance.versions.get(name, "absent"))


def _weights(record: Record) -> str:
    assert isinstance(record.key, GateKey)
    return record.key.weights


def _numbers(record: Record, name: str) -> list[Any]:
    return [value for value in record.series.get(name, []) if value is not None]


def _by_cell(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    return {(one.key.kind, one.key.reranker): one for one in records if one.key.kind in _CELLS}


def _place(cell: tuple[str, str], order: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """By re-ranker as they come, facts before AP."""
    rerankers = [reranker for _, reranker in order]
    return rerankers.index(cell[1]), list(_CELLS).index(cell[0])
