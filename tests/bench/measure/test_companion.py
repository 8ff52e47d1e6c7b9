"""A child that answers."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench.measure import Companion, CompanionFailed, run_isolated

QUICK_S, LONG_S = 0.5, 60.0


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)


def companion(target: str = "counting", **options) -> Companion:
    return Companion(f"companions:{target}", {"start": 5}, **options)


def test_it_keeps_what_it_holds_from_one_question_to_the_next():
    with companion() as one, companion() as other:
        assert one.ask({"do": "count", "by": 1}, timeout_s=LONG_S) == 6
        assert one.ask({"do": "count", "by": 2}, timeout_s=LONG_S) == 8
        assert other.ask({"do": "count", "by": 1}, timeout_s=LONG_S) == 6


def test_threads_are_told_and_prints_disturb_nothing():
    with companion(threads=3) as one:
        assert one.ask({"do": "threads"}, timeout_s=LONG_S) == "3"
        assert one.ask({"do": "print"}, timeout_s=LONG_S) == "printed"
        assert one.ask({"do": "count", "by": 0}, timeout_s=LONG_S) == 5


def test_an_exception_is_an_answer_and_it_lives_on():
    with companion() as one:
        for question, reason in (("raise", "ValueError: no such thing"), ("set", "TypeError: .*not JSON serializable")):
            with pytest.raises(CompanionFailed, match=reason) as failure:
                one.ask({"do": question}, timeout_s=LONG_S)
            assert failure.value.alive
        assert one.ask({"do": "count", "by": 1}, timeout_s=LONG_S) == 6


def test_silence_ends_it():
    with companion() as one:
        one.ask({"do": "count", "by": 0}, timeout_s=LONG_S)
        with pytest.raises(CompanionFailed, match=r"no answer after 0\.5 s") as failure:
            one.ask({"do": "sleep"}, timeout_s=QUICK_S)
        assert not failure.value.alive


def test_an_end_says_how():
    with companion() as one:
        with pytest.raises(CompanionFailed, match="code 3 before it gave a result; .*out of patience$") as failure:
            one.ask({"do": "exit"}, timeout_s=LONG_S)
        assert not failure.value.alive
        with pytest.raises(CompanionFailed, match="exited with code 3"):
            one.ask({"do": "count", "by": 1}, timeout_s=LONG_S)


def test_one_that_cannot_start_says_why_when_asked():
    with companion("broken") as one, pytest.raises(CompanionFailed, match="RuntimeError: cannot start") as failure:
        one.ask({"do": "count", "by": 1}, timeout_s=LONG_S)
    assert not failure.value.alive


def test_nothing_is_left_behind():
    with companion() as one:
        number = one.child.pid
        one.ask({"do": "count", "by": 0}, timeout_s=LONG_S)
    assert is_gone(number)


@pytest.mark.parametrize("heard", [True, False])
def test_it_dies_with_the_process_that_started_it(heard):
    """Also when that has left something unread, which the other end sees as a reset."""
    outcome = run_isolated("companions:left_alone", {"start": 5, "heard": heard}, timeout_s=LONG_S)
    assert outcome.reason == "killed by SIGTERM before it gave a result"
    assert is_gone(int(outcome.log_tail.split()[-1]))


def is_gone(number: int) -> bool:
    """Within some seconds."""
    for _ in range(200):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{number}/status")
        if status.exists() and "State:\tZ" in status.read_text():  # dead, and nobody has asked yet
            return True
        time.sleep(0.05)
    return False
