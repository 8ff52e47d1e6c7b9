"""A law of growth fitted to a few measurements, and where a measurement leaves it.

Errors are relative, since a tenth is as bad at 1 ms as at 1 s. Coefficients are not negative: no part of a program
takes less than no time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from bench.errors import BenchError

#: Noise is taken to be at least this: less than 4 times of it is no departure anywhere.
LEAST_NOISE = 0.025
#: How many times its noise a measurement must be off.
MANY = 4.0


class Term(StrEnum):
    """What a coefficient of a law belongs to; N is the value of the axis."""

    CONSTANT = "constant"
    LINEAR = "linear"
    QUADRATIC = "quadratic"
    INVERSE = "inverse"


_POWERS = {Term.CONSTANT: 0, Term.LINEAR: 1, Term.QUADRATIC: 2, Term.INVERSE: -1}

#: a + b N + c N^2: work of every one of N things, and of every pair of them.
GROWTH = (Term.CONSTANT, Term.LINEAR, Term.QUADRATIC)
#: a + b N: what every one of N workers keeps for itself.
EACH = (Term.CONSTANT, Term.LINEAR)
#: a + b / N: what N workers share, and what they cannot (Amdahl, AFIPS 1967).
AMDAHL = (Term.CONSTANT, Term.INVERSE)
#: a + b / N + c N: what every go costs, shared by the N things of a go, and what grows with the size of a go.
GOES = (Term.CONSTANT, Term.INVERSE, Term.LINEAR)


@dataclass(frozen=True, kw_only=True)
class Law:
    """Coefficients by term, in the unit of the measurements. resolution: differences below it mean nothing."""

    coefficients: Mapping[Term, float]
    resolution: float

    def at(self, values: ArrayLike) -> NDArray[np.float64]:
        """What the law says for these values of the axis."""
        sizes = np.array(list(self.coefficients.values()))
        found: NDArray[np.float64] = _design(values, tuple(self.coefficients)) @ sizes
        return found

    def off(self, values: ArrayLike, measured: ArrayLike) -> NDArray[np.float64]:
        """Measurement minus law over the law; positive where more was measured than the law says."""
        said = self.at(values)
        return (np.asarray(measured, dtype=np.float64) - said) / np.maximum(said, self.resolution)


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Where the measurements leave the law of the others.

    place: of the first such value. off: by what share of the law; positive: more. onwards: all values from there on.
    """

    place: int
    off: float
    onwards: bool


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A law of those measurements that keep to it, and who does not.

    residual: the largest share that one of those that keep to it is off; None where they are as many as terms, so that
    any law fits them. noise: what was known of it.
    """

    law: Law
    residual: float | None
    noise: float | None
    departure: Departure | None


def fit(
    values: Sequence[int],
    measured: Sequence[float],
    form: Sequence[Term],
    *,
    resolution: float,
    noise: float | None = None,
) -> Fit:
    """The law of `form` through the measurements, and where they leave it.

    values: ascending, at least one more than terms. resolution: differences below it mean nothing (in the unit of the
    measurements). noise: share by which a value is known to differ from itself, measured again; None where that is not
    known, so that the others' own distance from their law has to tell.
    Raises BenchError for too few values.
    """
    if len(values) != len(measured) or len(values) <= len(form):
        seen = f"{len(measured)} measurements of {len(values)} values for a law of {len(form)} terms"
        raise BenchError(seen, wanted=f"{len(form) + 1} of each", cure="Measure at more values.")
    numbers, found = np.asarray(values, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    left = _departure(numbers, found, form, resolution, noise)
    kept = np.ones(len(numbers), dtype=bool)
    if left is not None:
        kept[left.place : None if left.onwards else left.place + 1] = False
    law = solved(numbers[kept], found[kept], form, resolution=resolution)
    residual = float(np.abs(law.off(numbers[kept], found[kept])).max()) if kept.sum() > len(form) else None
    return Fit(law=law, residual=residual, noise=noise, departure=left)


def solved(values: ArrayLike, measured: ArrayLike, form: Sequence[Term], *, resolution: float) -> Law:
    """Least squares of relative errors with coefficients that are not negative (Lawson and Hanson, 1974)."""
    found = np.asarray(measured, dtype=np.float64)
    weights = 1 / np.maximum(found, resolution)
    design = weights[:, None] * _design(values, form)
    scale = np.maximum(np.linalg.norm(design, axis=0), np.finfo(np.float64).tiny)  # or N^2 drowns the constant
    solution, _ = scipy.optimize.nnls(design / scale, weights * found)
    coefficients = (solution / scale).tolist()
    return Law(coefficients=dict(zip(form, coefficients, strict=True)), resolution=resolution)


def _departure(
    values: NDArray[np.float64],
    measured: NDArray[np.float64],
    form: Sequence[Term],
    resolution: float,
    noise: float | None,
) -> Departure | None:
    """All values from one on, where they are off the law of those below to one side; or one that is off the law of all
    others, the largest such value."""
    count = len(values)
    for first in range(len(form) + 1, count - 1):
        ahead = np.arange(first, count)
        off, limit = _held_out(values, measured, ahead, form, resolution, noise)
        if (off > limit).all() or (off < -limit).all():
            return Departure(place=first, off=float(off[0]), onwards=True)
    for place in reversed(range(count)):
        off, limit = _held_out(values, measured, np.array([place]), form, resolution, noise)
        if abs(off[0]) > limit[0]:
            return Departure(place=place, off=float(off[0]), onwards=place == count - 1)
    return None


def _held_out(
    values: NDArray[np.float64],
    measured: NDArray[np.float64],
    places: NDArray[np.intp],
    form: Sequence[Term],
    resolution: float,
    noise: float | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the values at `places` are off the law of the others, and how far they may be: MANY times the noise,
    which is at least that of the others about their law, and the wider the farther the law must reach."""
    others = np.setdiff1d(np.arange(len(values)), places)
    law = solved(values[others], measured[others], form, resolution=resolution)
    off, inner = law.off(values[places], measured[places]), law.off(values[others], measured[others])
    free = len(others) - len(form)
    if noise is None and free < 1:
        return off, np.full(len(places), np.inf)  # any law fits the others, which so tell nothing of noise
    spread = float(np.linalg.norm(inner)) / math.sqrt(max(1, free))
    limit = MANY * max(noise or 0.0, LEAST_NOISE, spread) * np.sqrt(1 + _reach(law, values[others], values[places]))
    return off, np.maximum(limit, resolution / np.maximum(law.at(values[places]), resolution))


