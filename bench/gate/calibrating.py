"""What a machine can see: duels of this tree against itself, and changes that are planted to be found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.errors import BenchError
from bench.gate.baseline import DEVICE, noise_records
from bench.gate.comparing import compare
from bench.gate.duel import Failure, Side, facts
from bench.gate.duels import DuelPlan, Rounds
from bench.gate.limits import LEAST_BYTES
from bench.gate.noise import CellNoise, Detection, calibrate, power, power_figures
from bench.gate.rules import of_scores
from bench.provenance import Start, Surroundings
from bench.results import Journal, PowerKey, Record

ALIKE = (Side(name="base"), Side(name="head"))
#: Slowdowns that are added to the samples of duels of the same code.
ADDED = (0.0, 0.05, 0.1, 0.2, 0.5)
FOLDER = "gate"


@dataclass(frozen=True)
class Planted:
    """A change that really runs. what: the verdict that is to find it."""

    name: str
    change: Mapping[str, float]
    what: str


@dataclass(frozen=True)
class Found:
    """Records, and the journal to remove once they are stored."""

    records: list[Record]
    journal: Path


RUN = (
    Planted("slower by 20 %", {"slower": 0.2}, "latency"),
    Planted("memory +50 %", {"memory": 0.5}, "memory"),
    Planted("another ranking", {"scores": 1.0}, "scores"),
)


def calibration(plan: DuelPlan, duels_in_all: int, *, duels: int, cache: Path, surroundings: Surroundings) -> Found:
    """Noise records from duels of this tree against itself.

    Goes on where an interrupted calibration of the same code stopped.
    """
    journal = plan.journal(cache / FOLDER, "calibrate")
    held = plan.run(ALIKE, duels_in_all, "calibrate", journal)
    observed = held.observed()
    if not observed:
        journal.path.unlink()  # or the next calibration would go on with these failures
        reasons = "; ".join(f"{one.reranker}: {one.reason}" for one in held.failures.values())
        raise BenchError(f"no re-ranker ran ({reasons})", wanted="at least one", cure="Choose others by --rerankers.")
    model = calibrate(observed, duels=duels)
    return Found(noise_records(plan.cells, observed, model, held.seconds, surroundings), journal.path)


def measured_power(
    plan: DuelPlan,
    duels_in_all: int,
    noise: Mapping[str, CellNoise],
    *,
    duels: int,
    cache: Path,
    surroundings: Surroundings,
) -> Found:
    """Power records: shares added to fresh duels of the same code, then changes that really run.

    Goes on where it was interrupted, too. BenchError for cells without a noise model, and for too few duels.
    """
    unknown = [cell.reranker for cell in plan.cells if cell.reranker not in noise]
    if unknown:
        raise BenchError(
            f"no noise model of this machine for {', '.join(unknown)}",
            wanted="one for every re-ranker whose power is measured",
            cure="Run `python -m bench.check --calibrate` first, with the same re-rankers and threads.",
        )
    if duels_in_all < 2 * duels:
        raise BenchError(
            f"--power {duels_in_all}",
            wanted=f"at least {2 * duels}: the duels of one comparison and of its confirmation",
            cure="Pass --power 80.",
        )
    journal = plan.journal(cache / FOLDER, "power")
    keeper = _Keeper(plan, duels, surroundings)
    alike = plan.run(ALIKE, duels_in_all, "power, the same code", journal)
    observed = alike.observed()
    names = [cell.reranker for cell in plan.cells if cell.reranker in observed]
    records = [
        keeper.record(names, _slower(found.planted), "added", found)
        for found in power(observed, noise, duels=duels, planted=ADDED)
    ]
    for planted in RUN:
        able, detected = _ran(plan, alike, planted, noise, duels, journal)
        records.append(
            keeper.record(able, planted.name, "run", Detection(planted=0, comparisons=len(able), detected=detected))
        )
    return Found(records, journal.path)


@dataclass
class _Keeper:
    """Makes power records, each with the time since the last one."""

    plan: DuelPlan
    duels: int
    surroundings: Surroundings
    since: Start = field(default_factory=Start)

    def record(self, names: Sequence[str], planted: str, how: str, found: Detection) -> Record:
        start, self.since = self.since, Start()
        key = PowerKey(
            reranker=",".join(names),
            device=DEVICE,
            candidates=self.plan.cells[0].candidates,
            duels=self.duels,
            planted=planted,
            how=how,
        )
        return Record(
            key=key,
            status="ok" if found.comparisons else "missing",
            reason=None if found.comparisons else "there was no re-ranker that it could be planted in",
            figures=power_figures(found) if found.comparisons else {},
            provenance=self.surroundings.provenance(started_at=start.at, wall_s=self.since.counter_s - start.counter_s),
        )


def _ran(
    plan: DuelPlan, alike: Rounds, planted: Planted, noise: Mapping[str, CellNoise], duels: int, journal: Journal
) -> tuple[list[str], int]:
    """Re-rankers that the change could be planted in, and in how many of them it was found."""
    changed = Side(name="head", planted=planted.change)
    if planted.what == "scores":
        return _other_scores(plan, changed)
    names = [cell.reranker for cell in plan.cells if cell.reranker in alike.rounds]
    if planted.what == "memory":  # a change below what may always come or go is none
        names = [name for name in names if planted.change["memory"] * _peak(alike, name) >= LEAST_BYTES]
    sides, title = (ALIKE[0], changed), f"power, {planted.name}"
    verdicts = compare(plan.of(names), sides, duels, noise, title=title, journal=journal)
    return names, sum(one.blocks for one in verdicts if one.what == planted.what)


def _other_scores(plan: DuelPlan, changed: Side) -> tuple[list[str], int]:
    before, after = (
        facts(side, plan.cells, threads=plan.threads, timeout_s=plan.timeout_s) for side in (ALIKE[0], changed)
    )
    names, detected = [], 0
    for name in before:
        one, other = before[name], after.get(name)
        if isinstance(one, Failure) or other is None or isinstance(other, Failure):
            continue
        names.append(name)
        detected += of_scores(name, one.scores, other.scores, (one.scores_sha256, other.scores_sha256)).blocks
    return names, detected


def _peak(held: Rounds, name: str) -> float:
    known = [value for value in held.memory_bytes(name) if value is not None]
    return median(known) if known else 0.0


def _slower(share: float) -> str:
    return f"slower by {100 * share:g} %" if share else "nothing"
