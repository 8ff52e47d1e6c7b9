"""The child's side of `bench.measure.companion`: python -m bench.measure.answerer CHANNEL JOB, as the worker's."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from bench.measure.worker import Channel, called, die_with_parent, read_job

Questions = queue.SimpleQueue[dict[str, Any]]


def listen(channel: Channel, questions: Questions) -> None:
    """Hands on what is asked."""
    with contextlib.suppress(OSError), open(channel.number, "rb", closefd=False) as lines:  # reset, if left unread
        for line in lines:
            questions.put(json.loads(line))


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
    die_with_parent()
    channel = Channel(int(sys.argv[1]))
    questions: Questions = queue.SimpleQueue()
    threading.Thread(target=listen, args=(channel, questions), daemon=True).start()
    job = read_job(int(sys.argv[2]))
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
