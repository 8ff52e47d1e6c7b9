"""What a run does while it runs: its journals and states, which are gone or replaced when it has ended."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from tests.faults.commands import journals, states, whole_lines


class Watch(threading.Thread):
    """Follows a folder while in the block; files that are open stay, whatever becomes of their names."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.over = folder, threading.Event()
        self.seen: dict[str, list[bytes]] = {}
        self.open: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *how: object) -> None:
        self.over.set()
        self.join()
        for name in list(self.open):
            self._take(name)

    def run(self) -> None:
        while not self.over.wait(0.01):
            for path in [*journals(self.folder), *states(self.folder)]:
                try:
                    inode = path.stat().st_ino
                    if self.open.get(path.name, (0, 0))[0] != inode:
                        self._take(path.name)
                        number = os.open(path, os.O_RDONLY)
                        self.open[path.name] = os.fstat(number).st_ino, number
                except OSError:
                    continue

    def lines(self, name: str) -> list[bytes]:
        """Of the last journal of this name, at its fullest."""
        return whole_lines(self.seen[name][-1]) if name in self.seen else []

    def twice(self) -> list[str]:
        """Journals in which a part was noted twice."""
        parts = {name: [named(line) for line in self.lines(name)] for name in self.seen if name.endswith(".journal")}
        return sorted(name for name, noted in parts.items() if len(set(noted)) < len(noted))

    def states(self, name: str) -> list[dict[str, Any]]:
        """How far a training was in all states of this name."""
        found = []
        for content in self.seen.get(name, []):
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            found.append(json.loads(header["__metadata__"]["progress"]))
        return found

    def _take(self, name: str) -> None:
        _, number = self.open.pop(name, (0, 0))
        if number:
            limit = 1 << 20  # the states' headers, and journals whole
            self.seen.setdefault(name, []).append(os.pread(number, limit, 0))
            os.close(number)


def named(line: bytes) -> str:
    """Which part a line of a journal notes: of a cell, or of a store."""
    return str(json.loads(line)[0]) if line.startswith(b"[") else " ".join(line.decode().split()[:2])
