"""What a process owes to others: one at a time where they would mix, and no worker left behind."""

from __future__ import annotations

import errno
import fcntl
import logging
import multiprocessing
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path

from bench.files import unwritable

log = logging.getLogger(__name__)

#: What a file system says that knows no locks.
LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file `path` for this process; one that meets another says who is at work on `what`, and waits.

    The lock goes with this process, however it ends; its file goes with the block, and may be left by a kill. Not to be
    held twice by one process. A file system without locks is only warned of; BenchError where it cannot be written.
    """

    def waits(held: int) -> None:
        who = os.pread(held, 1000, 0).decode(errors="replace") or "another process"
        log.warning("%s: at work on it is %s; waiting for its end", what, who)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = locked(path, waits)
        except OSError as error:
            if error.errno not in LOCKLESS:
                raise
            log.warning("%s: its file system knows no locks, so start nothing else there (%s)", what, error.strerror)
            held = _opened(path)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        with suppress(OSError):  # a full disk: it only says who
            os.ftruncate(held, 0)
            os.pwrite(held, f"process {os.getpid()} on {platform.node()}, {' '.join(sys.argv)}".encode(), 0)
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held, so that nobody else's is removed
        os.close(held)


def locked(path: Path, waits: Callable[[int], None]) -> int:
    """A descriptor of the file `path`, made if need be, to read and to add to; its lock goes with this process.

    waits: called with one of the same file, before another process is waited for. Raises OSError.
    """
    while True:
        held = _opened(path)
        try:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waits(held)
                fcntl.flock(held, fcntl.LOCK_EX)
            # Whoever held it before may have removed it: then this lock guards nothing.
            if os.fstat(held).st_nlink:
                return held
        except BaseException:  # interrupted while it waits, too
            os.close(held)
            raise
        os.close(held)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)


def from_clean_server(module: str) -> ForkServerContext:
    """Where workers start as forks of a server that has imported `module`, which they need, and has done nothing else.

    A process has one such server, which imports for its first caller; for a later one, each worker imports the rest.
    A fork of this process would copy the locks that its threads may hold; a fresh interpreter for each worker would
    import everything again in each, and for these seconds not notice that its parent has been killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def leave_with_parent() -> None:
    """Has this worker end with its parent, however that ends; else it would wait for work for ever."""
    threading.Thread(target=_leave, daemon=True).start()


def _leave() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
