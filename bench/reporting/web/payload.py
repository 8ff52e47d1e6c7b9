"""What the page is told: stored records as plain data.

Everything that decides what stands beside what (which rows compare, gains with intervals, names) comes from the modules
that write the tables, so that page and tables cannot say different things.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.reporting import accuracy, cost, provenance, scaling
from bench.reporting.comparing import Comparison
from bench.reporting.numbers import stars
from bench.reporting.pairing import Names
from bench.reporting.published import beside_accuracy
from bench.reporting.queries import MEASURES, PROTOCOLS, TITLES, is_baseline, trained
from bench.reporting.tables import Cell, Column, Table, plain
from bench.results.record import LABELS, AccuracyKey, Record
from bench.results.store import ResultStore

#: Significant digits of per-query values and scores on the page.
_DIGITS = 5
_TEXT = Column("")


@dataclass(frozen=True)
class Pictures:
    """Small JPEG images of one data set, and the names of its images.

    queries: of every query. gallery: by number, of those that any list shows. why: in their place, why there are none.
    """

    queries: Sequence[bytes] = ()
    gallery: Mapping[int, bytes] = field(default_factory=dict)
    query_names: Sequence[str] = ()
    gallery_names: Mapping[int, str] = field(default_factory=dict)
    why: str | None = None


def payload(records: Sequence[Record], pictures: Mapping[str, Pictures], folder: str) -> dict[str, Any]:
    """The page's data. pictures: by the hash of their data set. folder: where the records lie, from the page."""
    place = {id(record): number for number, record in enumerate(records)}
    groups, surroundings = accuracy.groups(records), _Surroundings()
    return {
        "made": provenance.period(records),
        "records": [_record(record, folder, "", surroundings) for record in records],
        "provenances": surroundings.found,
        "groups": [_group(group, place, pictures) for group in groups],
        "costs": [_section(section, place) for section in cost.sections(records)],
        "sweeps": [_sweep(group, place) for group in scaling.groups(records)],
        "labels": LABELS,
    }


def thumbnails(pictures: Mapping[str, Pictures]) -> dict[str, Any]:
    """The images in base64, each once, and by the hash of a data set which of them are its queries and its gallery."""
    place: dict[bytes, int] = {}
    sets = {
        name: {
            "queries": [place.setdefault(image, len(place)) for image in found.queries],
            "gallery": {number: place.setdefault(image, len(place)) for number, image in sorted(found.gallery.items())},
        }
        for name, found in sorted(pictures.items())
        if found.why is None
    }
    return {"images": [base64.b64encode(image).decode() for image in place], "sets": sets}


def comparison_payload(found: Sequence[Comparison], names: Names, folders: tuple[str, str]) -> dict[str, Any]:
    """The data of a page with two runs side by side. folders: where the records of either lie, from the page."""
    surroundings, place = _Surroundings(), dict[int, int]()
    records: list[dict[str, Any]] = []
    for one in found:
        for side, record in (either for pair in one.pairs for either in enumerate(pair)):
            if record is not None and id(record) not in place:
                place[id(record)] = len(records)
                records.append(_record(record, folders[side], f"{names[side]}-", surroundings))
    return {
        "names": list(names),
        "runs": list(folders),
        "records": records,
        "provenances": surroundings.found,
        "comparisons": [
            {
                "title": one.title,
                "summary": one.summary,
                "records": [[place.get(id(record)) for record in pair] for pair in one.pairs],
                **_table(one.table),
            }
            for one in found
        ],
    }


def shown_images(records: Iterable[Record]) -> dict[str, tuple[AccuracyKey, set[int]]]:
    """For each data set (by hash) a key that names it, and the gallery images that its lists show."""
    found: dict[str, tuple[AccuracyKey, set[int]]] = {}
    for record in records:
        if isinstance(record.key, AccuracyKey) and record.lists is not None:
            images = found.setdefault(record.key.dataset_sha256, (record.key, set()))[1]
            images.update(image for row in record.lists.images for image in row)
    return found


def _record(record: Record, folder: str, prefix: str, surroundings: _Surroundings) -> dict[str, Any]:
    """prefix: of what the page calls it, where two runs have a record of the same cell."""
    found, path = record.provenance, ResultStore(Path(folder)).path(record.key)
    return {
        "id": prefix + path.stem,
        "file": f"{folder}/{path.name}",
        "name": provenance.label(record),
        "key": record.key.model_dump(exclude_none=True),
        "status": record.status,
        "reason": record.reason,
        "scoring": record.scoring,
        "figures": {name: one.value for name, one in record.figures.items() if one.value is not None},
        "reasons": {name: one.reason for name, one in record.figures.items() if one.value is None},
        "notes": list(record.notes),
        "scores_sha256": record.scores_sha256,
        "first_stage_sha256": record.lists.first_stage_sha256 if record.lists else None,
        "command": found.command,
        "started_at": found.started_at,
        "wall_s": found.wall_s,
        "where": surroundings.number(record),
        "published": [
            {"measure": TITLES[figure], "value": row.value, "setting": row.setting, "source": row.source}
            for figure, row in beside_accuracy(record)
        ],
    }


