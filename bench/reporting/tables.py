"""A table that knows how to print itself: Markdown for people, CSV for programs.

A missing figure is a dash with a numbered footnote in Markdown; in CSV it is an empty cell, and its reason
stands in the row's `reasons` column, a JSON object from reason to columns.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from bench.results.record import Figure

DASH = "–"
LONGEST_NOTE = 300
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
#: What Markdown would take for more than the character itself: cell borders, code, tags, emphasis, links, entities.
_SPECIAL = re.compile(r"[\\|`]|<(?=[\w/!?])|\*(?=\S)|~(?=~)|](?=[(\[:])|(?<!\w)_(?=\S)|&(?=#?\w+;)")


@dataclass(frozen=True)
class Cell:
    """A value and its footnotes. None is a missing value: its first note says why."""

    value: str | int | float | None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.value is None and not self.notes:
            raise ValueError("a missing value has a reason")


def figure_cell(figure: Figure) -> Cell:
    """The cell of a record's figure."""
    return Cell(figure.value) if figure.reason is None else missing(figure.reason)


def missing(reason: str) -> Cell:
    """The cell of a figure that is not there."""
    return Cell(None, (reason,))


@dataclass(frozen=True)
class Column:
    """A heading, and how the column's numbers look in Markdown; text columns have no `show` and are left-aligned."""

    title: str
    show: Callable[[Any], str] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns, rows of as many cells, a caption that stands under the table, and notes that hold for all of it."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(self.columns)} columns")

    def markdown(self) -> str:
        """A pipe table, its caption, its footnotes and notes."""
        footnotes: dict[str, int] = {}
        body = [
            [_cell_text(cell, column, footnotes) for cell, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]
        grid = tabulate(
            body,
            headers=[escaped(column.title) for column in self.columns],
            tablefmt="pipe",
            colalign=["left" if column.show is None else "right" for column in self.columns] if body else None,
            disable_numparse=True,
        )
        numbered = [f"- {_mark(number)} {escaped(_short(note))}" for note, number in footnotes.items()]
        remarks = "\n".join([*numbered, *(f"- {escaped(note)}" for note in self.notes)])
        return "\n\n".join(part for part in (grid, escaped(self.caption), remarks) if part) + "\n"

    def csv(self) -> str:
        """Values in full precision, one heading line, `reasons` last."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        titles = [column.title for column in self.columns]
        writer.writerow([*titles, "reasons"])
        for row in self.rows:
            reasons: dict[str, list[str]] = {}
            for title, cell in zip(titles, row, strict=True):
                if cell.value is None:
                    reasons.setdefault(cell.notes[0], []).append(title)
            values = ["" if cell.value is None else cell.value for cell in row]
            writer.writerow([*values, json.dumps(reasons, ensure_ascii=False) if reasons else ""])
        return out.getvalue()


def escaped(text: str) -> str:
    """Text on one line that Markdown prints as it is, in a table too."""
    return _SPECIAL.sub(lambda found: "\\" + found.group(), " ".join(text.split()))


def code(text: str) -> str:
    """Text as a Markdown code span, whatever back-ticks it holds."""
    line = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list of lines that are Markdown already."""
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _cell_text(cell: Cell, column: Column, footnotes: dict[str, int]) -> str:
    marks = [_mark(footnotes.setdefault(note, len(footnotes) + 1)) for note in cell.notes]
    if cell.value is None:
        text = DASH
    elif column.show is None or isinstance(cell.value, str):
        text = escaped(str(cell.value))
    else:
        text = escaped(column.show(cell.value))
    return text + " ".join(marks)


def _mark(number: int) -> str:
    return str(number).translate(_SUPERSCRIPT)


def _short(note: str) -> str:
    line = " ".join(note.split())
    return line if len(line) <= LONGEST_NOTE else line[: LONGEST_NOTE - 1] + "…"
