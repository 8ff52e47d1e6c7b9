"""What a process that reads foreign bytes must not do: run code, write elsewhere, take much memory."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: No input may take longer, or more memory beyond what the process had before.
HANG_S, MOST_BYTES = 2.0, 1 << 30
#: Beyond this an allocation fails, so that one input cannot take the machine down.
_LIMIT_BYTES = 6 << 30

#: Python's own words (sys.audit) for what no reader has a reason to do.
_FORBIDDEN = (
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill"),
    *("os.putenv", "os.chdir", "os.chmod", "os.chown", "os.killpg"),
    *("subprocess.", "pty.", "socket.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "ctypes."),
    *("exec", "code.", "marshal.", "pickle.find_class", "sys.settrace", "sys.setprofile", "signal."),
)
#: Changes of the file system, which may touch the reader's own folder only: which arguments are paths, and which, if
#: any, are the folders that these start from.
_WRITES = {
    **{"os.mkdir": ((0, 2),), "os.remove": ((0, 1),), "os.rmdir": ((0, 1),), "os.truncate": ((0, None),)},
    **{"os.symlink": ((1, 2),), "os.link": ((1, 3),), "os.rename": ((0, 2), (1, 3))},
    **{"shutil.rmtree": ((0, 1),), "shutil.move": ((0, None), (1, None)), "shutil.copyfile": ((1, None),)},
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Watch:
    """Looks on while it is entered."""

    def __init__(self, box: Path) -> None:
        self.box = os.path.realpath(box)
        self.seen: list[str] = []
        self.awake = False
        self.status = os.open("/proc/self/status", os.O_RDONLY)  # open for good, for it is read after each input
        self.base_bytes = self._high_water_bytes()
        resource.setrlimit(resource.RLIMIT_DATA, (_LIMIT_BYTES, _LIMIT_BYTES))
        sys.addaudithook(self._hear)  # for good: there is no way to take one off

    def __enter__(self) -> None:
        self.awake = True

    def __exit__(self, *_: object) -> None:
        self.awake = False

    def complaints(self) -> Iterator[str]:
        """What was seen since the last call."""
        seen, self.seen = self.seen, []
        yield from seen
        grown = self._high_water_bytes() - self.base_bytes
        if grown > MOST_BYTES:
            self.base_bytes += grown
            yield f"over 1 GB of memory: {grown >> 20} MB"

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.awake:
            return
        if event == "import":
            if arguments[0] not in sys.modules:
                self.seen.append(f"import of {arguments[0]}")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING and not self._inside(path):
                self.seen.append(f"{path} opened for writing")
        elif event in _WRITES:
            for path, start in _WRITES[event]:
                if not self._holds(arguments[path], None if start is None else arguments[start]):
                    self.seen.append(f"{event} of {arguments[path]}")
        elif event.startswith(_FORBIDDEN):
            self.seen.append(f"{event} {arguments!r:.200}")

    def _inside(self, path: Any) -> bool:
        if isinstance(path, int):  # opened before, and heard of then
            return True
        return f"{os.path.realpath(os.fsdecode(path))}/".startswith((f"{self.box}/", "/dev/null"))

    def _holds(self, path: Any, start: Any) -> bool:
        """Whether an entry is one of its folders, wherever it leads itself. start: descriptor of a folder, or -1."""
        if isinstance(path, int):
            return True
        if os.fsdecode(path) == self.box:  # made where it is there already
            return True
        entry = Path(os.fsdecode(path))
        if isinstance(start, int) and start >= 0:
            entry = Path(f"/proc/self/fd/{start}").readlink() / entry
        return entry.name != ".." and self._inside(entry.parent)

    def _high_water_bytes(self) -> int:
        """The most resident memory that this process had; not ru_maxrss, which knows the parent's too."""
        return int(os.pread(self.status, 4096, 0).partition(b"VmHWM:")[2].split(maxsplit=1)[0]) << 10
