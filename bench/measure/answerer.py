"""The child's side of `bench.measure.companion`: python -m bench.measure.answerer CHANNEL, with a job on stdin."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from bench.measure.worker import Channel, called

Questions = queue.SimpleQueue[dict[str, Any]]


def listen(channel: Channel, questions: Questions) -> None:
    """Hands on what is asked; kills this process and all it started once nobody is at the other end."""
    with contextlib.suppress(OSError), channel.socket.makefile("rb") as lines:  # reset, if it left without reading
        for line in lines:
            questions.put(json.loads(line))
    os.killpg(os.getpgrp(), signal.SIGKILL)


def answered(answer: Callable[[Any], Any], question: Any) -> dict[str, Any]:
    """The message that goes back."""
    try:
        result = answer(question)
        json.dumps(result)
    except Exception as error:
        traceback.print_exc()
        return {"status": "failed", "result": None, "reason": f"{type(error).__name__}: {error}".removesuffix(": ")}
    return {"status": "ok", "result": result, "reason": ""}


def main() -> None:
    faulthandler.enable()
    channel = Channel(int(sys.argv[1]))
    questions: Questions = queue.SimpleQueue()
    threading.Thread(target=listen, args=(channel, questions), daemon=True).start()
    job = json.load(sys.stdin)
    ready = answered(lambda _: None, None)
    try:
        answer = called(job["target"])(job["payload"])
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        ready = {"status": "failed", "result": None, "reason": reason, "fatal": True}
    channel.send(ready)
    while "fatal" not in ready:
        channel.send(answered(answer, questions.get()))


if __name__ == "__main__":
    main()
