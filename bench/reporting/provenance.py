"""What was run, when, on what, at which commit: the lines under every table, and the columns of every sheet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from bench.errors import BenchError
from bench.reporting.numbers import significant
from bench.reporting.queries import trained
from bench.reporting.tables import Cell, Column, Table, bullets, code, escaped, missing
from bench.results.record import AccuracyKey, ChurnKey, LinkingKey, Record, TuneKey

SHORT_HASH = 12

Named = Sequence[tuple[str, Record]]

#: Columns of a sheet that say where a row comes from.
SHEET_COLUMNS = (
    "commit",
    "dirty",
    "project_version",
    "code_sha256",
    "command",
    "started_at",
    "wall_s",
    "seed",
    "threads",
    "fingerprint",
    "machine",
    "versions",
    "scores_sha256",
)


def label(record: Record) -> str:
    """What a re-ranker is called; a method without trained weights says so wherever it is named."""
    return record.key.reranker if trained(record) else f"{record.key.reranker} (random weights)"


def labels(records: Sequence[Record]) -> list[str]:
    """Distinct names for records of one table: with weights or workload where the name alone would stand twice."""
    plain = [label(record) for record in records]
    return [
        f"{name} [{_particulars(record)}]" if plain.count(name) > 1 else name
        for name, record in zip(plain, records, strict=True)
    ]


def moment(record: Record) -> datetime:
    """When a cell was started, in UTC. Raises BenchError for text that is no date."""
    text = record.provenance.started_at
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise BenchError(
            f"the record of {record.key.reranker} was started at {text!r}",
            wanted="a date like 2025-01-31T12:00:00+00:00",
            cure="Delete the record and run the cell again.",
        ) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def period(records: Iterable[Record]) -> str:
    """From the oldest record to the newest, to the minute."""
    moments = sorted(moment(record) for record in records)
    first, last = (f"{end:%Y-%m-%d %H:%M}" for end in (moments[0], moments[-1]))
    return f"{first} UTC" if first == last else f"{first} to {last} UTC"


def commit_cell(record: Record) -> Cell:
    """The commit that a row comes from; `+dirty` where the code differed from it."""
    found = record.provenance
    if found.commit is None:
        return missing("not run from a git checkout")
    return Cell(found.commit[:7] + ("+dirty" if found.dirty else ""))


def block(records: Sequence[Record]) -> str:
    """A Markdown list: when, commit, command, machine, threads, seed, versions. A value that some rows do not share
    is followed by the rows it holds for."""
    named = list(zip(labels(records), records, strict=True))
    lines = [
        f"**When**: {period(records)}",
        f"**Commit**: {_spread(named, _commit)}",
        f"**Code**: {_spread(named, lambda one: 'sha256 ' + code(one.provenance.code_sha256[:SHORT_HASH]))}",
        f"**Command**: {_spread(named, lambda one: code(one.provenance.command))}",
        f"**Machine**: {_spread(named, _machine)}",
        f"**Threads**: {_spread(named, lambda one: str(one.provenance.threads))}",
        f"**Seed**: {_spread(named, lambda one: str(one.provenance.seed))}",
        f"**Versions**: {_versions(named)}",
    ]
    return "Provenance:\n\n" + bullets(lines)


def sheet(
    head: Sequence[str],
    titles: Sequence[str],
    rows: Iterable[tuple[Record, Iterable[Cell]]],
    *,
    notes: Callable[[Record], Iterable[str]] = lambda record: record.notes,
) -> Table:
    """Records in full precision, a row each: fields of the key (`head`), status, the row's cells under `titles`, notes,
    and where it comes from."""
    return Table(
        columns=tuple(Column(title) for title in (*head, "status", *titles, "notes", *SHEET_COLUMNS)),
        rows=tuple(
            (
                *(Cell(str(getattr(record.key, name))) for name in head),
                Cell(record.status),
                *cells,
                Cell("; ".join(notes(record))),
                *_sheet_cells(record),
            )
            for record, cells in rows
        ),
    )


def _sheet_cells(record: Record) -> tuple[Cell, ...]:
    """The cells of SHEET_COLUMNS."""
    found = record.provenance
    outside = missing("not run from a git checkout")
    return (
        outside if found.commit is None else Cell(found.commit),
        outside if found.dirty is None else Cell(str(found.dirty).lower()),
        Cell(found.project_version),
        Cell(found.code_sha256),
        Cell(found.command),
        Cell(found.started_at),
        Cell(found.wall_s),
        Cell(found.seed),
        Cell(found.threads),
        Cell(found.fingerprint),
        Cell(_json(found.machine)),
        Cell(_json(found.versions)),
        missing(record.reason or "no scores were kept") if record.scores_sha256 is None else Cell(record.scores_sha256),
    )


#: What sets apart two records of one re-ranker that are not of a data set.
_TELLING = ("device", "dtype", "inputs", "axis", "values", "planted", "how")


def _particulars(record: Record) -> str:
    key = record.key
    if isinstance(key, AccuracyKey) and key.read is not None:
        return f"L = {key.read}"
    if isinstance(key, AccuracyKey | ChurnKey | TuneKey | LinkingKey):
        return key.weights
    return ", ".join(str(value) for name, value in key.model_dump().items() if name in _TELLING)


def _spread(named: Named, say: Callable[[Record], str]) -> str:
    """What all records say, or each saying with the names of those that say it."""
    holders: dict[str, list[str]] = {}
    for name, record in named:
        holders.setdefault(say(record), []).append(escaped(name))
    if len(holders) == 1:
        return next(iter(holders))
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in holders.items())


def _commit(record: Record) -> str:
    found = record.provenance
    if found.commit is None:
        return f"not run from a git checkout, version {escaped(found.project_version)}"
    changes = " with uncommitted changes" if found.dirty else ""
    return f"{code(found.commit)}{changes}, version {escaped(found.project_version)}"


def _machine(record: Record) -> str:
    found = record.provenance
    facts = [_fact(name, value) for name, value in found.machine.items() if value is not None]
    return ", ".join([*facts, f"fingerprint {code(found.fingerprint[:SHORT_HASH])}"])


def _fact(name: str, value: str | int | float) -> str:
    if name.endswith("_bytes") and not isinstance(value, str):
        return f"{escaped(name.removesuffix('_bytes').replace('_', ' '))} {significant(value / 2**30)} GiB"
    return f"{escaped(name.replace('_', ' '))} {escaped(str(value))}"


def _versions(named: Named) -> str:
    def spread(package: str) -> str:
        return _spread(named, lambda one: escaped(one.provenance.versions.get(package, "absent")))

    packages = dict.fromkeys(package for _, record in named for package in record.provenance.versions)
    return ", ".join(f"{escaped(package)} {spread(package)}" for package in packages)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
