"""Prints, after the benchmarks, how far each re-ranker is from its plain form and from the machine's floor."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from tabulate import tabulate
from torch import Tensor


@dataclass
class Race:
    """One re-ranker at one size. needed: FLOPs that the scores depend on. floor_s: what these take at matmul rate."""

    name: str
    needed: int = 0
    floor_s: float = 0.0
    ours_s: float = 0.0
    plain_s: float = 0.0
    scores: dict[str, Tensor] = field(default_factory=dict)


RACES = pytest.StashKey[dict[str, Race]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RACES] = {}


@pytest.fixture
def races(request: pytest.FixtureRequest) -> dict[str, Race]:
    """What was measured so far, by name."""
    return request.config.stash[RACES]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = [race for race in config.stash[RACES].values() if race.ours_s]
    if not found:
        return
    rows = [
        (
            race.name,
            f"{race.needed / 1e9:.3g}",
            f"{race.floor_s * 1e3:.3g}",
            f"{race.ours_s * 1e3:.3g}",
            f"{race.ours_s / race.floor_s:.2f}",
            f"{race.plain_s * 1e3:.3g}" if race.plain_s else "-",
            f"{race.plain_s / race.ours_s:.2f}" if race.plain_s else "-",
        )
        for race in found
    ]
    titles = ("re-ranker", "needed GFLOP", "floor (ms)", "ours (ms)", "ours / floor", "plain form (ms)", "plain / ours")
    terminalreporter.section("re-rankers against their plain form and the machine's floor")
    terminalreporter.write_line(
        tabulate(rows, headers=titles, disable_numparse=True, colalign=("left",) + ("right",) * 6)
    )
    terminalreporter.write_line(
        "Floor: the FLOPs that the scores depend on, at the rate of a large float32 matrix product in this run."
    )
