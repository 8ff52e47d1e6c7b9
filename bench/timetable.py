"""How long a command will still take, told from earlier records of its cells and from how it went so far."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


class Timetable:
    """Of cells that run one after the other. expected_s: seconds a cell, None where nothing is known of it."""

    def __init__(self, expected_s: Sequence[float | None]) -> None:
        self.expected_s = expected_s
        self.took_s: dict[int, float] = {}

    def note(self, cell: int, took_s: float) -> None:
        """What the cell at this place took; cells that were kept are noted with nothing."""
        self.took_s[cell] = took_s

    def left_s(self) -> float | None:
        """Seconds that the cells not yet noted may take; None while nothing is known.

        Expectations are stretched by what the cells done so far took over theirs. A cell without an expectation counts
        as the mean of the others.
        """
        waiting = [number for number in range(len(self.expected_s)) if number not in self.took_s]
        measured = [(took, self.expected_s[number]) for number, took in self.took_s.items() if took]
        both = [(took, expected) for took, expected in measured if expected]
        pace = sum(took for took, _ in both) / sum(expected for _, expected in both) if both else 1.0
        known = [pace * expected for number in waiting if (expected := self.expected_s[number]) is not None]
        typical = known or [took for took, _ in measured]
        if not typical:
            return None if waiting else 0.0
        return sum(known) + (len(waiting) - len(known)) * fmean(typical)


def spoken(left_s: float | None) -> str:
    """Seconds as a reader of a log wants them; nothing where they are unknown."""
    if left_s is None:
        return ""
    return f", about {left_s:.0f} s left" if left_s < 90 else f", about {left_s / 60:.0f} min left"