def _reach(law: Law, values: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of the law's relative error at `places` in units of the variance of a measurement's (leverage)."""
    active = tuple(term for term, size in law.coefficients.items() if size > 0)
    if not active:
        return np.zeros(len(places))
    design = _design(values, active) / np.maximum(law.at(values), law.resolution)[:, None]
    ahead = _design(places, active) / np.maximum(law.at(places), law.resolution)[:, None]
    found: NDArray[np.float64] = np.einsum("ij,jk,ik->i", ahead, np.linalg.pinv(design.T @ design), ahead)
    return found


def _design(values: ArrayLike, form: Sequence[Term]) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    return np.stack([numbers ** _POWERS[term] for term in form], axis=-1)


def repeatability(found: Sequence[Sequence[float]], *, resolution: float) -> float | None:
    """Share by which the median of repeated measurements would differ from itself (one standard deviation).

    found: the repetitions at each value of the axis; their relative variances are pooled. None where none is repeated.
    """
    repeated = [np.asarray(one, dtype=np.float64) for one in found if len(one) > 1]
    if not repeated:
        return None
    variances = [one.var(ddof=1) / max(float(one.mean()), resolution) ** 2 for one in repeated]
    freedom = [len(one) - 1 for one in repeated]
    times = min(map(len, found))
    # the median of many normal values varies sqrt(pi / 2) times as much as their mean; of two, it is the mean
    wider = math.sqrt(math.pi / 2) if times > 2 else 1.0
    return wider * math.sqrt(float(np.average(variances, weights=freedom)) / times)
