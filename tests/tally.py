"""What was tried, how often, and what was found: kept by tests whose point is the number of tries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tabulate import tabulate


@dataclass
class Line:
    """One thing that was tried. found: what went wrong, a sentence each; said: what is worth knowing all the same."""

    tried: int = 0
    found: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


class Tally:
    """Lines by what was tried, in the order of their first try."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def note(self, what: str, *, tried: int = 1, found: str | None = None, said: str | None = None) -> None:
        """Adds tries of `what`; found: what one of them brought to light."""
        line = self._lines.setdefault(what, Line())
        line.tried += tried
        line.found += [] if found is None else [found]
        line.said += [] if said is None else [said]

    def table(self) -> Iterator[str]:
        """The lines as text, then everything that was found."""
        rows = [
            (what, f"{line.tried:,}", len(line.found) or "nothing", "; ".join(line.said))
            for what, line in self._lines.items()
        ]
        yield from tabulate(rows, headers=("tried", "times", "found", ""), disable_numparse=True).splitlines()
        for what, line in self._lines.items():
            yield from (f"{what}: {one}" for one in line.found)
