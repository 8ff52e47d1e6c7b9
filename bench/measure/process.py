"""One cell, one process: a fresh interpreter that may crash, run out of memory or out of time, and say so.

Not multiprocessing: its children inherit the parent's ru_maxrss, its threads and its imports. The child is
`bench.measure.worker`; a socket of its own carries JSON lines, so that nothing a library prints can disturb them.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Literal

from bench.errors import BenchError
from bench.measure.threads import thread_environment

Status = Literal["ok", "failed", "timeout", "memory", "crashed"]
#: Called with (steps done, steps in all, what is being done).
Progress = Callable[[int, int, str], None]

LOG_TAIL_BYTES = 4096
#: How long a child may take to leave once its result is in.
GRACE_S = 10.0
_POLL_S = 0.5
_CHUNK_BYTES = 1 << 16
GIB = 1 << 30
#: Tells a child and all that it starts from any other process, also where they have left its session.
MARK = "RERANK_BENCH_CHILD"

#: What libraries say when an allocation fails and no MemoryError is raised.
OUT_OF_MEMORY_SIGNS = (
    *("can't allocate memory", "not enough memory", "cannot allocate memory", "insufficient memory"),
    *("memory allocation still failed", "out of memory", "outofmemoryerror", "bad_alloc"),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an isolated run ended.

    status: ok; failed (an exception); timeout; memory (an allocation failed, or the kernel killed it); crashed (any
    other end without a result). result: what the target returned, if ok. reason: why, if not ok.
    wall_s: from the start of the interpreter to its end. log_tail: the last 4 kB it wrote to stdout and stderr.
    """

    status: Status
    result: Any = None
    reason: str = ""
    wall_s: float = 0.0
    log_tail: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "ok"


