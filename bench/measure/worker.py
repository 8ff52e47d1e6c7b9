"""The child's side of `bench.measure.process`: python -m bench.measure.worker CHANNEL, with a job on stdin."""

from __future__ import annotations

import contextlib
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
        with contextlib.suppress(OSError):
            self.socket.recv(1)
        os.killpg(os.getpgrp(), signal.SIGKILL)


def called(target: str) -> Callable[..., Any]:
    """What "package.module:function" names."""
    module, _, name = target.partition(":")
    return cast(Callable[..., Any], getattr(importlib.import_module(module), name))


def run(job: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """The final message: status, result, reason."""
    try:
        if (limit := job["memory_limit_bytes"]) is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        result = called(job["target"])(job["payload"], channel.progress)
        json.dumps(result)
    except BaseException as error:  # sys.exit too: it leaves no result
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        memory = isinstance(error, MemoryError) or says_out_of_memory(reason)
        return {"status": "memory" if memory else "failed", "result": None, "reason": reason}
    return {"status": "ok", "result": result, "reason": ""}


def main() -> None:
    faulthandler.enable()
    channel = Channel(int(sys.argv[1]))
    threading.Thread(target=channel.die_with_parent, daemon=True).start()
    channel.send(run(json.load(sys.stdin), channel))


if __name__ == "__main__":
    main()
