"""Helpers that several tests share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from safetensors.numpy import load_file, save_file

from bench.parity.case import Case
from bench.results import Record, ResultStore

ROOT = Path(__file__).resolve().parent.parent
SMALL = ROOT / "tests" / "golden"
#: The embedded data set of tests, and what commands are told to be done with it in seconds.
MINI = "facades-mini"
QUICK = {"dataset": MINI, "training": MINI, "local_descriptors": 100, "threads": 1}
#: For tests of limits of memory.
LIMITS_MEMORY = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to RLIMIT_DATA")


def reference_folder() -> Path:
    """Where the full set of reference cases lies, if anywhere: $RERANK_GOLDEN or ../shared/golden."""
    return Path(os.environ.get("RERANK_GOLDEN", ROOT.parent / "shared" / "golden"))


def golden(name: str) -> Path:
    """The folder of a reference case: in the repository, or in the reference folder; else the test is skipped."""
    for folder in (SMALL / name, reference_folder() / name):
        if (folder / "case.json").exists() or (folder / "full_size.json").exists():
            return folder
    pytest.skip(f"reference case {name} is larger than 1 MB and $RERANK_GOLDEN names no folder that holds it")


def altered(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Case:
    """A copy of a reference case in `folder`, with its expected outputs changed."""
    shutil.copytree(golden(name), folder / name)
    stored = load_file(folder / name / "outputs.safetensors")
    change(stored)
    save_file(stored, folder / name / "outputs.safetensors")
    return Case.read(folder / name)


def exit_code(command: Callable[..., None], **options: Any) -> int:
    """Of a command's function, with its defaults for what is not said."""
    with pytest.raises(typer.Exit) as end:
        command(**options)
    return end.value.exit_code


def by_name(records: Path) -> dict[str, Record]:
    """The records of a folder, one for each re-ranker."""
    return {record.key.reranker: record for record in ResultStore(records)}
