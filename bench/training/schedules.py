"""Learning rates: the factor of the base rate at a step, 0 the first of `steps` (get_scheduler of pavelsuma/ELViS,
commit 6a37f20). A step is a batch, and its factor is the one that the batch is learned with."""

from __future__ import annotations

import math
from collections.abc import Callable

from bench.errors import BenchError

Schedule = Callable[[int, int], float]


def constant(step: int, steps: int) -> float:
    """Always the base rate."""
    _check(step, steps)
    return 1.0


def cosine(step: int, steps: int) -> float:
    """Half a cosine, from 1 to 0 (AMES)."""
    _check(step, steps)
    return (1 + math.cos(math.pi * step / steps)) / 2


def warm_cosine(step: int, steps: int) -> float:
    """Linear from 1/3 to 1 over the first tenth of all steps, rounded down, then half a cosine to 0 (ELViS)."""
    _check(step, steps)
    warm = int(0.1 * steps)
    return (1 + 2 * step / warm) / 3 if step < warm else cosine(step - warm, steps - warm)


def _check(step: int, steps: int) -> None:
    if not 0 <= step <= steps or steps < 1:
        raise BenchError(
            f"step {step} of {steps}",
            wanted="a step from 0 to all steps, at least 1",
            cure="Count batches, not epochs.",
        )


SCHEDULES: dict[str, Schedule] = {"constant": constant, "cosine": cosine, "warm-cosine": warm_cosine}
