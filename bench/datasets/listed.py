"""Text files with an image a line, as data sets list their images, and their classes, in several manners."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.datasets.ground_truth import safe_names
from bench.errors import BenchError


@dataclass(frozen=True)
class Listed:
    """Images by name, and the class of each; no classes where the list has none."""

    names: tuple[str, ...]
    classes: tuple[str, ...] = ()


def read_list(path: Path) -> Listed:
    """Lines `path`, `path,class` or `path,class,width,height`, all of one kind (AMES and ELViS, DOLG's distractors)."""
    try:
        rows = [row for row in csv.reader(lines(path)) if row]
    except csv.Error as error:
        raise flaw(path, 0, str(error), wanted="one image a line") from error
    if not rows:
        raise flaw(path, 0, "no image", wanted="one a line")
    with_class = len(rows[0]) > 1
    for number, row in enumerate(rows, 1):
        if (len(row) > 1) != with_class or len(row) > 4:
            raise flaw(path, number, f"{len(row)} fields", wanted=f"{len(rows[0])}, as in the first line")
    classes = tuple(row[1].strip() for row in rows) if with_class else ()
    return Listed(safe_names([row[0].strip() for row in rows], str(path)), classes)


def read_columns(path: Path, *, names: Sequence[str], skipped: int = 0) -> Iterator[dict[str, str]]:
    """Lines of fields with blanks between, by the column's name; `skipped` lines of heading come first."""
    for number, line in enumerate(lines(path), 1):
        fields = line.split()
        if number <= skipped or not fields:
            continue
        if len(fields) != len(names):
            raise flaw(path, number, f"{len(fields)} fields", wanted=", ".join(names))
        yield dict(zip(names, fields, strict=True))


def read_csv(path: Path, *, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of a CSV file whose heading has at least these columns."""
    reader = csv.DictReader(lines(path))
    try:
        if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise flaw(path, 1, f"no column {', '.join(missing)}", wanted=f"the columns {', '.join(columns)}")
        for number, row in enumerate(reader, 2):
            if any(row[name] is None for name in columns):
                raise flaw(path, number, "too few fields", wanted=f"the columns {', '.join(columns)}")
            yield row
    except csv.Error as error:
        raise flaw(path, reader.line_num, str(error), wanted=f"the columns {', '.join(columns)}") from error


def lines(path: Path) -> list[str]:
    """Of a text file; BenchError when it cannot be read."""
    try:
        return path.read_text(encoding="utf8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(
            f"cannot read {path} ({getattr(error, 'strerror', None) or error})",
            wanted="a list of images in UTF-8",
            cure="Check the path, or fetch the data set again.",
        ) from error


def first_file(folder: Path, names: Sequence[str], *, page: str, found: Callable[[Path], bool] = Path.is_file) -> Path:
    """The first of these names that is in the folder; BenchError, with the page that has the layout, without any."""
    for name in names:
        if found(folder / name):
            return folder / name
    raise BenchError(
        f"no {' or '.join(names)} in {folder}",
        wanted="the data set's official layout",
        cure=f"See docs/datasets/{page}.md for what lies where.",
    )


def flaw(path: Path, line: int, seen: str, *, wanted: str) -> BenchError:
    return BenchError(
        f"{path}, line {line}: {seen}", wanted=wanted, cure="Correct the list, or fetch the data set again."
    )
