"""Base against head in duels: verdicts on latency and memory, what is over its limit held again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from bench.gate.duel import Failure, Side
from bench.gate.duels import DuelPlan, Rounds
from bench.gate.noise import CellNoise, Estimate, threshold_of
from bench.gate.verdicts import Verdict, lacking, not_compared, of_memory, of_timing
from bench.results import Journal

#: Share that a re-ranker may slow down or grow by where nothing is known of the machine.
DEFAULT_THRESHOLD = 0.25


def compare(
    plan: DuelPlan,
    sides: Sequence[Side],
    duels: int,
    noise: Mapping[str, CellNoise],
    *,
    title: str,
    journal: Journal | None = None,
) -> list[Verdict]:
    """Latency and memory of every cell. noise: by re-ranker; one that is not in it gets DEFAULT_THRESHOLD.

    Cells with a disturbed round get one more duel. Cells over their limit get as many fresh duels again, and are worse
    only if all duels together say so. No round is dropped.
    """
    held = plan.run(sides, duels, title, journal)
    if disturbed := [name for name in held.rounds if held.noisy(name)]:
        held += plan.of(disturbed).run(sides, 1, f"{title}, disturbed cells again", journal)
    over = dict.fromkeys(verdict.reranker for verdict in judged(plan, held, noise) if verdict.blocks)
    first = {name: held.estimate(name) for name in over}
    if over:
        held += plan.of(list(over)).run(sides, duels, f"{title}, to confirm", journal)
    return judged(plan, held, noise, first)


def judged(
    plan: DuelPlan, held: Rounds, noise: Mapping[str, CellNoise], first: Mapping[str, Estimate] | None = None
) -> list[Verdict]:
    """Two verdicts a cell; one on a cell that failed. first: estimates before those duels that were to confirm them."""
    found: list[Verdict] = []
    for name in (cell.reranker for cell in plan.cells):
        if (failure := held.failures.get(name)) is not None:
            found.append(of_failure(failure, "latency"))
        elif name in held.rounds:
            found += _measured(name, held, noise.get(name), (first or {}).get(name))
    return found


def of_failure(failure: Failure, what: str) -> Verdict:
    """The head has to run; a base that does not leaves nothing to compare with."""
    if failure.side == "base":
        return not_compared(failure.reranker, what, f"the base cannot run it: {failure.reason}")
    return lacking(failure.reranker, what, failure.reason)


def _measured(name: str, held: Rounds, known: CellNoise | None, first: Estimate | None) -> list[Verdict]:
    found = held.estimate(name)
    timing = of_timing(
        name,
        found,
        DEFAULT_THRESHOLD if known is None else threshold_of(known, found.duels),
        medians_ms=(median(held.medians_ms(name, 0)), median(held.medians_ms(name, 1))),
        calibrated=known is not None,
        first=first,
    )
    if noisy := held.noisy(name):
        timing = replace(timing, detail=f"{timing.detail}; {noisy} of {len(held.rounds[name])} rounds disturbed")
    memory = of_memory(
        name,
        held.memory_bytes(name, 0),
        held.memory_bytes(name, 1),
        DEFAULT_THRESHOLD if known is None else known.memory_threshold,
        calibrated=known is not None,
    )
    return [timing, memory]
