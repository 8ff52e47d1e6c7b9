"""Laws of growth: exact ones, noisy ones, and those that are left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.measure.law import AMDAHL, GOES, GROWTH, Departure, Law, Term, fit, repeatability, solved

VALUES = (25, 50, 100, 200, 400)
MORE = (10, 25, 50, 100, 200, 300, 400, 600)


def exact(form, coefficients, values=VALUES) -> np.ndarray:
    return Law(coefficients=dict(zip(form, coefficients, strict=True)), resolution=0.01).at(values)


def found(values, measured, form=GROWTH, **options):
    return fit(list(values), list(measured), form, **({"resolution": 0.01} | options))


@pytest.mark.parametrize(
    ("form", "coefficients", "values"),
    [
        (GROWTH, (1.2, 0.31, 0.0004), VALUES),
        (GROWTH, (0.05, 0, 0), VALUES),
        (GROWTH, (0, 4.2, 0), VALUES),
        (AMDAHL, (30, 140), (1, 2, 4)),
        (GOES, (100, 300, 0.5), (1, 4, 16, 64)),
    ],
)
def test_an_exact_law_is_found_and_never_left(form, coefficients, values):
    seen = found(values, exact(form, coefficients, values), form)
    assert list(seen.law.coefficients.values()) == pytest.approx(coefficients, rel=1e-6, abs=1e-9)
    assert seen.residual == pytest.approx(0, abs=1e-9) and seen.departure is None


@settings(deadline=None)
@given(st.tuples(*[st.floats(1e-3, 1e3)] * 3), st.sampled_from([GROWTH, GOES]))
def test_whatever_the_sizes_of_its_terms_an_exact_law_fits(coefficients, form):
    measured = exact(form, coefficients, MORE)
    law = solved(MORE, measured, form, resolution=1e-6)
    assert law.at(MORE) == pytest.approx(measured, rel=1e-6)
    assert all(size >= 0 for size in law.coefficients.values())


def test_what_shrinks_is_no_growth():
    law = solved(VALUES, [50, 40, 30, 20, 10], GROWTH, resolution=0.01)
    assert law.coefficients[Term.LINEAR] == law.coefficients[Term.QUADRATIC] == 0


def test_errors_are_relative():
    """A tenth at the least value counts as much as a tenth at the largest: the constant is not given up for it."""
    measured = exact(GROWTH, (10, 1, 0))
    law = solved(VALUES, measured * [1, 1, 1, 1, 1.05], GROWTH, resolution=0.01)
    assert law.coefficients[Term.CONSTANT] == pytest.approx(10, rel=0.2)
    assert np.abs(law.off(VALUES, measured)).max() < 0.05


def test_noise_is_no_departure():
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(40):
        processes = exact(GROWTH, (1, 0.1, 0.002))[:, None] * np.exp(random.normal(0, 0.06, (5, 3)))
        noise = repeatability(processes.tolist(), resolution=0.01)
        alarms += found(VALUES, np.median(processes, axis=1), noise=noise).departure is not None
    assert alarms <= 1


@pytest.mark.parametrize("share", [0.6, -0.4])
def test_a_cliff_at_the_top_is_found_and_leaves_the_law_alone(share):
    measured = exact(GROWTH, (2, 0.3, 0)) * np.exp(np.random.default_rng(1).normal(0, 0.01, 5))
    measured[-1] *= 1 + share
    seen = found(VALUES, measured, noise=0.01)
    assert seen.departure is not None and (seen.departure.place, seen.departure.onwards) == (4, True)
    assert seen.departure.off == pytest.approx(share, abs=0.1)
    assert seen.law.at(VALUES) == pytest.approx(exact(GROWTH, (2, 0.3, 0)), rel=0.05)
    assert seen.residual < 0.05


def test_a_cliff_that_stays_is_found_where_it_begins():
    measured = exact(GROWTH, (1, 0.1, 0.002), MORE)
    measured[-3:] *= 1.5
    assert found(MORE, measured).departure == Departure(place=5, off=pytest.approx(0.5), onwards=True)


def test_a_single_value_off_the_law_is_found_in_the_middle():
    measured = exact(GROWTH, (1, 0.1, 0.002), MORE)
    measured[3] *= 1.4
    assert found(MORE, measured).departure == Departure(place=3, off=pytest.approx(0.4), onwards=False)


def test_under_ten_per_cent_nothing_is_left():
    measured = exact(GROWTH, (2, 0.3, 0), MORE)
    measured[4] *= 1.09
    assert found(MORE, measured, noise=0).departure is None


def test_nothing_is_told_of_departures_where_any_law_fits_the_others():
    measured = [403.0, 215.0, 508.0, 191.0]
    seen = found((1, 4, 16, 64), measured, GOES)
    assert seen.departure is None and seen.residual > 0
    told = found((1, 4, 16, 64), measured, GOES, noise=0.02)
    assert told.departure is not None and told.residual is None


def test_differences_below_the_resolution_mean_nothing():
    measured = [0.0, 3e5, 1e5, 6e5, 2e5]
    seen = found(VALUES, measured, resolution=2.0**20)
    assert seen.departure is None and seen.residual < 0.6
    assert found(VALUES, [0.0] * 5).residual == 0
    small = exact(GROWTH, (1.0, 0.0001, 0))
    assert found(VALUES, small * [1, 1, 1, 1, 1.6], resolution=1.0, noise=0.01).departure is None
    assert found(VALUES, small * [1, 1, 1, 1, 1.6], resolution=0.01, noise=0.01).departure is not None


def test_too_few_values_are_refused():
    with pytest.raises(BenchError, match="3 measurements of 3 values for a law of 3 terms; wanted 4 of each"):
        found((1, 2, 3), (1, 2, 3))


def test_repeatability_is_that_of_the_median():
    random = np.random.default_rng(0)
    base = np.array([1.0, 10.0, 100.0] * 200)
    for times in (2, 3):
        samples = base[:, None] * (1 + random.normal(0, 0.05, (600, times)))
        told = repeatability(samples.tolist(), resolution=0.01)
        seen = (np.median(samples, axis=1) / base).std()
        assert told == pytest.approx(seen, rel=0.15)
    assert repeatability([[1.0], [2.0]], resolution=0.01) is None
    assert repeatability([[0.0, 5e5]], resolution=2.0**20) < 0.3
