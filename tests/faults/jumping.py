"""A clock that jumps: copied as `sitecustomize.py`, so that every process begins with it.

Time of day goes forth and back by days, at the first call and at random ones after it, in this interpreter; clocks that
nobody sets stay as they are.
"""

from __future__ import annotations

import datetime
import itertools
import os
import random
import time
from pathlib import Path
from typing import Any

#: How far it may go: as a battery that is empty, as a year that is mistyped, as a server that corrects it.
SECONDS = (-55 * 365 * 86400.0, -3 * 86400.0, -3600.0, -1.5, 0.0, 0.7, 3600.0, 40 * 86400.0, 70 * 365 * 86400.0)

_true, _chance = time.time, random.Random(os.getpid())
_offset = 0.0
_calls = itertools.count()
_Real = datetime.datetime


def now() -> float:
    """What the clock shows now."""
    global _offset
    if next(_calls) == 0 or _chance.random() < 0.3:
        _offset = _chance.choice(SECONDS)
        if folder := os.environ.get("RERANK_JUMPS"):
            Path(folder, str(os.getpid())).touch()
    return _true() + _offset


class _Kind(type):
    def __instancecheck__(cls, one: Any) -> bool:
        return isinstance(one, _Real)


class Jumping(_Real, metaclass=_Kind):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return _Real.fromtimestamp(now(), tz)

    @classmethod
    def today(cls) -> Any:
        return _Real.fromtimestamp(now())

    @classmethod
    def utcnow(cls) -> Any:
        return _Real.fromtimestamp(now(), datetime.UTC).replace(tzinfo=None)


time.time = now
time.time_ns = lambda: int(now() * 1e9)
datetime.datetime = Jumping  # type: ignore[misc]
