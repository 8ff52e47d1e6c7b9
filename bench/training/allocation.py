"""Memory that one step frees and the next one takes again, without asking the system in between."""

from __future__ import annotations

import ctypes

#: Parameters of mallopt (glibc, malloc.h): when memory goes back to the system, and how many blocks come from it alone.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
#: Bytes that may lie free at the end of the heap; the most that mallopt takes.
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets this process keep what it frees: the system clears every page that it gives, which costs a step of small
    lists a fifth of its time. For processes that do one thing; the peak stays what it was. False where there is no
    glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows
        return False
    return all(mallopt(name, value) for name, value in ((M_TRIM_THRESHOLD, NEVER), (M_MMAP_MAX, 0)))
