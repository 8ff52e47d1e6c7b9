"""Numbers as people read them."""

from __future__ import annotations

import pytest

from bench.reporting import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (9.996, "10.0"),
        (24.71, "24.7"),
        (616.4, "616"),
        (12744.3, "12,744"),
        (-3.14159, "-3.14"),
        (0.00001234, "1.23e-05"),
        (99.96, "100"),
        (1, "1.00"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert numbers.significant(value) == text


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (616.43, 13.7, "616 ± 14"),
        (24.712, 0.336, "24.71 ± 0.34"),
        (12744.0, 310.0, "12,744 ± 310"),
        (5.0, 0.0, "5.00 ± 0"),
        (1.0, 1e-9, "1.0000 ± 0.0000"),
    ],
)
def test_a_mean_has_the_digits_of_its_deviation(mean: float, deviation: float, text: str) -> None:
    assert numbers.plus_minus(mean, deviation) == text


def test_fractions_are_percent_and_differences_points() -> None:
    assert numbers.percent(0.46201) == "46.20"
    assert numbers.points(0.051) == "+5.10"
    assert numbers.points(-0.051) == "-5.10"
    assert numbers.points(-0.00001) == "0.00"


def test_probability_is_bounded_where_resampling_cannot_resolve_it() -> None:
    assert numbers.probability(0.0002) == "< 0.001"
    assert numbers.probability(0.25) == "0.250"


def test_units() -> None:
    assert numbers.millions(2_079_745) == "2.08"
    assert numbers.mebibytes(64 * 2**20) == "64.0"
    assert numbers.count(12_345) == "12,345"


@pytest.mark.parametrize(
    ("p_value", "wanted"), [(0.05, ""), (0.0499, "∗"), (0.01, "∗"), (0.0099, "∗∗"), (0.001, "∗∗"), (0.0, "∗∗∗")]
)
def test_stars_are_earned_below_a_level(p_value: float, wanted: str) -> None:
    assert numbers.stars(p_value) == wanted
