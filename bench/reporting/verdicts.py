"""What the gate found, for people (a table), for a CI job's page (Markdown), for CI (JUnit XML) and programs (JSON).

Rows are mappings with the fields of a verdict: reranker, what, status, base, head, detail.
"""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bench.reporting.tables import Cell, Column, Table, bullets, escaped

Row = Mapping[str, str]

SCHEMA_VERSION: Final = 1
#: The worst first: the order of every table.
STATUSES: Final = ("worse", "changed", "missing", "not compared", "better", "within noise", "same")
URGENT: Final = STATUSES[:3]
#: Statuses that are not a passed test case.
KINDS: Final = {"worse": "failure", "changed": "failure", "missing": "error", "not compared": "skipped"}
FIELDS: Final = ("reranker", "what", "status", "base", "head", "detail")
HEADLINES: Final = {
    0: "No regression",
    1: "Regression",
    2: "Nothing could be compared",
    3: "Cells are missing",
}
SUITE: Final = "bench.check"
#: What XML 1.0 cannot hold, in any form.
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What was held against what. base, head: in words. duels: None where none was held.

    started_at: ISO 8601. wall_s: of the whole comparison. notes: what a reader must know beside the verdicts.
    """

    base: str
    head: str
    machine: str
    threads: int
    started_at: str
    wall_s: float
    exit_code: int
    duels: int | None = None
    notes: tuple[str, ...] = ()


def table(rows: Sequence[Row], *, quiet: bool = False) -> Table:
    """All verdicts, the worst first. quiet: without what is the same or within noise, which a note counts."""
    ranked = _ranked(rows)
    shown = [row for row in ranked if not quiet or row["status"] not in ("same", "within noise")]
    hidden = len(ranked) - len(shown)
    return Table(
        columns=tuple(Column(title) for title in ("re-ranker", "what", "verdict", "base", "head", "why")),
        rows=tuple(tuple(Cell(row[name]) for name in FIELDS) for row in shown),
        notes=(f"{hidden} more are the same or within noise",) if hidden else (),
    )


def headline(rows: Sequence[Row], exit_code: int) -> str:
    """Regression: 2 worse, 1 changed, 69 same."""
    return f"{HEADLINES.get(exit_code, 'Not finished')}: {_counted(rows) or 'no verdict'}"


def summary(rows: Sequence[Row], compared: Compared) -> str:
    """Markdown for the page of a CI job: what blocks first, the rest folded away."""
    ranked = _ranked(rows)
    urgent = [row for row in ranked if row["status"] in URGENT]
    rest = ranked[len(urgent) :]
    parts = [f"### {escaped(headline(rows, compared.exit_code))}\n", bullets(_facts(compared))]
    if urgent:
        parts.append(table(urgent).markdown())
    if rest:
        title = html.escape(f"{len(rest)} others: {_counted(rest)}")
        parts.append(f"<details><summary>{title}</summary>\n\n{table(rest).markdown()}\n</details>\n")
    return "\n".join(parts)


def junit(rows: Sequence[Row], compared: Compared) -> str:
    """One test case a re-ranker and aspect: failures block, errors are missing, what is not compared is skipped."""
    kinds = Counter(KINDS.get(row["status"], "passed") for row in rows)
    counts = {"tests": len(rows), "failures": kinds["failure"], "errors": kinds["error"], "skipped": kinds["skipped"]}
    numbers = {name: str(count) for name, count in counts.items()} | {"time": f"{compared.wall_s:.3f}"}
    root = ET.Element(
        "testsuites", {"name": SUITE} | {name: value for name, value in numbers.items() if name != "skipped"}
    )
    suite = ET.SubElement(root, "testsuite", {"name": SUITE, **numbers, "timestamp": _timestamp(compared.started_at)})
    properties = ET.SubElement(suite, "properties")
    for name, value in _named(compared).items():
        ET.SubElement(properties, "property", {"name": name, "value": _xml(value)})
    for row in rows:
        _case(suite, row)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def as_json(rows: Sequence[Row], compared: Compared) -> str:
    """schema_version, what was compared, the exit code, and the verdicts."""
    found = {
        "schema_version": SCHEMA_VERSION,
        "base": compared.base,
        "head": compared.head,
        "machine": compared.machine,
        "threads": compared.threads,
        "duels": compared.duels,
        "started_at": compared.started_at,
        "wall_s": compared.wall_s,
        "notes": list(compared.notes),
        "exit_code": compared.exit_code,
        "headline": headline(rows, compared.exit_code),
        "verdicts": [{name: row[name] for name in FIELDS} for row in rows],
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _case(suite: ET.Element, row: Row) -> None:
    """A passed one holds what was seen as its output."""
    case = ET.SubElement(
        suite, "testcase", {"classname": _xml(f"{SUITE}.{row['reranker']}"), "name": _xml(row["what"]), "time": "0"}
    )
    said = _xml(_sentence(row))
    kind = KINDS.get(row["status"])
    if kind is None:
        ET.SubElement(case, "system-out").text = said
    elif kind == "skipped":
        ET.SubElement(case, kind, {"message": said})
    else:
        ET.SubElement(case, kind, {"message": said, "type": row["status"]}).text = said


def _sentence(row: Row) -> str:
    """changed: 10 calls to 12 calls; +2 aten.mm.default."""
    sides = "" if row["base"] == row["head"] else f"{row['base']} to {row['head']}"
    return f"{row['status']}: {'; '.join(part for part in (sides, row['detail']) if part) or row['head']}"


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """The worst first; equals stay in their order."""
    return sorted(rows, key=lambda row: STATUSES.index(row["status"]))


def _counted(rows: Sequence[Row]) -> str:
    counts = Counter(row["status"] for row in rows)
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])


def _named(compared: Compared) -> dict[str, str]:
    named = {
        "base": compared.base,
        "head": compared.head,
        "machine": compared.machine,
        "threads": str(compared.threads),
    }
    if compared.duels is not None:
        named["duels"] = str(compared.duels)
    return named | {f"note {number}": note for number, note in enumerate(compared.notes, 1)}


def _facts(compared: Compared) -> list[str]:
    """Lines of a Markdown list."""
    lines = [f"**Base**: {escaped(compared.base)}", f"**Head**: {escaped(compared.head)}"]
    lines.append(f"**Machine**: {escaped(compared.machine)}, {_threads(compared.threads)}")
    if compared.duels is not None:
        lines.append(f"**Duels**: {compared.duels} a comparison, each in fresh processes that take turns")
    lines.append(f"**When**: {escaped(compared.started_at)}, {compared.wall_s:.0f} s")
    return [*lines, *(escaped(note) for note in compared.notes)]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _timestamp(started_at: str) -> str:
    """In UTC without its zone, as the schema of JUnit has it."""
    found = datetime.fromisoformat(started_at)
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found.strftime("%Y-%m-%dT%H:%M:%S")


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
