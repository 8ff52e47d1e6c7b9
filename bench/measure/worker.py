"""The child's side of `bench.measure.process`: python -m bench.measure.worker CHANNEL JOB, two open files by number."""

from __future__ import annotations

import faulthandler
import fcntl
import importlib
import json
import os
import resource
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from bench.measure.process import says_out_of_memory

#: Characters of a reason.
LONGEST = 1000


class Channel:
    """JSON lines to the parent, by an open socket."""

    def __init__(self, number: int) -> None:
        os.set_inheritable(number, False)
        self.number = number
        # Never closed: the parent takes the end of the channel for the end of this process.
        self.lines = open(number, "wb", closefd=False)  # noqa: SIM115
        self.lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode("utf8") + b"\n"
        with self.lock:
            self.lines.write(line)
            self.lines.flush()

    def progress(self, done: int, total: int, text: str = "") -> None:
        """What the target is handed."""
        self.send({"progress": [int(done), int(total), str(text)]})


def die_with_parent() -> None:
    """Has this process and its group be killed once nobody is at the other end of stdin, which is then empty.

    Where it can, by the kernel: a thread would wait for the interpreter's lock, which what runs here may never let go.
    """
    lifeline = os.dup(0)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    if hasattr(fcntl, "F_SETSIG"):  # Linux
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)
        if select.select([lifeline], [], [], 0)[0]:  # it had ended before the kernel was told
            _die(lifeline)
    else:
        threading.Thread(target=_die, args=(lifeline,), daemon=True).start()


def _die(lifeline: int) -> None:
    """At the end of what nobody writes to."""
    os.read(lifeline, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def read_job(number: int) -> dict[str, Any]:
    """What the parent has left in an open file."""
    with open(number, encoding="utf8") as file:
        return cast(dict[str, Any], json.load(file))


def called(target: str) -> Callable[..., Any]:
    """What "package.module:function" names."""
    module, _, name = target.partition(":")
    return cast(Callable[..., Any], getattr(importlib.import_module(module), name))


def run(job: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """The final message: status, result, reason."""
    try:
        if (limit := job["memory_limit_bytes"]) is not None:
            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        result = called(job["target"])(job["payload"], channel.progress)
        json.dumps(result)
    except BaseException as error:  # sys.exit too: it leaves no result
        traceback.print_exc()
        reason = _reason(error)
        memory = isinstance(error, MemoryError) or says_out_of_memory(reason)
        reason = f"out of memory: {reason}" if memory else reason
        return {"status": "memory" if memory else "failed", "result": None, "reason": reason}
    return {"status": "ok", "result": result, "reason": ""}


def _reason(error: BaseException) -> str:
    """What a record can keep of an exception: text, not too long."""
    try:
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
    except Exception:  # of its own __str__
        said = type(error).__name__
    # half characters of file names that are no UTF-8, and what would command a terminal
    said = "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in said)
    return said if len(said) <= LONGEST else f"{said[:LONGEST]} [...]"


def main() -> None:
    faulthandler.enable()
    die_with_parent()
    channel = Channel(int(sys.argv[1]))
    channel.send(run(read_job(int(sys.argv[2])), channel))


if __name__ == "__main__":
    main()
