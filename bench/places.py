"""Where things are kept on disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from bench.files import unwritable

#: Data sets of papers, where nothing else is said.
DATA_ROOT = Path("data")
#: Of this checkout; a report takes along those that it is made from.
DEFAULT_RECORDS = Path("results")
#: Those that the reports in this checkout were made from.
RECORDS_OF_RECORD = Path(__file__).resolve().parent.parent / "reports" / "records"


def cache_folder(chosen: Path | None) -> Path:
    """Images and descriptors: the folder chosen, or $RERANK_CACHE, or the user's cache folder. Made if need be."""
    return _writable(cache_path(chosen))


def cache_path(chosen: Path | None) -> Path:
    """The same folder, whether it is there or not: for those that only look."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return chosen or Path(os.environ.get("RERANK_CACHE") or Path(base) / "rerank-bench")


def unfinished(cache: Path, records: Path) -> Path:
    """Journals of the cells whose records go to a folder: two runs that share the cache only do not meet in them."""
    return cache / "unfinished" / hashlib.sha256(str(records.resolve()).encode()).hexdigest()[:12]


def records_folder(chosen: Path) -> Path:
    """Records of cells. Made if need be."""
    return _writable(chosen)


def _writable(folder: Path) -> Path:
    """The folder, proved to be writable before any work is done; BenchError otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder
