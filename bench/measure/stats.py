"""What a handful of samples says."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import BenchError


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures of one set of samples, in the unit of the samples. std: of a sample (n - 1), 0 for a single one."""

    count: int
    mean: float
    std: float
    median: float
    minimum: float
    maximum: float
    p95: float


def summarise(samples: Sequence[float]) -> Summary:
    """The figures of `samples`; BenchError when there are none."""
    _check(samples)
    return Summary(
        count=len(samples),
        mean=statistics.fmean(samples),
        std=statistics.stdev(samples) if len(samples) > 1 else 0.0,
        median=statistics.median(samples),
        minimum=min(samples),
        maximum=max(samples),
        p95=quantile(samples, 0.95),
    )


def quantile(samples: Sequence[float], q: float) -> float:
    """The q-quantile by linear interpolation (type 7 of Hyndman and Fan 1996, the default of numpy)."""
    _check(samples)
    if not 0 <= q <= 1:
        raise BenchError(f"quantile {q}", wanted="a number from 0 to 1", cure="Write the 95th percentile as 0.95.")
    ordered = sorted(samples)
    place = q * (len(ordered) - 1)
    below, above = math.floor(place), math.ceil(place)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _check(samples: Sequence[float]) -> None:
    if len(samples) == 0:
        raise BenchError("no samples", wanted="at least one", cure="Measure at least one run.")
