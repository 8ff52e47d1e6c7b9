"""A re-ranker of somebody else's package that does, at its first score, whatever the name of its variant says."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import rerankers
from rerankers.registry import Inputs, Variant

#: Longer than any test waits.
LONG_S = 600


def segfault() -> None:
    ctypes.string_at(0)


def killed() -> None:  # as by the kernel, when memory runs out
    os.kill(os.getpid(), signal.SIGKILL)


def greedy() -> None:  # touches every page, so that a limit of resident memory meets it too
    held = []
    while True:
        held.append(torch.ones(1 << 24))


def sleeps() -> None:
    time.sleep(LONG_S)


def busy() -> None:
    while True:
        pass


def stubborn() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(LONG_S)


def holding() -> None:  # the interpreter's lock, in code that Python cannot interrupt
    ctypes.PyDLL(None).sleep(LONG_S)


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def leaves() -> None:
    os._exit(0)


def exits() -> None:
    sys.exit("no more")


def chatters() -> None:
    line = "x" * 1023 + "\n"
    for _ in range(100 * 1024):
        sys.stdout.write(line)
    sys.stdout.flush()


def unspeakable() -> None:
    raise ValueError(os.fsdecode(b"no such image: caf\xe9\xff.jpg\x1b[31m\n"))


def speechless() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise Mute


def verbose() -> None:
    raise ValueError("y" * 10_000_000)


def grandchildren() -> None:
    """One in this group, one that leads a session, one whose parent is gone."""
    subprocess.Popen(["sleep", str(LONG_S)])
    subprocess.Popen(["sleep", str(LONG_S)], start_new_session=True)
    if (child := os.fork()) == 0:
        os.setsid()
        subprocess.Popen(["sleep", str(LONG_S)])
        os._exit(0)
    os.waitpid(child, 0)


def grandchildren_and_leaves() -> None:
    grandchildren()
    os._exit(3)


def closes() -> None:
    os.closerange(3, 256)


def shuts() -> None:
    socket.socket(fileno=os.dup(_channel())).shutdown(socket.SHUT_RDWR)
    time.sleep(LONG_S)


def babbles() -> None:
    os.write(_channel(), b"\xff\x00 is this a log?\n{}\n[]\n")


def becomes_another() -> None:
    os.execvp("sleep", ["sleep", str(LONG_S)])


def forks() -> None:
    for _ in range(20):
        if os.fork() == 0:
            time.sleep(LONG_S)
            os._exit(0)


def threads() -> None:  # which keep the process from ending
    for _ in range(4):
        threading.Thread(target=time.sleep, args=(LONG_S,)).start()


def _channel() -> int:
    return int(sys.argv[1])


class Faulty(rerankers.Reranker):
    needs = ("local", "valid")
    query_locals = candidate_locals = 48

    def __init__(self, fault: Callable[[], None] | None) -> None:
        self.fault = fault

    def score(self, query: Any, candidates: Any) -> torch.Tensor:
        fault, self.fault = self.fault, None
        if fault is not None:
            fault()
        return candidates.local[:, 0].sum(dim=1)


class NotANumber(Faulty):
    def score(self, query: Any, candidates: Any) -> torch.Tensor:
        return torch.full((len(candidates),), float("nan"))


#: What leaves a result, though not in silence.
HARMLESS = (None, chatters, grandchildren, threads, forks)
#: What goes on until its time is up.
ENDLESS = (sleeps, busy, stubborn, holding, stopped)
FAULTS = (
    *(segfault, killed, leaves, exits, unspeakable, speechless, verbose, grandchildren_and_leaves),
    *(closes, shuts, babbles, becomes_another),
)


def _variant(make: Callable[[], rerankers.Reranker]) -> Variant:
    inputs = Inputs(query_locals=48, candidate_locals=48, local_dim=128)
    return Variant(about="faulty", source="tests/faults", make=make, inputs=inputs)


VARIANTS = {
    "fine" if fault is None else fault.__name__.replace("_", "-"): _variant(partial(Faulty, fault))
    for fault in (*HARMLESS, *ENDLESS, *FAULTS, greedy)
} | {"not-a-number": _variant(partial(NotANumber, None))}
