"""What the tests of bench.measure run in a process of its own."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def echo(payload, progress):
    sys.stdout.write("noise on stdout\n")
    sys.stderr.write("noise on stderr\n")
    return {"payload": payload, "stdin": sys.stdin.read()}


def large(payload, progress):
    return "x" * payload["length"]


def steps(payload, progress):
    for step in range(payload["steps"]):
        progress(step + 1, payload["steps"], f"step {step + 1}")


def bench_error(payload, progress):
    from bench.errors import BenchError

    raise BenchError("a gallery of 0 images", wanted="at least one", cure="Pass a folder with images.")


def leave(payload, progress):
    sys.exit(payload["code"])


def leave_at_once(payload, progress):
    sys.stderr.write("last words\n")
    os._exit(payload["code"])


def kill_self(payload, progress):
    os.kill(os.getpid(), getattr(signal, payload["signal"]))
    time.sleep(60)


def leave_a_fork(payload, progress):
    if os.fork() == 0:
        time.sleep(60)
    os._exit(5)


def leave_a_daemon(payload, progress):
    """Holds a lock by a process in a session of its own, whose parent is gone."""
    with Path(payload["lock"]).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if (child := os.fork()) == 0:
            os.setsid()
            subprocess.Popen(["sleep", "60"], pass_fds=[file.fileno()])
            os._exit(0)
        os.waitpid(child, 0)
    os._exit(5)


def unspeakable(payload, progress):
    raise ValueError(os.fsdecode(b"caf\xe9 \x1b[31m"))


def speechless(payload, progress):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    raise Mute


def verbose(payload, progress):
    raise ValueError("y" * 1_000_000)


def close_all(payload, progress):
    os.closerange(3, 256)


def become_another(payload, progress):
    os.execvp("sleep", ["sleep", "60"])  # which inherits no channel


def babble(payload, progress):
    os.write(int(sys.argv[1]), b"\xff\x00 is this a log?\n{}\n[]\n")
    time.sleep(60)


def segfault(payload, progress):
    ctypes.string_at(0)


def unserialisable(payload, progress):
    return {1, 2}


def allocate(payload, progress):
    return len(b"x" * payload["bytes"])


def linger(payload, progress):
    import threading

    threading.Thread(target=time.sleep, args=(60,)).start()
    return "done"


def hold(payload, progress):
    """Holds a lock until this process, and one that it started, have ended; payload says how it spends its time."""
    with Path(payload["lock"]).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        subprocess.Popen(["sleep", "60"], pass_fds=[file.fileno()])
        progress(0, 1, "held")
        match payload.get("how"):
            case "holding the interpreter":
                ctypes.PyDLL(None).sleep(60)
            case "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            case _:
                time.sleep(60)


def resident(payload, progress):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def threads(payload, progress):
    import cv2  # noqa: F401
    import faiss  # noqa: F401
    import torch  # noqa: F401

    from bench.measure import threads_in_force

    return threads_in_force()


def environment(payload, progress):
    return os.environ[payload["name"]]


def modules(payload, progress):
    return sorted(sys.modules)
