"""What every command shares: the console, progress bars, and errors that end with exit code 2."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.errors import BenchError
from bench.files import unwritable
from rerankers.errors import RerankError

log = logging.getLogger(__name__)

BAD_INPUT = 2
INTERRUPTED = 130
#: Lines of progress in a log are at least this far apart.
QUIET_S = 2.0

#: What is going on: progress, log, errors. What was asked for goes to `output`, so that it can be piped.
console = Console(stderr=True, soft_wrap=True)
output = Console(soft_wrap=True)


def run(command: Callable[..., Any]) -> None:
    """Runs a command's function as a command line program."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        datefmt="%H:%M:%S",
        handlers=[RichHandler(console=console, show_path=False)],
    )
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells which instructions it was built for
    app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)
    app.command()(command)
    try:
        # what a command ends with by typer.Exit, and 130 for an interruption, comes back as a number
        code = app(standalone_mode=False) or 0
    except (BenchError, RerankError) as error:
        _say(f"error: {error}", style="red")
        code = BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        _say(f"error: {unwritable(Path(error.filename or 'what the command says'), error)}", style="red")
        code = BAD_INPUT
    except Exception as error:
        show = getattr(error, "show", None)  # what the option parser raises can show itself
        if show is None:
            raise
        show()
        code = BAD_INPUT
    if code == INTERRUPTED:
        _say("interrupted: the same command goes on where it stopped", style="yellow")
    sys.exit(code)


def _say(text: str, *, style: str) -> None:
    """The last words; where they cannot be written either, the exit code has to do."""
    with suppress(OSError):
        console.print(text, style=style, markup=False, highlight=False)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # what was not said stays unsaid: Python would try again at the end, and change the exit code
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Shows how far a long job is: a bar with the time left, or a line every tenth where there is no terminal."""
    if not console.is_terminal:
        yield _Milestones(title)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def silent(title: str) -> Iterator[Callable[[int, int], None]]:
    """Shows nothing: for a process beside the one that shows."""
    yield lambda done, total: None


class _Milestones:
    """Progress as log lines, a few seconds apart; a job that is done at once stays silent."""

    def __init__(self, title: str) -> None:
        self.title, self.begun = title, time.monotonic()
        self.first: int | None = None
        self.tenth, self.said = 0, self.begun

    def __call__(self, done: int, total: int) -> None:
        self.first = done if self.first is None else self.first
        tenth = 10 * done // max(total, 1)
        now, fresh = time.monotonic(), done - self.first
        if tenth <= self.tenth or now - self.said < QUIET_S or not fresh:
            return
        elapsed, self.tenth, self.said = now - self.begun, tenth, now
        log.info("%s: %d of %d, %.0f s left", self.title, done, total, elapsed / fresh * (total - done))
