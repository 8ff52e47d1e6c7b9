"""How long imports took, so that work which is cut into windows is not charged for them."""

from __future__ import annotations

import builtins
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class ImportClock:
    """seconds: of import statements so far, those within others not counted again."""

    def __init__(self) -> None:
        self.seconds = 0.0


@contextmanager
def imports_timed() -> Iterator[ImportClock]:
    """Times the import statements that run within the block.

    They take a little longer meanwhile: not for a block that is timed itself. `importlib.import_module` is not seen.
    """
    clock, usual, depth = ImportClock(), builtins.__import__, 0

    def timed(*given: Any, **named: Any) -> Any:
        nonlocal depth
        depth += 1
        start = time.perf_counter()
        try:
            return usual(*given, **named)
        finally:
            depth -= 1
            if depth == 0:
                clock.seconds += time.perf_counter() - start

    builtins.__import__ = timed
    try:
        yield clock
    finally:
        builtins.__import__ = usual
