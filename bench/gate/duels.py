"""Several duels of the same two sides, one after the other: gathered by re-ranker, kept in a journal, with an ETA."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.console import progress
from bench.gate.duel import Failure, GateCell, Round, Side, duel
from bench.gate.noise import Estimate, Observed, estimate, turn_ratio
from bench.measure import this_machine, versions
from bench.provenance import code_sha256
from bench.results import Journal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rounds:
    """Rounds by re-ranker, in the order of the duels; who failed, with the first reason; seconds each has taken."""

    rounds: Mapping[str, list[Round]] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Rounds) -> Rounds:
        """Both, one after the other."""
        names = dict.fromkeys([*self.rounds, *other.rounds])
        return Rounds(
            {name: [*self.rounds.get(name, []), *other.rounds.get(name, [])] for name in names},
            {**other.failures, **self.failures},
            {name: self.seconds.get(name, 0) + other.seconds.get(name, 0) for name in {*self.seconds, *other.seconds}},
        )

    def estimate(self, reranker: str) -> Estimate:
        """Head over base; of a re-ranker with rounds."""
        return estimate([turn_ratio(*one.samples_ms) for one in self.rounds[reranker]])

    def medians_ms(self, reranker: str, side: int = 0) -> list[float]:
        """Median of every round of one side: one value a process."""
        return [median(one.samples_ms[side]) for one in self.rounds[reranker]]

    def memory_bytes(self, reranker: str, side: int = 0) -> list[int | None]:
        """Peak over baseline of one side, one value a process."""
        return [one.memory_bytes[side] for one in self.rounds[reranker]]

    def noisy(self, reranker: str) -> int:
        """Rounds in which either side was disturbed."""
        return sum(any(side["noisy"] for side in one.noise) for one in self.rounds[reranker])

    def observed(self) -> dict[str, Observed]:
        """Of duels of the same code: what a noise model is made from. Re-rankers that failed are left out."""
        return {
            name: Observed(
                base_ms=tuple(self.medians_ms(name, 0)),
                head_ms=tuple(self.medians_ms(name, 1)),
                log_ratios=tuple(turn_ratio(*one.samples_ms) for one in rounds),
                memory_bytes=tuple(value for one in rounds for value in one.memory_bytes if value is not None),
            )
            for name, rounds in self.rounds.items()
            if name not in self.failures
        }


@dataclass(frozen=True)
class DuelPlan:
    """Where duels are held: the cells, and what holds for all of them."""

    cells: tuple[GateCell, ...]
    threads: int
    timeout_s: float

    def of(self, rerankers: Sequence[str]) -> DuelPlan:
        """The same for some of the cells."""
        return replace(self, cells=tuple(cell for cell in self.cells if cell.reranker in rerankers))

    def run(self, sides: Sequence[Side], duels: int, title: str, journal: Journal | None = None) -> Rounds:
        """So many duels. A cell that fails is left out of those that follow.

        journal: duels that it holds under `title` are not held again, and those that are held are added.
        """
        found = Rounds()
        with progress(title) as show:
            for number in range(duels):
                plan = self.of([cell.reranker for cell in self.cells if cell.reranker not in found.failures])
                if not plan.cells:
                    break
                name = f"{title}/{number}"
                if journal is not None and name in journal.parts:
                    found += _thawed(journal.parts[name])
                else:
                    one = plan._duel(
                        sides,
                        lambda done, number=number: show(number * len(self.cells) + done, duels * len(self.cells)),
                    )
                    found += one
                    if journal is not None:
                        journal.add(name, _frozen(one))
                show((number + 1) * len(self.cells), duels * len(self.cells))
        return found

    def journal(self, folder: Path, purpose: str) -> Journal:
        """Of these cells, threads, code, libraries and machine: anything else starts anew."""
        cells = " ".join(f"{cell.reranker}/{cell.candidates}/{cell.seed}" for cell in self.cells)
        libraries = " ".join(f"{name}={version}" for name, version in versions().items())
        heading = f"{purpose} {cells} {self.threads} {code_sha256()} {this_machine().fingerprint} {libraries}"
        stem = hashlib.sha256(heading.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return Journal(folder / f"{purpose}-{stem}.journal", heading)

    def _duel(self, sides: Sequence[Side], show: Any) -> Rounds:
        rounds: dict[str, list[Round]] = {}
        failures: dict[str, Failure] = {}
        seconds: dict[str, float] = {}
        since = time.perf_counter()
        for done, one in enumerate(duel(sides, self.cells, threads=self.threads, timeout_s=self.timeout_s), 1):
            if isinstance(one, Failure):
                log.warning("%s duels no more: the %s failed, %s", one.reranker, one.side, one.reason)
                failures[one.reranker] = one
            else:
                rounds[one.reranker] = [one]
            now = time.perf_counter()
            seconds[one.reranker], since = now - since, now
            show(done)
        return Rounds(rounds, failures, seconds)


def _frozen(held: Rounds) -> dict[str, Any]:
    """One duel as JSON holds it."""
    return {
        "rounds": [asdict(rounds[0]) for rounds in held.rounds.values()],
        "failures": [asdict(one) for one in held.failures.values()],
        "seconds": dict(held.seconds),
    }


def _thawed(stored: Mapping[str, Any]) -> Rounds:
    rounds = [
        Round(
            reranker=one["reranker"],
            samples_ms=tuple(tuple(side) for side in one["samples_ms"]),
            memory_bytes=tuple(one["memory_bytes"]),
            noise=tuple(one["noise"]),
        )
        for one in stored["rounds"]
    ]
    failures = [Failure(**one) for one in stored["failures"]]
    return Rounds({one.reranker: [one] for one in rounds}, {one.reranker: one for one in failures}, stored["seconds"])
