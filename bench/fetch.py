"""Fetches data sets, descriptors and checkpoints of the papers: `python -m bench.fetch NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import options
from bench.console import BAD_INPUT, console, output, progress, run
from bench.fetching import ENTRIES, Entry, fetch, find, left_to_do
from bench.places import DATA_ROOT
from bench.reporting.tables import Cell, Column, Table

COLUMNS = tuple(map(Column, ("name", "what it is", "size", "licence", "obtained", "home page")))


def table() -> Table:
    """Everything that can be fetched."""
    return Table(columns=COLUMNS, rows=tuple(_row(entry) for entry in ENTRIES.values()))


def _row(entry: Entry) -> tuple[Cell, ...]:
    return tuple(map(Cell, (entry.name, entry.note, size(entry), entry.licence, entry.obtained, entry.home)))


def size(entry: Entry) -> str:
    """In gigabytes where the catalog has every file's size, else in the words that it has."""
    known = [file.size_bytes for file in entry.files if file.size_bytes is not None]
    return f"{sum(known) / 1e9:.1f} GB" if known and len(known) == len(entry.files) else entry.size


def main(
    names: Annotated[list[str] | None, typer.Argument(help="What to fetch; see --list.", metavar="NAME...")] = None,
    data_root: options.DataRoot = DATA_ROOT,
    list_all: Annotated[bool, typer.Option("--list", help="Print what there is, and end.")] = False,
) -> None:
    """Downloads with resume, verifies, unpacks, and puts in place what is whole; what is there already stays."""
    if list_all or not names:
        output.print(table().markdown(), markup=False, highlight=False, end="")
        return
    unfinished = False
    for entry in [find(name) for name in names]:
        fetch(entry, data_root, progress=progress)
        unfinished |= _told(entry, data_root)
    if unfinished:
        raise typer.Exit(BAD_INPUT)


def _told(entry: Entry, data_root: Path) -> bool:
    """Says what is there now; whether something is left to do by hand."""
    folder, left = data_root / entry.folder, left_to_do(entry, data_root)
    if left:
        console.print(
            f"{entry.name}: by hand. {entry.by_hand} Then these are there: "
            f"{', '.join(str(folder / path) for path in entry.needs)}. Home page: {entry.home}",
            style="yellow",
            markup=False,
            highlight=False,
        )
    else:
        console.print(f"{entry.name}: ready in {folder}", markup=False, highlight=False)
    return left


if __name__ == "__main__":
    run(main)
