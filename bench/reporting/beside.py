"""Published values beside measured ones: what the papers print, where it is from, and the difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench.reporting import provenance
from bench.reporting.numbers import percent, points, significant
from bench.reporting.published import (
    PRINTED,
    Published,
    beside_accuracy,
    latencies_beside,
    method_of,
    of_dataset,
    parameters_beside,
)
from bench.reporting.queries import TITLES, trained
from bench.reporting.tables import Cell, Column, Table, figure_cell, missing
from bench.results.record import AccuracyKey, CostKey, Figure, Record

UNTRAINED = "random weights: there is nothing to compare"
ANOTHER_MACHINE = "measured on another machine"
NO_NUMBER = "its source prints no number"

_SHEET = ("figure", "measured_percent", "published_percent", "difference_points")
_SHEET_FIELDS = ("method", "variant", "protocol", "metric", "hardware", "source", "remark", "uncertain")


def accuracy_beside(records: Sequence[Record]) -> Table | None:
    """A row for every published value of what the accuracy records of one group measured; None where there is none.

    Figures are percent, in CSV too. Raises ValueError for records of several data sets.
    """
    found = [one for one in records if isinstance(one.key, AccuracyKey)]
    rows = [
        (Cell(name), Cell(TITLES[figure]), *_compared(record, figure, row), Cell(row.setting), Cell(row.source))
        for name, record in zip(provenance.labels(found), found, strict=True)
        for figure, row in beside_accuracy(record)
    ]
    if not rows:
        return None
    caption = (
        f"Published values as their sources print them, and measured minus published. Measured: {_described(found)}. A "
        "published value is of the setting named in its row; other weights, descriptors, shortlists or blends make a "
        "difference too, and one below its last digit is rounding."
    )
    columns = (
        Column("re-ranker"),
        Column("measure"),
        Column("measured (%)", _in_percent),
        Column("published (%)", str),
        Column("difference (points)", _in_points),
        Column("published setting"),
        Column("source"),
    )
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def cost_beside(records: Sequence[Record]) -> Table | None:
    """A row for every published number of parameters and latency of what the cost records measured; None where there
    is none. Parameters are in millions, latencies in ms for as many candidates as were measured."""
    found = [one for one in records if isinstance(one.key, CostKey)]
    rows = [
        (Cell(name), Cell(record.key.device), *cells)
        for name, record in zip(provenance.labels(found), found, strict=True)
        if isinstance(record.key, CostKey)
        for cells in (*_parameters(record), *_latencies(record, record.key.candidates))
    ]
    if not rows:
        return None
    columns = (
        Column("re-ranker"),
        Column("device"),
        Column("measure"),
        Column("measured", significant),
        Column("published", significant),
        Column("difference (%)", _in_points),
        Column("published setting"),
        Column("source"),
    )
    caption = (
        "Published parameters and latencies, of the setting named in their rows. Parameters leave the backbone out and "
        "depend on the width of the descriptors. A latency per pair is multiplied by the number of candidates."
    )
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def published_table(dataset: str, records: Iterable[Record] = ()) -> Table | None:
    """All published values of one of our data sets as papers print them, methods down and measures across, in percent;
    what was measured on it stands below its method, what is not published last. None where nothing is published."""
    values = of_dataset(dataset)
    if not values:
        return None
    shown = [figure for figure in PRINTED if any(figure == one for one, _ in values)]
    lines: dict[str, list[tuple[tuple[Cell, ...], bool]]] = {}  # with whether a row can be the best
    for method, line in _lines(values):
        lines.setdefault(method, []).append((_published_line(line, shown), True))
    for record in records:
        if isinstance(record.key, AccuracyKey) and record.key.dataset == dataset and record.key.read is None:
            known = method_of(record.key.reranker)
            lines.setdefault(known[0] if known else "", []).append((_measured_line(record, shown), trained(record)))
    columns = (
        Column("method"),
        *(Column(TITLES[figure], _in_percent, "highest") for figure in shown),
        Column("source"),
    )
    rows = [row for rows in lines.values() for row in rows]
    return Table(
        columns=columns,
        rows=tuple(row for row, _ in rows),
        caption=f"Published values on {dataset} in percent, as their sources print them, each with its setting; what "
        "was measured stands below its method, to two decimals.",
        uncounted=frozenset(place for place, (_, counts) in enumerate(rows) if not counts),
    )


def paper_table(table: Table) -> Table:
    """Any table of this file as papers print it: settings and sources, which repeat, as footnotes."""
    titles = [column.title for column in table.columns]
    into = next(title for title in titles if title == "method" or title.startswith("published"))
    return table.folded(into, *(title for title in titles if title in ("published setting", "source")))


def sheet(records: Iterable[Record]) -> Table:
    """Every accuracy record beside every published value of it in full precision, a row each pair."""
    head = ("reranker", "weights", "dataset", "dataset_sha256", "descriptors", "shortlist", "policy")
    rows = [
        (
            record,
            (Cell(figure), *_compared(record, figure, row), *(Cell(getattr(row, name)) for name in _SHEET_FIELDS)),
        )
        for record in records
        for figure, row in beside_accuracy(record)
    ]
    return provenance.sheet(head, (*_SHEET, *_SHEET_FIELDS), rows)


def _compared(record: Record, figure: str, row: Published) -> tuple[Cell, Cell, Cell]:
    """Measured and published in percent, and the difference in points."""
    measured = _percent_cell(record.figure(figure))
    if row.number is None:
        difference = missing(NO_NUMBER)
    elif not isinstance(measured.value, float):
        difference = measured
    elif not trained(record):
        difference = missing(UNTRAINED)
    else:
        difference = Cell(measured.value - row.number)
    return measured, _published_cell(row), difference


def _percent_cell(figure: Figure) -> Cell:
    return figure_cell(figure) if figure.value is None else Cell(100.0 * figure.value)


def _published_cell(row: Published) -> Cell:
    return missing(NO_NUMBER) if row.number is None else Cell(row.value, _remarks(row))


def _remarks(row: Published) -> tuple[str, ...]:
    return (*([f"uncertain: {row.uncertain}"] if row.uncertain else []), *([row.remark] if row.remark else []))


def _parameters(record: Record) -> Iterator[tuple[Cell, ...]]:
    for count, row in parameters_beside(record):
        measured = record.figure("parameters")
        if measured.value is None:
            difference = figure_cell(measured)
        else:
            difference = Cell(100 * (measured.value / count - 1)) if count else missing("the published number is 0")
        found = figure_cell(measured) if measured.value is None else Cell(measured.value / 1e6)
        yield Cell("parameters (M)"), found, _converted(count / 1e6, row, "M"), difference, *_origin(row)


def _latencies(record: Record, candidates: int) -> Iterator[tuple[Cell, ...]]:
    for latency_ms, row in latencies_beside(record):
        yield (
            Cell(f"latency (ms per {candidates} candidates)"),
            figure_cell(record.figure("latency_mean_ms")),
            _converted(latency_ms, row, "ms"),
            missing(ANOTHER_MACHINE),
            *_origin(row),
        )


def _converted(value: float, row: Published, unit: str) -> Cell:
    """A value in `unit`: as printed, or with a note that says how it is printed."""
    if row.unit == unit:
        return Cell(row.value, _remarks(row))
    return Cell(value, (f"printed as {row.value} {row.unit}", *_remarks(row)))


def _origin(row: Published) -> tuple[Cell, Cell]:
    return Cell(row.setting), Cell(row.source)


def _lines(values: Iterable[tuple[str, Published]]) -> Iterator[tuple[str, dict[str, Published]]]:
    """(method, figure -> value) for every line of a printed table."""
    lines: dict[tuple[str, str, str], dict[str, Published]] = {}
    for figure, row in values:
        lines.setdefault((row.method, row.setting, row.source), {})[figure] = row
    for (method, _, _), line in lines.items():
        yield method, line


def _published_line(line: dict[str, Published], shown: Sequence[str]) -> tuple[Cell, ...]:
    setting, source = _origin(next(iter(line.values())))
    cells = (_published_cell(line[figure]) if figure in line else missing("not published") for figure in shown)
    return setting, *cells, source


def _measured_line(record: Record, shown: Sequence[str]) -> tuple[Cell, ...]:
    cells = (_percent_cell(record.figure(figure)) for figure in shown)
    return Cell(f"{provenance.label(record)}: {_described([record])}"), *cells, Cell("measured here")


def _described(records: Sequence[Record]) -> str:
    """Data set, descriptors, shortlist and policy that all records share."""
    keys = [one.key for one in records if isinstance(one.key, AccuracyKey)]
    if len({key.dataset for key in keys}) > 1:
        raise ValueError("accuracy records of one data set are wanted")
    settings = (f"{one.descriptors}, shortlist of {one.shortlist}, {one.policy}" for one in keys)
    return f"{keys[0].dataset}, {' or '.join(dict.fromkeys(settings))}"


def _in_percent(value: float) -> str:
    return percent(value / 100)


def _in_points(value: float) -> str:
    return points(value / 100)
