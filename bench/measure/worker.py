"""The child's side of `bench.measure.process`: python -m bench.measure.worker CHANNEL, with a job on stdin."""

from __future__ import annotations

import errno
import faulthandler
import importlib
import json
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, cast

from bench.measure.process import says_out_of_memory

#: Characters of a reason.
LONGEST = 1000


class Channel:
    """JSON lines to the parent."""

    def __init__(self, number: int) -> None:
        os.set_inheritable(number, False)
        # Never closed: the parent takes the end of the channel for the end of this process.
        self.socket = socket.socket(fileno=number)
        self.lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode("utf8") + b"\n"
        with self.lock:
            self.socket.sendall(line)

    def progress(self, done: int, total: int, text: str = "") -> None:
        """What the target is handed."""
        self.send({"progress": [int(done), int(total), str(text)]})

    def die_with_parent(self) -> None:
        """Kills this process and all it started once nobody is at the other end."""
        try:
            self.socket.recv(1)
        except OSError as error:
            if error.errno == errno.EBADF:  # closed by what runs here: its result cannot be sent, and that is said
                return
        os.killpg(os.getpgrp(), signal.SIGKILL)


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
    channel = Channel(int(sys.argv[1]))
    threading.Thread(target=channel.die_with_parent, daemon=True).start()
    channel.send(run(json.load(sys.stdin), channel))


if __name__ == "__main__":
    main()
