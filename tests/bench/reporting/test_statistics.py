"""Paired differences against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from bench.reporting.statistics import holm, paired_difference


def test_three_gains_by_hand() -> None:
    """8 ways to swap; only all-plus and all-minus are as extreme: p = 2/8."""
    found = paired_difference([0.1, 0.2, 0.3], [0.2, 0.4, 0.6])
    assert found.mean == pytest.approx(0.2)
    assert found.p_value == 0.25
    assert (found.above, found.below, found.equal, found.queries) == (3, 0, 0, 3)
    assert found.low == pytest.approx(0.1) and found.high == pytest.approx(0.3)


def test_gains_that_cancel_by_hand() -> None:
    """Gains +2, -1: of the 4 swaps |mean| is 1/2, 3/2, 3/2, 1/2, all of them at least 1/2: p = 1."""
    found = paired_difference([0.0, 1.0], [2.0, 0.0])
    assert found.mean == pytest.approx(0.5)
    assert found.p_value == 1.0
    assert (found.above, found.below) == (1, 1)


def test_one_loss_among_five_by_hand() -> None:
    """Gains 5, 4, 3, 2, -1, sum 13: as extreme are sums of 13 and 15, two ways up and two down, of 32: p = 4/32."""
    assert paired_difference(np.zeros(5), [5.0, 4.0, 3.0, 2.0, -1.0]).p_value == 4 / 32


def test_no_difference_at_all() -> None:
    found = paired_difference([0.1, 0.7, 0.3], [0.1, 0.7, 0.3])
    assert (found.mean, found.low, found.high, found.p_value, found.equal) == (0, 0, 0, 1, 3)


def test_a_constant_gain_has_an_interval_of_no_width() -> None:
    found = paired_difference([0.0, 0.25, 0.5, 0.75], [0.25, 0.5, 0.75, 1.0])
    assert (found.low, found.high) == (0.25, 0.25)
    assert found.p_value == 2 / 16


def test_large_samples_agree_with_normal_theory() -> None:
    gains = np.random.default_rng(7).normal(0.02, 0.2, 400)
    found = paired_difference(np.zeros(400), gains)
    half = 1.96 * gains.std(ddof=1) / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)
    assert found.low == pytest.approx(gains.mean() - half, abs=0.1 * half)
    z = gains.mean() / (gains.std(ddof=1) / 20)
    assert found.p_value == pytest.approx(2 * (1 - _normal_cdf(abs(z))), abs=0.02)


def test_the_same_numbers_every_time() -> None:
    before, after = np.random.default_rng(1).random((2, 70))
    assert paired_difference(before, after) == paired_difference(before, after)


def test_rounding_noise_is_no_gain() -> None:
    assert paired_difference([0.5, 0.5], [0.5 + 1e-12, 0.5 - 1e-12]).equal == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [([0.1], [0.2]), ([], []), ([0.1, 0.2], [0.1]), ([0.1, np.nan], [0.1, 0.2]), ([[0.1, 0.2]], [[0.1, 0.2]])],
)
def test_what_cannot_be_compared_is_refused(before: list[float], after: list[float]) -> None:
    with pytest.raises(ValueError, match="quer"):
        paired_difference(before, after)


def test_holm_by_hand() -> None:
    """In order: 4 x 0.005, 3 x 0.01, 2 x 0.03 = 0.06, and 0.04, which may not be below the 0.06 before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02] and holm([]) == []
    assert holm([0.01, 0.01]) == [0.02, 0.02]


def _normal_cdf(z: float) -> float:
    from math import erf, sqrt

    return 0.5 * (1 + erf(z / sqrt(2)))
