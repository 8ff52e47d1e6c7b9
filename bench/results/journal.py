"""Finished parts of a long cell, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.files import unwritable, write_text


class Journal:
    """One JSON value a line behind a heading; a line cut short by a kill is dropped.

    The heading says what the parts belong to: a journal with another heading starts anew.
    """

    def __init__(self, path: Path, heading: str) -> None:
        self.path, self.heading = Path(path), heading
        lines = self._lines()
        self.parts: dict[str, Any] = {}
        if lines and lines[0] == heading:
            self.parts = dict(itertools.takewhile(_is_part, lines[1:]))
        self._rewrite()

    def add(self, name: str, value: Any) -> None:
        """Notes that the part `name` is done; on the disk before it returns."""
        self.parts[name] = value
        self._append([name, value])

    def merge(self, parts: Mapping[str, Any]) -> None:
        """Takes over parts that another journal has noted; those of this one stay. On the disk before it returns."""
        self.parts = {**parts, **self.parts}
        self._rewrite()

    def _lines(self) -> list[Any]:
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_bytes().split(b"\n"):
            try:
                found.append(json.loads(line.decode("utf8")))
            except (ValueError, RecursionError):
                break
        return found

    def _rewrite(self) -> None:
        lines = [self.heading, *([name, value] for name, value in self.parts.items())]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))

    def _append(self, line: Any) -> None:
        try:
            with self.path.open("ab") as file:
                file.write((json.dumps(line) + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from error


def _is_part(line: Any) -> bool:
    return isinstance(line, list) and len(line) == 2 and isinstance(line[0], str)
