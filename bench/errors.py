"""The error that every room of the bench raises for bad input, and that commands print with exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import partial
from typing import Any


class BenchError(ValueError):
    """Bad input or surroundings: what was seen, what was wanted, what to do."""

    def __init__(self, seen: str, *, wanted: str, cure: str) -> None:
        super().__init__(f"{seen}; wanted {wanted}. {cure}")
        self.seen, self.wanted, self.cure = seen, wanted, cure

    def __reduce__(self) -> tuple[Any, ...]:  # so that it comes back whole from a worker process
        return partial(type(self), wanted=self.wanted, cure=self.cure), (self.seen,)


def unknown_name(kind: str, name: str, known: Iterable[str], *, cure: str = "") -> BenchError:
    """The error for a name that does not exist: it lists those that do, and the nearest."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]!r}?" if near else f"Choose one of these {kind} names."
    return BenchError(
        f"unknown {kind} {name!r}",
        wanted=f"one of {', '.join(names)}",
        cure=f"{hint} {cure}".strip(),
    )
