"""Cells, one after the other: a finished one is kept, a failing one is recorded, the others go on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.console import progress
from bench.errors import BenchError
from bench.measure.process import GIB, Outcome, run_isolated
from bench.places import RECORDS_OF_RECORD
from bench.processes import Crew
from bench.provenance import Start, Surroundings
from bench.results import Figure, Record, ResultStore
from bench.results.record import Key, RankedLists, Scoring, Status
from bench.timetable import Timetable, spoken

log = logging.getLogger(__name__)


class CellFailed(Exception):
    """A cell could not be finished; its text is the reason that the record keeps."""


class CellMissing(Exception):
    """A cell cannot be run as asked (no weights, say); its text is the reason that the record keeps."""


@dataclass(frozen=True)
class Limits:
    """Of each process of a cell. memory_gib: what it may allocate, see `run_isolated`; None: what the machine has."""

    timeout_s: float = 3600
    memory_gib: float | None = None

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory_gib is None else int(self.memory_gib * GIB)


@dataclass(frozen=True)
class CellResult:
    """What a cell found."""

    figures: Mapping[str, Figure]
    series: Mapping[str, list[float | int | None]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    scores_sha256: str | None = None
    scoring: Scoring | None = None
    lists: RankedLists | None = None


@dataclass(frozen=True)
class Cell:
    """A cell to run: where its record goes, and how to get it."""

    key: Key
    run: Callable[[], CellResult]
    #: Whether an earlier result of this cell is as thorough as what is asked for now.
    enough: Callable[[Record], bool] = lambda record: True
    #: Seconds that this cell may take, judged by an earlier record of it, on whatever machine.
    expected_s: Callable[[Record], float] = lambda record: record.provenance.wall_s
    #: Removes what was kept for going on, once the record is on the disk.
    discard: Callable[[], None] = lambda: None


def run_cells(
    cells: Sequence[Cell],
    store: ResultStore,
    surroundings: Surroundings,
    *,
    again: bool,
    crew: Crew = Crew(),  # noqa: B008
) -> list[Record]:
    """The records of all cells; those that finished earlier with this code on this machine are not run `again`.

    crew: processes that run the same cells together; process 0 decides, and keeps the records. A run that meets another
    one in the same store waits for its end.
    """
    with crew.alone(store.lock, f"records in {store.folder}"):
        return _run_cells(cells, store, surroundings, again=again, crew=crew)


def _run_cells(
    cells: Sequence[Cell], store: ResultStore, surroundings: Surroundings, *, again: bool, crew: Crew
) -> list[Record]:
    now = surroundings.provenance(started_at=datetime.now(UTC), wall_s=0)
    timetable = Timetable([_expected_s(cell, store) for cell in cells])
    records = []
    for number, cell in enumerate(cells, 1):
        title = f"[{number}/{len(cells)}] {cell.key.reranker}"
        kept = None if again else store.finished(cell.key, now=now)
        kept = crew.told(kept if kept is not None and cell.enough(kept) else None)
        if kept is not None:
            log.info("%s: kept from %s", title, kept.provenance.started_at)
            records.append(kept)
            timetable.note(number - 1, 0)
            cell.discard()  # where the last run ended just before
            continue
        log.info("%s: running%s", title, spoken(timetable.left_s()))
        record = _run(cell, surroundings)
        timetable.note(number - 1, record.provenance.wall_s)
        if crew.first:
            store.put(record)
        if record.status == "ok":
            cell.discard()
        records.append(record)
        log.info(
            "%s: %s%s (%.1f s)",
            title,
            record.status,
            f", {record.reason}" if record.reason else "",
            record.provenance.wall_s,
        )
    return records


def _expected_s(cell: Cell, store: ResultStore) -> float | None:
    """From the last record of the cell, or from the one that came along."""
    for known in (store, ResultStore(RECORDS_OF_RECORD)):
        with suppress(BenchError):  # of another version: it says nothing, and is replaced by this run
            if (record := known.get(cell.key)) is not None and record.status == "ok":
                return cell.expected_s(record)
    return None


def _run(cell: Cell, surroundings: Surroundings) -> Record:
    start = Start()
    found, reason = CellResult({}), None
    status: Status = "ok"
    try:
        found = cell.run()
    except CellMissing as error:
        status, reason = "missing", str(error)
    except CellFailed as error:
        status, reason = "failed", str(error)
    provenance = surroundings.provenance(started_at=start.at, wall_s=start.ago_s)
    return Record(
        key=cell.key,
        status=status,
        reason=reason,
        figures=dict(found.figures),
        series=dict(found.series),
        notes=list(found.notes),
        scores_sha256=found.scores_sha256,
        scoring=found.scoring,
        lists=found.lists,
        provenance=provenance,
    )


def isolated(
    target: str,
    payload: dict[str, Any],
    *,
    threads: int,
    limits: Limits,
    title: str | None = None,
) -> dict[str, Any]:
    """What `target` ("module:function") returns for `payload` in a process of its own; CellFailed when it does not.

    title: what its progress is shown under; None shows none.
    """
    with nullcontext() if title is None else progress(title) as shown:
        outcome: Outcome = run_isolated(
            target,
            payload,
            timeout_s=limits.timeout_s,
            memory_limit_bytes=limits.memory_bytes,
            threads=threads,
            on_progress=None if shown is None else lambda done, total, text: shown(done, total),
        )
    if outcome.status != "ok" or outcome.result is None:
        raise CellFailed(outcome.reason)
    return dict(outcome.result)


def earned(values: Mapping[str, float]) -> dict[str, Figure]:
    """Figures of means over queries, which are NaN where no query counts."""
    return {
        name: Figure(reason="no query has a positive under this protocol") if math.isnan(value) else Figure(value=value)
        for name, value in values.items()
    }


def exit_code(records: Sequence[Record]) -> int:
    """Of the whole command: 0, or 1 when a cell failed, or 2 when one failed for bad input."""
    reasons = [record.reason or "" for record in records if record.status == "failed"]
    if any(_is_bad_input(reason) for reason in reasons):
        return 2
    return 1 if reasons else 0


def _is_bad_input(reason: str) -> bool:
    return reason.startswith(tuple(f"{kind}: " for kind in ("BenchError", "RerankError")))
