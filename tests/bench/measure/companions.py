"""What the companions of test_companion.py are."""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from bench.measure import Companion


def counting(payload):
    """Counts on from a number; and does what else it is told."""
    state = {"count": payload["start"]}
    sys.stdout.write("hello from a companion")

    def answer(question):
        match question["do"]:
            case "count":
                state["count"] += question["by"]
                return state["count"]
            case "threads":
                return os.environ["OMP_NUM_THREADS"]
            case "raise":
                raise ValueError("no such thing")
            case "set":
                return {1, 2}
            case "sleep":
                time.sleep(60)
            case "print":
                sys.stdout.write("x" * 1_000_000)
                return "printed"
            case "exit":
                sys.stderr.write("out of patience\n")
                os._exit(3)
        return None

    return answer


def broken(payload):
    raise RuntimeError("cannot start")


def left_alone(payload, progress):
    """A process with a companion that ends without a word to it."""
    one = Companion("companions:counting", payload)
    sys.stdout.write(f"\n{one.child.pid}\n")
    sys.stdout.flush()
    if payload["heard"]:
        one.ask({"do": "count", "by": 1}, timeout_s=60)
    else:
        select.select([one.channel], [], [], 60)
    os.kill(os.getpid(), signal.SIGTERM)
