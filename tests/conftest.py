"""Options of the tests, and what those that try something many times print at the end."""

from __future__ import annotations

import pytest
from _pytest.terminal import TerminalReporter

from tests.tally import Tally

_TALLY = pytest.StashKey[Tally]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough", action="store_true", help="As often as `nox -s faults` and `nox -s fuzz` try: takes hours."
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = Tally()


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether to try as often as the sessions of nox do, not as seldom as CI."""
    return bool(request.config.getoption("--thorough"))


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Tally:
    """Where a test notes what it tried."""
    return request.config.stash[_TALLY]


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    if tally := config.stash[_TALLY]:
        terminalreporter.section("what was tried, how often, and what was found")
        for line in tally.table():
            terminalreporter.write_line(line)