class _Surroundings:
    """Commit, machine, versions: each surrounding once, by a number that records name."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._numbers: dict[str, str] = {}

    def number(self, record: Record) -> str:
        fields = record.provenance.model_dump(exclude={"command", "started_at", "wall_s"})
        number = self._numbers.setdefault(json.dumps(fields, sort_keys=True), str(len(self._numbers)))
        self.found[number] = fields
        return number


def _group(group: accuracy.Group, place: Mapping[int, int], pictures: Mapping[str, Pictures]) -> dict[str, Any]:
    known = pictures.get(group.dataset_sha256, Pictures(why="this report was made without images"))
    names = provenance.labels(group.records)
    lists = [record for record in group.records if record.lists is not None]
    counted = next((record for record in group.records if record.status == "ok"), None)
    return {
        "title": group.title,
        "description": group.description,
        "dataset": group.dataset,
        "dataset_sha256": group.dataset_sha256,
        "shortlist": group.shortlist,
        "policy": group.policy,
        "ablation": group.ablation,
        "measures": [
            {
                "name": name,
                "title": MEASURES[name].title,
                "short": PROTOCOLS.get(name, MEASURES[name].title),
                "figure": MEASURES[name].figure,
                "graded": MEASURES[name].graded,
            }
            for name in group.measures
        ],
        "positives": {} if counted is None else _series(counted, group.measures, "positives"),
        "query_names": list(known.query_names),
        "gallery_names": {str(number): known.gallery_names[number] for number in sorted(known.gallery_names)},
        "no_pictures": known.why,
        "no_lists": None if lists else "these records were made before the heads of lists were kept",
        "rows": [
            {
                "record": place[id(record)],
                "name": name,
                "read": getattr(record.key, "read", None),
                "baseline": is_baseline(record),
                "trained": trained(record),
                "gains": {measure: _gain(group, row, measure) for measure in group.measures},
                "values": _series(record, group.measures, "series"),
                "lists": None if record.lists is None else _lists(record),
            }
            for row, (record, name) in enumerate(zip(group.records, names, strict=True))
        ],
    }


def _series(record: Record, measures: Iterable[str], which: str) -> dict[str, list[float | None]]:
    """Measure -> a value for each query: of the measure, or of its positives in the shortlist."""
    found = {name: record.series.get(getattr(MEASURES[name], which)) for name in measures}
    return {name: [_rounded(value) for value in values] for name, values in found.items() if values}


def _lists(record: Record) -> dict[str, Any]:
    assert record.lists is not None
    return {
        "images": record.lists.images,
        "places": record.lists.places,
        "scores": [[_rounded(score) for score in row] for row in record.lists.scores],
        "labels": record.lists.labels,
    }


def _gain(group: accuracy.Group, row: int, measure: str) -> dict[str, float | str] | str:
    found = group.gains[row, measure]
    if isinstance(found, str):
        return found
    mark = stars(group.corrected[row, measure])
    return {"mean": found.mean, "low": found.low, "high": found.high, "p": found.p_value, "mark": mark}


def _section(section: cost.Section, place: Mapping[int, int]) -> dict[str, Any]:
    return {
        "title": section.title,
        "candidates": section.candidates,
        "threads": section.threads,
        "fingerprint": section.fingerprint,
        "cpu": section.records[0].provenance.machine.get("cpu"),
        "rows": [place[id(record)] for record in section.records],
    }


def _sweep(group: scaling.Group, place: Mapping[int, int]) -> dict[str, Any]:
    return {
        "title": group.title,
        "axis": group.axis,
        "form": scaling.FORMS.get(group.axis, ""),
        "rows": [
            {
                "record": place[id(record)],
                "name": name,
                "values": scaling.numbers_of(record),
                "series": {series: record.series.get(series, []) for series in scaling.SERIES},
                "laws": {what.title: _text(scaling.law_cell(record, what)) for what in scaling.QUANTITIES},
                "leaves": {what.title: _text(scaling.departure_cell(record, what)) for what in scaling.QUANTITIES},
                "departed": {what.title: scaling.departed(record, what) for what in scaling.QUANTITIES},
            }
            for name, record in zip(group.names, group.records, strict=True)
        ],
    }


def _table(table: Table) -> dict[str, Any]:
    """A table as data: of every cell its text, its number (to sort by) and its notes."""
    return {
        "columns": [{"title": column.title, "numeric": column.show is not None} for column in table.columns],
        "rows": [
            [
                {
                    "text": _text(cell, column),
                    "value": cell.value if isinstance(cell.value, int | float) else None,
                    "notes": list(cell.notes),
                }
                for cell, column in zip(row, table.columns, strict=True)
            ]
            for row in table.rows
        ],
        "caption": table.caption,
        "notes": list(table.notes),
    }


def _text(cell: Cell, column: Column = _TEXT) -> str | None:
    """As tables print it; None for a missing value, whose first note is the reason."""
    return None if cell.value is None else plain(cell, column)


def _rounded(value: float | int | None) -> float | int | None:
    return value if value is None or isinstance(value, int) else float(f"{value:.{_DIGITS}g}")