def run_isolated(
    target: str,
    payload: Mapping[str, Any],
    *,
    timeout_s: float,
    memory_limit_bytes: int | None = None,
    threads: int | None = None,
    on_progress: Progress | None = None,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Calls `target` ("package.module:function") with (payload, progress) in a new interpreter, and waits for it.

    The function returns what JSON can hold, and calls progress(done, total, text) as it likes; `on_progress` is then
    called here. The child finds the modules that this process finds. threads: for every library, set before any is
    imported. memory_limit_bytes: of private writable memory (RLIMIT_DATA), so mapped files do not count; Linux only.
    The child and what it started are killed when it has ended, when time is up, when this call is interrupted, and
    when this process dies. What happens in the child comes back as an Outcome; BenchError is for arguments that cannot
    be run at all, and for a system that starts no process.
    """
    if ":" not in target:
        raise BenchError(f"target {target!r}", wanted="package.module:function", cure="Put a colon before the name.")
    if not timeout_s > 0:
        raise BenchError(f"a time limit of {timeout_s} s", wanted="more than 0", cure="Give it some seconds.")
    mark = uuid.uuid4().hex
    environment = child_environment(threads, env) | {MARK: mark}
    job = {"target": target, "payload": payload, "memory_limit_bytes": memory_limit_bytes}
    try:
        text = json.dumps(job)
    except (TypeError, ValueError) as error:
        raise BenchError(f"a payload that is not JSON ({error})", wanted="plain values", cure="Pass paths.") from error

    start_s = time.monotonic()
    ours, theirs = socket.socketpair()
    worker = "bench.measure.worker"
    with ours, theirs, start_child(worker, text, theirs, environment, output=subprocess.PIPE) as child:
        theirs.close()  # or its end would never be heard
        talk = _Talk(child, ours, on_progress, mark)
        try:
            talk.listen(start_s + timeout_s)
        finally:
            talk.end()
        talk.drain()
    status, result, reason = talk.verdict(timeout_s)
    if status == "memory" and memory_limit_bytes is not None and child.returncode != -signal.SIGKILL:
        reason = f"{reason} (under a limit of {memory_limit_bytes / GIB:.3g} GiB)"
    log = bytes(talk.log).decode("utf8", errors="replace")
    return Outcome(status=status, result=result, reason=reason, wall_s=time.monotonic() - start_s, log_tail=log)


def says_out_of_memory(text: str) -> bool:
    """Whether an error message or a log speaks of a failed allocation."""
    text = text.lower()
    return any(sign in text for sign in OUT_OF_MEMORY_SIGNS)


def child_environment(threads: int | None, extra: Mapping[str, str] | None) -> dict[str, str]:
    """This process's, with its module search path, the number of threads, and what the caller adds."""
    limits = {} if threads is None else thread_environment(threads)
    path = os.pathsep.join(place or os.getcwd() for place in sys.path)  # noqa: PTH109 - text, not a Path
    return {**os.environ, "PYTHONPATH": path, **limits, **(extra or {})}


def start_child(
    module: str, job: str, channel: socket.socket, environment: Mapping[str, str], *, output: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    """`module` as a program, leader of its own session, reading `job` from a file so that no pipe can fill.

    Its stdin says nothing, and is open for as long as this process lives: see `bench.measure.worker.die_with_parent`.
    output: where stdout and stderr go. BenchError where the system gives no process, or no place for the job.
    """
    with _surroundings(), tempfile.TemporaryFile() as file:
        file.write(job.encode("utf8"))
        file.seek(0)
        handed = (channel.fileno(), file.fileno())
        return subprocess.Popen(
            [sys.executable, "-m", module, *map(str, handed)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=handed,
            env=environment,
            start_new_session=True,
        )


def ending(code: int, log: str) -> tuple[Status, str]:
    """Why a child ended that left no result, from its exit code and what it printed last."""
    if code == -signal.SIGKILL:
        return "memory", "killed by SIGKILL, as the kernel does when the machine is out of memory"
    names = {one.value: one.name for one in signal.Signals}
    how = f"killed by {names.get(-code, f'signal {-code}')}" if code < 0 else f"exited with code {code}"
    if says_out_of_memory(log):
        return "memory", f"out of memory: {how}"
    return "crashed", f"{how} before it gave a result"


#: Not on macOS before Python 3.13, where the end of the channel has to do.
_CAN_WAIT = hasattr(os, "waitid")


@contextmanager
def _surroundings() -> Iterator[None]:
    """BenchError for what the system refuses when a process is to be started."""
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"cannot start a process ({error.strerror or error})",
            wanted=f"a process more, and some space in {os.environ.get('TMPDIR', '/tmp')}",
            cure="End some programs or free some space, then run the command again: it goes on where it stopped.",
        ) from error


def _kill_marked(mark: str) -> None:
    """Kills what has the mark in its environment. Not its group: a daemon leads one of its own."""
    import psutil  # here, for the child imports this module too

    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                process.kill()


class _Talk:
    """What is heard of one child until its end."""

    def __init__(
        self, child: subprocess.Popen[bytes], channel: socket.socket, on_progress: Progress | None, mark: str
    ) -> None:
        assert child.stdout is not None
        self.child, self.channel, self.on_progress, self.mark = child, channel, on_progress, mark
        self.stdout: IO[bytes] = child.stdout
        self.log, self.pending = bytearray(), bytearray()
        self.final: dict[str, Any] | None = None
        self.timed_out = False
        self.deaf = False  # the child goes on without the channel
        channel.setblocking(False)
        os.set_blocking(self.stdout.fileno(), False)

    def listen(self, deadline_s: float) -> None:
        """Follows the child until it is gone or `deadline_s` (monotonic clock) has passed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ, self._hear)
            selector.register(self.stdout, selectors.EVENT_READ, self._read_log)
            leaving = False
            while (left_s := deadline_s - time.monotonic()) > 0:
                for key, _ in selector.select(min(left_s, _POLL_S)):
                    if key.data():
                        continue
                    selector.unregister(key.fileobj)
                    if key.fileobj is self.channel:
                        if self.final is not None or not _CAN_WAIT:
                            return
                        self.deaf = True
                if _is_gone(self.child):
                    self.deaf = False  # it had ended, and said nothing
                    return
                if (self.final is not None or self.deaf) and not leaving:
                    leaving, deadline_s = True, min(deadline_s, time.monotonic() + GRACE_S)
        self.timed_out = self.final is None and not self.deaf

    def end(self) -> None:
        """Kills what is left of the child's group, then reaps it: until then nobody else has its number. Then what has
        left the group."""
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # gone already (macOS says so by the second)
            self.child.kill()
        self.child.wait()
        _kill_marked(self.mark)

    def drain(self) -> None:
        """Takes in what the child had still said."""
        for read in (self._hear, self._read_log):
            while read(at_end=True):
                continue

    def verdict(self, timeout_s: float) -> tuple[Status, Any, str]:
        """(status, result, reason) of an ended child."""
        if self.final is not None:
            return self.final["status"], self.final["result"], self.final["reason"]
        if self.timed_out:
            return "timeout", None, f"no result after {timeout_s:g} s"
        if self.deaf:
            return "crashed", None, "closed its channel to this process before it gave a result"
        status, reason = ending(self.child.returncode, self.log.decode("utf8", errors="replace"))
        return status, None, reason

    def _hear(self, *, at_end: bool = False) -> bool:
        """Takes in one chunk of messages; False at the end of them."""
        try:
            chunk = self.channel.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return not at_end
        except ConnectionResetError:
            return False
        self.pending += chunk
        if b"\n" in chunk:
            *lines, rest = self.pending.split(b"\n")
            self.pending = rest
            for line in lines:
                if not self._take(bytes(line)):
                    return False
        return bool(chunk)

    def _take(self, line: bytes) -> bool:
        """Takes in one message; False where it is none."""
        try:
            message = json.loads(line)
            final = None if "progress" in message else {name: message[name] for name in ("status", "result", "reason")}
            said = message.get("progress")
        except (ValueError, KeyError, TypeError, AttributeError):  # a library that writes to whatever is open
            junk = {"status": "crashed", "result": None, "reason": "something else than a result came from it"}
            self.final = self.final or junk
            return False
        if said is None:
            self.final = self.final or final
        elif self.on_progress is not None:
            self.on_progress(*said)
        return True

    def _read_log(self, *, at_end: bool = False) -> bool:
        try:
            chunk = os.read(self.stdout.fileno(), _CHUNK_BYTES)
        except BlockingIOError:
            return not at_end
        self.log = (self.log + chunk)[-LOG_TAIL_BYTES:]
        return bool(chunk)


def _is_gone(child: subprocess.Popen[bytes]) -> bool:
    """Whether the child has ended, without reaping it: a grandchild may hold the channel open after that."""
    if not _CAN_WAIT:
        return False
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
