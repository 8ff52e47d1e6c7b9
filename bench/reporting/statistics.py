"""Is one method better than another on these queries?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 9_999
SEED = 0
BATCH = 1_000
SAME = 1e-9


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean of a paired difference over queries, in the unit of the values.

    low, high: percentile bootstrap interval. p_value: two-sided paired randomisation test.
    above, below, equal: queries that gained, lost, or stayed within 1e-9.
    """

    mean: float
    low: float
    high: float
    p_value: float
    above: int
    below: int
    equal: int

    @property
    def queries(self) -> int:
        return self.above + self.below + self.equal


def paired_difference(
    before: ArrayLike, after: ArrayLike, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Difference:
    """`after` minus `before`, both (queries,), query by query; the same numbers every time.

    The randomisation test swaps the two methods query by query (Smucker, Allan, Carterette, CIKM 2007); it is exact
    when 2^queries <= resamples. Raises ValueError for unequal shapes, NaN, or fewer than two queries.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or len(first) < 2:
        raise ValueError(f"two equal rows of at least 2 queries are wanted, not {first.shape} and {second.shape}")
    if not np.isfinite(first - second).all():
        raise ValueError("a query without a value cannot be compared")
    return _difference(first.tobytes(), second.tobytes(), resamples, seed)


@lru_cache(maxsize=4096)  # tables, plots and the page of one report ask for the same pairs
def _difference(before: bytes, after: bytes, resamples: int, seed: int) -> Difference:
    gains = np.frombuffer(after) - np.frombuffer(before)
    above, below = int((gains > SAME).sum()), int((gains < -SAME).sum())
    low, high = _interval(gains, resamples, seed)
    return Difference(
        mean=float(gains.mean()),
        low=low,
        high=high,
        p_value=_p_value(gains, resamples, seed),
        above=above,
        below=below,
        equal=len(gains) - above - below,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for being tested together, in the order given (Holm, Scand. J. Statistics 6, 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none is smaller than the one before it, and none
    larger than 1. To call all below a level significant is wrong anywhere at most as often as that level says.
    """
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return corrected


def _interval(gains: NDArray[np.float64], resamples: int, seed: int) -> tuple[float, float]:
    found = scipy.stats.bootstrap(
        (gains,),
        np.mean,
        n_resamples=resamples,
        batch=BATCH,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _p_value(gains: NDArray[np.float64], resamples: int, seed: int) -> float:
    found = scipy.stats.permutation_test(
        (gains, np.zeros_like(gains)),
        lambda ours, theirs, axis: np.mean(ours - theirs, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=BATCH,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)
