"""How far from its middle what is only noise may lie: a scale for each re-ranker, and a tail that all of them share.

The tail is Student's t fitted to all re-rankers' values, and beside it those values themselves: 20 duels of one cannot
show what happens once in 200. Limits are in units of a scale that is itself known from a few values only; that is part
of the simulations here, which are the same every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]

_FREEDOMS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0)
#: A heavier tail is taken that fits less well by as much (log likelihood): that mistake costs less than the other one.
_NEARLY_AS_WELL = 1.0
#: No clock tells two programs closer apart.
_LEAST_SCALE = 1e-4
_DRAWS, _ROUNDS, _SHUFFLES, _SEED = 50_000, 12, 400, 0


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Values in units of their scale: Student's t of so many degrees of freedom, and all that was seen."""

    freedom: float
    seen: Array

    def again(self, rows: int) -> Array:
        """(rows, draws) of what was seen."""
        return drawn_from(self.seen, rows)


def drawn_from(values: Array, *shape: int) -> Array:
    """(*shape, draws) of what was seen."""
    return np.random.default_rng(_SEED).choice(values, size=(*shape, _DRAWS))


def scale_of(values: Array, freedom: float) -> Array:
    """Maximum-likelihood scale of t around 0, along the first axis (Kent, Tyler, Vardi 1994: weights that add up)."""
    squares = values**2
    scale = np.maximum(np.median(squares, axis=0), _LEAST_SCALE**2)
    for _ in range(_ROUNDS):
        weights = 1 / (freedom + squares / scale)
        scale = np.maximum((weights * squares).sum(axis=0) / weights.sum(axis=0), _LEAST_SCALE**2)
    return np.sqrt(scale)


def tail_of(rows: Sequence[Array]) -> Tail:
    """The tail that suits all rows, each with the scale that suits it; either sign is as likely."""
    fits = [
        sum(float(scipy.stats.t.logpdf(row, one, scale=scale_of(row, one)).sum()) for row in rows) for one in _FREEDOMS
    ]
    freedom = next(one for one, fit in zip(_FREEDOMS, fits, strict=True) if fit >= max(fits) - _NEARLY_AS_WELL)
    seen = np.concatenate([row / scale_of(row, freedom) for row in rows])
    return Tail(freedom=freedom, seen=np.concatenate([seen, -seen]))


def medians(tail: Tail, samples: int, fresh: int) -> list[tuple[Array, Array]]:
    """Medians of the first half of `fresh` values and of all of them, (draws,) each, over the scale that `samples`
    others show: under Student's t, and as seen."""
    return [
        _students_medians(tail.freedom, samples, fresh),
        _over_scale(tail.again(samples + fresh), samples, tail.freedom),
    ]


@lru_cache(maxsize=32)
def limit(freedom: float, samples: int, fresh: int, share: float) -> float:
    """What the median of `fresh` values under Student's t exceeds in `share` of cases, in units of the scale that
    `samples` others show."""
    _, whole = _over_scale(_students(freedom, samples + fresh), samples, freedom)
    return float(np.quantile(whole, 1 - share))


def wander(rows: Sequence[Array], block: int) -> float:
    """How much further medians of `block` consecutive values stray than of the same values shuffled; 1 where chance
    explains it, or where there are not two blocks.

    rows: standardised, one a re-ranker; they are shuffled alike, for they shared the machine.
    """
    length = max(len(row) for row in rows)
    if length < 2 * block:
        return 1.0
    whole = np.stack([row for row in rows if len(row) == length])
    generator = np.random.default_rng(_SEED)
    chance = [_stray(whole[:, generator.permutation(length)], block) for _ in range(_SHUFFLES)]
    seen = _stray(whole, block)
    return max(1.0, seen / float(np.median(chance))) if seen > np.quantile(chance, 0.95) else 1.0


@lru_cache(maxsize=8)
def _students_medians(freedom: float, samples: int, fresh: int) -> tuple[Array, Array]:
    return _over_scale(_students(freedom, samples + fresh), samples, freedom)


def _over_scale(drawn: Array, samples: int, freedom: float) -> tuple[Array, Array]:
    known, fresh = drawn[:samples], drawn[samples:]
    scale = scale_of(known, freedom)
    return np.median(fresh[: len(fresh) // 2], axis=0) / scale, np.median(fresh, axis=0) / scale


def _stray(rows: Array, block: int) -> float:
    return float(np.abs(np.median(np.lib.stride_tricks.sliding_window_view(rows, block, axis=1), axis=-1)).mean())


def _students(freedom: float, rows: int) -> Array:
    return np.random.default_rng(_SEED).standard_t(freedom, size=(rows, _DRAWS))
