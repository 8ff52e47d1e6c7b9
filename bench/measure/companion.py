"""A fresh interpreter that answers questions until it is let go: for two programs that work in turn.

The child is `bench.measure.answerer`; a socket of its own carries JSON lines, so that nothing a library prints can
disturb them. What it prints goes to a file, of which a failure quotes the end.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

from bench.measure.process import LOG_TAIL_BYTES, child_environment, ending, start_child

#: Characters of what a child said last, in the reason of its end.
LAST_WIDTH = 200
_CHUNK_BYTES = 1 << 16


class CompanionFailed(Exception):
    """A question was not answered; the text says why. alive: whether the companion can be asked again."""

    def __init__(self, reason: str, *, alive: bool) -> None:
        super().__init__(reason)
        self.alive = alive


class Companion:
    """A child that has called `target` ("package.module:function") with `payload` once, and passes questions to what
    that returned, one at a time.

    It starts at once and is heard when first asked. threads, env: see `bench.measure.run_isolated`. Used as a context:
    the child and what it started are killed at the end of the block, and when this process dies.
    """

    def __init__(
        self,
        target: str,
        payload: Mapping[str, Any],
        *,
        threads: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the companion
        self.channel, theirs = socket.socketpair()
        self.pending = bytearray()
        self.waiting = 1  # for the word that it is ready
        job = json.dumps({"target": target, "payload": dict(payload)})
        with theirs:
            self.child = start_child(
                "bench.measure.answerer", job, theirs, child_environment(threads, env), output=self.log
            )

    def __enter__(self) -> Companion:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ask(self, question: Mapping[str, Any], *, timeout_s: float) -> Any:
        """The answer, as JSON carries it. CompanionFailed where there is none; after a late one it is gone."""
        deadline_s = time.monotonic() + timeout_s
        while self.waiting:
            self._answer(deadline_s, timeout_s)
            self.waiting -= 1
        try:
            self.channel.sendall(json.dumps(dict(question)).encode() + b"\n")
        except OSError:
            raise self._gone() from None
        return self._answer(deadline_s, timeout_s)

    def close(self) -> None:
        """Ends it, with all that it started."""
        self.channel.close()
        with self.child:
            try:
                os.killpg(self.child.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self.child.kill()
        self.log.close()

    def _answer(self, deadline_s: float, timeout_s: float) -> Any:
        message = json.loads(self._line(deadline_s, timeout_s))
        if message["status"] != "ok":
            raise CompanionFailed(message["reason"], alive=not message.get("fatal", False))
        return message["result"]

    def _line(self, deadline_s: float, timeout_s: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            while b"\n" not in self.pending:
                if not selector.select(max(0.0, deadline_s - time.monotonic())):
                    raise CompanionFailed(f"no answer after {timeout_s:g} s", alive=False)
                try:
                    chunk = self.channel.recv(_CHUNK_BYTES)
                except ConnectionResetError:
                    chunk = b""
                if not chunk:
                    raise self._gone()
                self.pending += chunk
        line, _, rest = bytes(self.pending).partition(b"\n")
        self.pending = bytearray(rest)
        return line

    def _gone(self) -> CompanionFailed:
        """Why it is not there any more."""
        try:
            self.child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return CompanionFailed("it stopped to talk", alive=False)
        self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        said = self.log.read().decode("utf8", errors="replace")
        _, reason = ending(self.child.returncode, said)
        last = said.partition("Fatal Python error")[0].strip().rpartition("\n")[2]  # not faulthandler's list of frames
        return CompanionFailed(f"{reason}; it said last: {shorten(last, LAST_WIDTH)}" if last else reason, alive=False)
