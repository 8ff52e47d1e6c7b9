"""Records on disk: one JSON file a cell, replaced as a whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from bench.errors import BenchError
from bench.files import write_text
from bench.results.record import Key, Provenance, Record

#: What must be equal for an earlier record to stand for a new run.
DECISIVE = ("code_sha256", "fingerprint", "threads", "seed", "versions")


class ResultStore:
    """The records under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @property
    def lock(self) -> Path:
        """What those hold who add records (`bench.others.alone`); a kill may leave it."""
        return self.folder / ".lock"

    def path(self, key: Key) -> Path:
        """Where the record of a cell lies: readable, and distinct for distinct cells."""
        text = json.dumps(key.model_dump(exclude_none=True), sort_keys=True)
        slug = re.sub(r"[^\w.-]+", "-", key.reranker)
        return self.folder / f"{key.kind}-{slug}-{hashlib.sha256(text.encode()).hexdigest()[:10]}.json"

    def put(self, record: Record) -> Path:
        """Stores a record in place of an older one of the same cell."""
        path = self.path(record.key)
        write_text(path, record.model_dump_json(indent=1) + "\n")
        return path

    def get(self, key: Key) -> Record | None:
        """The record of a cell, or None."""
        path = self.path(key)
        return self._read(path) if path.exists() else None

    def finished(self, key: Key, *, now: Provenance) -> Record | None:
        """The record of a cell if it succeeded in the same surroundings as `now`, so that it need not run again."""
        record = self.get(key)
        if record is None or record.status != "ok":
            return None
        same = all(getattr(record.provenance, name) == getattr(now, name) for name in DECISIVE)
        return record if same else None

    def __iter__(self) -> Iterator[Record]:
        """Every record, by file name; BenchError when one is damaged or of another schema."""
        yield from (self._read(path) for path in sorted(self.folder.glob("*.json")))

    @staticmethod
    def _read(path: Path) -> Record:
        try:
            return Record.model_validate_json(path.read_bytes())
        except (ValidationError, OSError) as error:
            raise BenchError(
                f"{path} is not a record of this version ({str(error).splitlines()[0]})",
                wanted="a JSON record with schema_version 1",
                cure="Delete the file and run the cell again.",
            ) from error
