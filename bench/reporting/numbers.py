"""How numbers look in a table."""

from __future__ import annotations

import math

#: p values below these earn a star each.
SIGNIFICANT = (0.05, 0.01, 0.001)


def significant(value: float, digits: int = 3) -> str:
    """`digits` significant digits, all digits before the point, thousands apart: 0.0123, 24.7, 12,744."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = math.floor(math.log10(abs(rounded)))
    return f"{value:.{digits - 1}e}" if exponent < -4 else f"{value:,.{max(0, digits - 1 - exponent)}f}"


def plus_minus(mean: float, deviation: float) -> str:
    """A mean and its deviation, both to the deviation's second significant digit: 24.71 ± 0.34."""
    if deviation == 0 or not math.isfinite(deviation):
        return f"{significant(mean)} ± {deviation:.0f}"
    decimals = min(4, max(0, 1 - math.floor(math.log10(deviation))))
    return f"{mean:,.{decimals}f} ± {deviation:,.{decimals}f}"


def percent(fraction: float) -> str:
    """A fraction in percent: 46.20."""
    return f"{100 * fraction:.2f}"


def points(fraction: float) -> str:
    """A difference of fractions in percentage points, with its sign: +5.10."""
    text = f"{100 * fraction:+.2f}"
    return "0.00" if float(text) == 0 else text


def probability(p_value: float) -> str:
    """A p value; what a randomisation test cannot resolve is given as a bound."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def stars(p_value: float) -> str:
    """One for p < 0.05, two for p < 0.01, three for p < 0.001; asterisk operators, which are no markup anywhere."""
    return "∗" * sum(p_value < level for level in SIGNIFICANT)


def count(value: float) -> str:
    """A whole number, thousands apart."""
    return f"{value:,.0f}"


def millions(value: float) -> str:
    """A count in millions: 2.08."""
    return significant(value / 1e6)


def mebibytes(size_bytes: float) -> str:
    """Bytes in MiB: 118."""
    return significant(size_bytes / 2**20)
