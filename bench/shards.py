"""One cell's queries over several processes: `torchrun --nproc-per-node N -m bench.accuracy ...`.

Each process re-ranks its range of queries into a journal of its own. Process 0 gathers the journals and evaluates, as
it does after an interruption too: so several processes give what one gives, and a second start, with as many processes
or not, goes on with what any process had finished.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from bench.cells import CellFailed
from bench.errors import BenchError
from bench.processes import Crew
from bench.results import Journal


@dataclass(frozen=True)
class Shards:
    """The journals of a cell, one a process, and who does what.

    folder, stem: `<stem>.journal` of process 0, `<stem>.<rank>.journal` of the others. heading: what they belong to.
    """

    crew: Crew
    folder: Path
    stem: str
    heading: str

    @property
    def first_journal(self) -> Path:
        return self.folder / f"{self.stem}.journal"

    @property
    def own_journal(self) -> Path:
        return self.first_journal if self.crew.first else self.folder / f"{self.stem}.{self.crew.rank}.journal"

    def run(self, queries: int, work: Callable[[Path, list[int]], Any]) -> None:
        """Has every query that no journal has done by one process; afterwards all stand in that of process 0.

        work: called with a journal and the queries to add to it. Raises CellFailed when a process could not do its
        range, and BenchError when one is gone; both name the queries.
        """
        done = self.crew.told(sorted(self.merged()) if self.crew.first else None) or []
        left = sorted(set(range(queries)) - {int(number) for number in done})
        shares = [list(share) for share in _split(left, self.crew.count)]
        with _naming_the_lost(self.crew, shares):
            said = self.crew.gathered(_attempt(work, self.own_journal, shares[self.crew.rank]))
            heard = self.crew.gathered({} if self.crew.first else Journal(self.own_journal, self.heading).parts)
        if self.crew.first:
            self._take(heard)
        if failed := [f"{spoken(share)}: {reason}" for share, reason in zip(shares, said, strict=True) if reason]:
            raise CellFailed("; ".join(failed))

    def discard(self) -> None:
        """Removes the journals of a cell that is done."""
        if self.crew.first:
            for path in self.folder.glob(f"{self.stem}*.journal"):
                with suppress(OSError):  # another heading makes it start anew, if it is ever read
                    path.unlink()

    def merged(self) -> dict[str, Any]:
        """What stands in the journals of earlier runs, all of it now in that of process 0, which alone calls this."""
        others = list(self.folder.glob(f"{self.stem}.*.journal"))
        journal = self._take([Journal(path, self.heading).parts for path in others])
        for path in others:
            path.unlink()
        return journal.parts

    def _take(self, heard: Sequence[dict[str, Any]]) -> Journal:
        journal = Journal(self.first_journal, self.heading)
        if any(heard):
            journal.merge({name: value for parts in heard for name, value in parts.items()})
        return journal


def spoken(queries: Sequence[int]) -> str:
    """A range of queries as a message names it, by numbers from 0."""
    if not queries:
        return "no query"
    gaps = "" if queries[-1] - queries[0] + 1 == len(queries) else f" ({len(queries)} of them)"
    return f"queries {queries[0]} to {queries[-1]}{gaps}"


def _split(queries: list[int], count: int) -> Iterator[list[int]]:
    """Ranges of equal length, but for one query."""
    for rank in range(count):
        yield queries[rank * len(queries) // count : (rank + 1) * len(queries) // count]


def _attempt(work: Callable[[Path, list[int]], Any], journal: Path, share: list[int]) -> str:
    """Why this process could not do its share; nothing when it could."""
    try:
        if share:
            work(journal, share)
    except CellFailed as error:
        return str(error)
    return ""


class _Terminated(Exception):
    """torchrun ends this process, because it has lost another one."""


@contextmanager
def _naming_the_lost(crew: Crew, shares: Sequence[Sequence[int]]) -> Iterator[None]:
    """Says which queries a process of this machine had that has died, when torchrun ends the others or one of them
    waits for it."""
    here = socket.gethostname()
    places = crew.gathered((here, psutil.Process().pid))
    try:
        with _terminable(crew):
            yield
    except (_Terminated, BenchError) as error:
        others = [(rank, pid) for rank, (host, pid) in enumerate(places) if host == here and rank != crew.rank]
        gone = [rank for rank, pid in others if not _alive(pid)]
        if not gone:
            raise BenchError(
                f"process {crew.rank} was ended while it had {spoken(shares[crew.rank])}",
                wanted="to go on to the end",
                cure="Start the same command again: it does what is left.",
            ) from error
        raise BenchError(
            "; ".join(f"process {rank} is gone, which had {spoken(shares[rank])}" for rank in gone),
            wanted="all processes, until the end",
            cure="See what it said; the same command, with as many processes or not, does what is left.",
        ) from error


@contextmanager
def _terminable(crew: Crew) -> Iterator[None]:
    """SIGTERM as an exception, so that what this process has started is ended, and something can be said."""
    if crew.count == 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
