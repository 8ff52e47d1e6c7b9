"""What the tests of faults begin with, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.faults.commands import prepare
from tests.faults.report import command_of
from tests.support import ROOT


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images to learn from, and a cache in which everything is described."""
    return prepare(tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="session")
def stocked(ground: Path) -> Path:
    """The same, with some records of every kind, to report of."""
    (ground / "records").mkdir()
    for name in ("none", "chamfer"):
        for path in (ROOT / "reports" / "records").glob(f"*-{name}-*.json"):
            shutil.copy(path, ground / "records")
    return ground


@pytest.fixture(scope="session")
def undisturbed(stocked: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a command that nothing has disturbed, by its name."""

    @cache
    def found(name: str) -> Path:
        folder = command_of(name).ready(tmp_path_factory.mktemp("undisturbed") / "run", stocked)
        assert command_of(name).run(folder, stocked) == 0, (folder / "log").read_text(encoding="utf8")
        return folder

    return found
