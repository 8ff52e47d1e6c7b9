"""Prints, after the benchmarks, how far each re-ranker is from its plain form and from the machine's floor."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from tabulate import tabulate
from torch import Tensor


@dataclass(frozen=True)
class Aims:
    """What a re-ranker is meant to reach: time over the machine's floor, and peak memory over the baseline in MB."""

    over_floor: float | None = None
    memory_mb: float | None = None


@dataclass
class Race:
    """One re-ranker at one size, in both forms.

    needed: FLOPs that the scores depend on. floor_s: what these take at the rate of matrix products just
    before and after. memory_bytes: the peak of ours over the baseline. Each is None where it cannot be had.
    """

    name: str
    aims: Aims = Aims()
    needed: int | None = None
    floor_s: float | None = None
    memory_bytes: int | None = None
    ours_s: float | None = None
    plain_s: float | None = None
    scores: dict[str, Tensor] = field(default_factory=dict)


RACES = pytest.StashKey[dict[str, Race]]()

TITLES = (
    "re-ranker",
    "needed GFLOP",
    "floor (ms)",
    "ours (ms)",
    "ours / floor",
    "aim",
    "plain form (ms)",
    "plain / ours",
    "memory (MB)",
    "aim",
)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RACES] = {}


@pytest.fixture
def races(request: pytest.FixtureRequest) -> dict[str, Race]:
    """What was measured so far, by name."""
    return request.config.stash[RACES]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = [race for race in config.stash[RACES].values() if race.ours_s is not None]
    if not found:
        return
    terminalreporter.section("re-rankers against their plain form and the machine's floor")
    table = tabulate(map(row, found), headers=TITLES, disable_numparse=True, colalign=("left",) + ("right",) * 9)
    terminalreporter.write_line(table)
    terminalreporter.write_line(
        "Floor: the FLOPs that the scores depend on, at the rate of a float32 matrix product just before and after.\n"
        "Memory: peak over the baseline (ours) for 100 candidates or more, in a process of its own."
    )


def row(race: Race) -> tuple[str, ...]:
    return (
        race.name,
        _shown(race.needed, 1e9),
        _shown(race.floor_s, 1e-3),
        _shown(race.ours_s, 1e-3),
        _ratio(race.ours_s, race.floor_s),
        _shown(race.aims.over_floor),
        _shown(race.plain_s, 1e-3),
        _ratio(race.plain_s, race.ours_s),
        _shown(race.memory_bytes, 1e6),
        _shown(race.aims.memory_mb),
    )


def _shown(value: float | None, unit: float = 1.0) -> str:
    return "-" if value is None else f"{value / unit:.3g}"


def _ratio(value: float | None, by: float | None) -> str:
    return "-" if value is None or not by else f"{value / by:.2f}"
