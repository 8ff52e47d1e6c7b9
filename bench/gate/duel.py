"""Two processes that work in turn, so that what disturbs the machine disturbs both; or one of them alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.cost import CostTask
from bench.gate.facts import Facts
from bench.gate.revisions import import_from
from bench.measure.companion import Companion, CompanionFailed

#: Candidates of a gate's cell.
GATE_CANDIDATES = 25
#: What a turn lasts at least (shorter calls are made several times), and all turns of a side together, about. What
#: disturbs a shared machine comes and goes within a second: many turns see it on both sides, few do not.
TURN_MS, ROUND_MS = 20.0, 700.0
FEWEST_TURNS, MOST_TURNS = 12, 48
MOST_CALLS = 1000


@dataclass(frozen=True, kw_only=True)
class GateCell:
    """One re-ranker on the CPU, in float32, with its own weights if the project has them."""

    reranker: str
    candidates: int = GATE_CANDIDATES
    seed: int = 0

    @property
    def task(self) -> dict[str, Any]:
        """The fields of its CostTask."""
        return asdict(CostTask(self.reranker, "cpu", "float32", self.candidates, self.seed, warmup=0, runs=1))


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a duel.

    path: folder that holds another revision's `rerankers`; None: this tree's. planted: changes for the worse that it is
    run with, see `bench.gate.contender.planted`.
    """

    name: str
    path: Path | None = None
    planted: Mapping[str, float] = field(default_factory=dict)

    def companion(self, threads: int) -> Companion:
        """Its process. The bench is this tree's, whatever the revision."""
        payload = {"path": None if self.path is None else str(self.path), "planted": dict(self.planted)}
        env = None if self.path is None else import_from(self.path)
        return Companion("bench.gate.contender:Contender", payload, threads=threads, env=env)


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one duel saw of one re-ranker, a tuple entry a side.

    samples_ms: milliseconds a call, in the order of the turns. memory_bytes: peak over the baseline of one call, None
    where the system does not say. noise: the fields of a `bench.measure.Noise`, and whether it is noisy.
    """

    reranker: str
    samples_ms: tuple[tuple[float, ...], ...]
    memory_bytes: tuple[int | None, ...]
    noise: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A re-ranker that a side could not run."""

    reranker: str
    side: str
    reason: str


def duel(
    sides: Sequence[Side],
    cells: Sequence[GateCell],
    *,
    threads: int,
    timeout_s: float,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Round | Failure]:
    """A fresh process a side, and one Round or Failure a cell. timeout_s: of one answer.

    A side that dies or does not answer fails its cell; all sides then start afresh.
    """
    waiting = list(cells)
    while waiting:
        with ExitStack() as stack:
            companions = [stack.enter_context(side.companion(threads)) for side in sides]
            alive = True
            while waiting and alive:
                found, alive = _round(sides, companions, waiting.pop(0), timeout_s)
                if on_progress is not None:
                    on_progress(len(cells) - len(waiting), len(cells))
                yield found


def facts(side: Side, cells: Sequence[GateCell], *, threads: int, timeout_s: float) -> dict[str, Facts | Failure]:
    """The facts of every cell on one side, by re-ranker; from one process, or from more where one dies."""
    found: dict[str, Facts | Failure] = {}
    waiting = list(cells)
    while waiting:
        with side.companion(threads) as companion:
            alive = True
            while waiting and alive:
                cell = waiting.pop(0)
                try:
                    seen = companion.ask({"do": "facts", "task": cell.task}, timeout_s=timeout_s)
                    found[cell.reranker] = Facts(**seen | {"scores": tuple(seen["scores"])})
                except CompanionFailed as error:
                    found[cell.reranker] = Failure(reranker=cell.reranker, side=side.name, reason=str(error))
                    alive = error.alive
    return found


def _round(
    sides: Sequence[Side], companions: Sequence[Companion], cell: GateCell, timeout_s: float
) -> tuple[Round | Failure, bool]:
    """What was seen, and whether the companions can go on."""
    working = sides[0]

    def ask(number: int, **question: Any) -> Any:
        nonlocal working
        working = sides[number]
        return companions[number].ask(question, timeout_s=timeout_s)

    numbers = range(len(sides))
    try:
        ready = [ask(number, do="prepare", task=cell.task) for number in numbers]
        call_ms = min(one["call_ms"] for one in ready)
        calls = _calls(call_ms)
        samples: list[list[float]] = [[] for _ in sides]
        for turn in range(_turns(calls * call_ms)):
            for number in numbers if turn % 2 == 0 else reversed(numbers):
                samples[number].append(ask(number, do="turn", calls=calls))
        noise = [ask(number, do="leave") for number in numbers]
    except CompanionFailed as error:
        return Failure(reranker=cell.reranker, side=working.name, reason=str(error)), error.alive
    seen = Round(
        reranker=cell.reranker,
        samples_ms=tuple(map(tuple, samples)),
        memory_bytes=tuple(one["memory_bytes"] for one in ready),
        noise=tuple(noise),
    )
    return seen, True


def _calls(call_ms: float) -> int:
    """Of one turn, the same on all sides."""
    return max(1, min(MOST_CALLS, math.ceil(TURN_MS / max(call_ms, 1e-6))))


def _turns(turn_ms: float) -> int:
    """Of each side. Even, so that either side is first as often."""
    return 2 * round(max(FEWEST_TURNS, min(MOST_TURNS, ROUND_MS / max(turn_ms, 1e-6))) / 2)
