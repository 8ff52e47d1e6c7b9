"""A room for a command: a mount namespace of its own, in which disks can be as small and as read-only as a test wants,
seen from outside through /proc. Needs root, or user namespaces."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

#: Only where the test itself is not root: as root of the room alone.
_AS_ROOT = () if os.geteuid() == 0 else ("--map-root-user", "--user")
_ENTER = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")


@dataclass(frozen=True)
class Room:
    """pid: of the process that keeps it."""

    pid: int

    def see(self, path: Path) -> Path:
        """The path of a file in the room, for who is outside."""
        return Path(f"/proc/{self.pid}/root") / path.relative_to("/")

    def call(self, *words: str | Path) -> None:
        """Runs a small program in the room; it must succeed."""
        subprocess.run(self._inside(words), check=True, capture_output=True)

    def disk(self, folder: Path, size_kib: int, inodes: int = 0) -> None:
        """Puts an empty disk of that size in the place of a folder; inodes: files that it holds, 0 for many."""
        self.call("mount", "-t", "tmpfs", "-o", f"size={size_kib}k,nr_inodes={inodes}", "tmpfs", folder)

    def resize(self, folder: Path, size_kib: int, inodes: int = 0) -> None:
        self.call("mount", "-o", f"remount,size={size_kib}k,nr_inodes={inodes}", folder)

    def read_only(self, folder: Path) -> None:
        """Lets nobody write in the folder, root neither."""
        self.call("mount", "--bind", folder, folder)
        self.call("mount", "-o", "remount,bind,ro", folder)

    def writable(self, folder: Path) -> None:
        """Takes back `read_only`."""
        self.call("mount", "-o", "remount,bind,rw", folder)

    def start(
        self, words: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a command in the room; what it says is added to `log`, outside."""
        with log.open("ab") as said:
            return subprocess.Popen(
                self._inside(words), stdout=said, stderr=subprocess.STDOUT, env=os.environ | (env or {}), cwd="/"
            )

    def run(self, words: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> int:
        """Runs a command in the room; its exit code."""
        with self.start(words, log, env) as process:
            try:
                return process.wait(300)
            finally:
                process.kill()

    def _inside(self, words: Sequence[str | Path]) -> list[str | Path]:
        return ["nsenter", "--mount", *_ENTER, "--target", str(self.pid), f"--wd={Path.cwd()}", "--", *words]


@contextmanager
def room() -> Iterator[Room]:
    """A new one, which is gone with the block; the test is skipped where there can be none."""
    if reason := impossible():
        pytest.skip(reason)
    keeper = subprocess.Popen(_new("sh", "-c", "echo ready; exec sleep infinity"), stdout=subprocess.PIPE)
    try:
        assert keeper.stdout is not None and keeper.stdout.readline() == b"ready\n"
        yield Room(keeper.pid)
    finally:
        keeper.kill()
        keeper.communicate()


@cache
def impossible() -> str:
    """Why there can be no room here; nothing where there can be."""
    try:
        done = subprocess.run(
            _new("sh", "-c", "mount -t tmpfs tmpfs /tmp && command -v nsenter"),
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no mount namespaces here ({error})"
    return "" if done.returncode == 0 else f"no mount namespaces here ({done.stderr.strip() or 'no nsenter'})"


def _new(*words: str) -> list[str]:
    return ["unshare", "--mount", *_AS_ROOT, "--", *words]
