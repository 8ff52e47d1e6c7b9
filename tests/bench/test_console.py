from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from bench import console
from bench.errors import BenchError
from rerankers import RerankError
from tests.support import ROOT


def ended(monkeypatch, command, *arguments):
    """The exit code of a command's function run as a program."""
    monkeypatch.setattr("sys.argv", ["command", *arguments])
    with pytest.raises(SystemExit) as end:
        console.run(command)
    return end.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BenchError("seen", wanted="wanted", cure="Cure."), 2),
        (RerankError("seen", wanted="wanted", cure="Cure."), 2),
        (KeyboardInterrupt(), 130),
        (typer.Exit(1), 1),
    ],
)
def test_how_a_command_ends(monkeypatch, capsys, error, code):
    def command() -> None:
        raise error

    assert ended(monkeypatch, command) == code
    if code == 130:
        assert "goes on where it stopped" in capsys.readouterr().err
    if code == 2:
        assert "error: seen; wanted wanted. Cure." in capsys.readouterr().err


@pytest.mark.parametrize(("filename", "where"), [(None, "what the command says"), ("here", "here")])
def test_a_full_disk_is_no_defect(monkeypatch, capsys, filename, where):
    def command() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), filename)

    assert ended(monkeypatch, command) == 2
    assert f"error: cannot write {where} (No space left on device); wanted" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("both", [False, True])
def test_output_that_is_redirected_to_a_full_disk(both):
    words = [sys.executable, "-m", "bench.presets"]
    with Path("/dev/full").open("wb") as full:
        stderr = full if both else subprocess.PIPE
        done = subprocess.run(words, stdout=full, stderr=stderr, cwd=ROOT, text=True)
    assert done.returncode == 2
    assert both or ("Traceback" not in done.stderr and "Free some space" in done.stderr)


def test_an_unknown_option_is_bad_input(monkeypatch, capsys):
    def command() -> None:
        raise AssertionError

    assert ended(monkeypatch, command, "--nonsense") == 2
    assert "nonsense" in capsys.readouterr().err


def test_a_defect_keeps_its_traceback(monkeypatch):
    def command() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sys.argv", ["command"])
    with pytest.raises(ZeroDivisionError):
        console.run(command)


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch, caplog):
    clock = iter([0.0, *(10.0 * step for step in range(1, 102))])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), console.progress("job") as show:
        for done in range(101):
            show(done, 100)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 10 and lines[0].startswith("job: 10 of 100, ") and lines[-1] == "job: 100 of 100, 0 s left"


def test_progress_of_a_resumed_job_counts_only_what_is_new(monkeypatch, caplog):
    clock = iter([0.0, 1.0, 10.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), console.progress("job") as show:
        show(50, 100)
        show(60, 100)
    assert caplog.records[-1].getMessage() == "job: 60 of 100, 40 s left"
