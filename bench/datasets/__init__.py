"""Data sets: what is asked (queries), of what (a gallery), and what is right (the ground truth)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.datasets import facades
from bench.datasets.base import Dataset, Distractors, Task
from bench.datasets.folder import load_folder
from bench.datasets.layouts import LAYOUTS
from bench.datasets.revisited import DISTRACTORS, load_distractors
from bench.errors import BenchError, unknown_name

__all__ = ["Dataset", "Distractors", "Task", "load", "load_folder", "names", "reopen"]

#: "+1m", "+250k": how many distractors stand behind a gallery.
_COUNT = re.compile(r"([1-9]\d*)([km]?)")
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


def names() -> list[str]:
    """Data sets that are there without a path, and those that are there once their data are."""
    return [*facades.SUBSETS, *LAYOUTS]


def load(
    name: str,
    *,
    cache: Path,
    workers: int,
    data_root: Path | None = None,
    renders: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """A data set by its name, or by the path of a folder with own images.

    An embedded one is rendered into `cache` by `workers` processes on first use, unless `renders` says otherwise; those
    of papers lie in `data_root`.
    `NAME+1m` puts distractors behind the gallery: those of Revisited Oxford and Paris, or made-up ones (`facades+1m`).
    Raises BenchError for a name that does not exist, data that are not there, and a ground truth that does not hold.
    """
    plain, plus, extra = name.partition("+")
    if plain in facades.SUBSETS:
        recipe, root = facades.SUBSETS[plain], cache / "datasets"
        if not renders and not facades.is_complete(facades.folder_of(recipe, root), recipe):
            raise BenchError(
                f"{plain} is not rendered in {root}",
                wanted="its images",
                cure="Any command that evaluates it renders it.",
            )
        folder = facades.ensure(recipe, root, workers=workers, progress=progress)
        found = load_folder(folder, name=plain)
    elif plain in LAYOUTS:
        found = LAYOUTS[plain].load(plain, _official_folder(plain, data_root))
    elif Path(name).is_dir():
        return load_folder(Path(name))
    elif "/" in name or "\\" in name or name.startswith("."):
        raise BenchError(f"no folder {name}", wanted="a folder of images", cure="Check the path that --dataset names.")
    else:
        raise unknown_name("data set", plain, names(), cure="Or pass the path of a folder with a ground_truth.json.")
    return replace(found, name=name, distractors=_distractors(found, extra, data_root)) if plus else found


def reopen(name: str, folder: Path, layout: str) -> Dataset:
    """The data set that `load` has found in `folder`, without its distractors: what a cell needs to evaluate."""
    if layout == "folder":
        return load_folder(folder, name=name)
    return replace(LAYOUTS[layout].load(layout, folder), name=name)


def _official_folder(name: str, data_root: Path | None) -> Path:
    layout = LAYOUTS[name]
    cure = f"Run `python -m bench.fetch {layout.folders[0]}`, or see docs/datasets/README.md for where to put the data."
    if data_root is None:
        raise BenchError(
            f"the data set {name} without its data", wanted="a command that takes --data-root FOLDER", cure=cure
        )
    for folder in layout.folders:
        if (data_root / folder).is_dir():
            return data_root / folder
    raise BenchError(f"no {' or '.join(layout.folders)} in {data_root}", wanted="a folder of that name", cure=cure)


def _distractors(dataset: Dataset, extra: str, data_root: Path | None) -> Distractors:
    """Those behind `+`."""
    counted = _COUNT.fullmatch(extra)
    count = int(counted[1]) * _UNITS[counted[2]] if counted else 0
    official = dataset.layout != "folder"
    if not counted or (official and (extra != "1m" or dataset.task is not Task.REVISITED)):
        raise BenchError(
            f"distractors +{extra} behind {dataset.name}",
            wanted="+1m behind roxford5k and rparis6k; a number such as +10k or +1m behind embedded data",
            cure=f"Correct the name, or leave it at {dataset.name}.",
        )
    if not official:
        return Distractors(f"{count} synthetic", count)
    folder = None if data_root is None else data_root / DISTRACTORS
    if folder is None or not folder.is_dir():
        raise BenchError(
            f"no {DISTRACTORS} in {data_root}",
            wanted="the folder of the million distractors, or of their descriptors",
            cure=f"Run `python -m bench.fetch {DISTRACTORS}`, or see docs/datasets/{DISTRACTORS}.md.",
        )
    return load_distractors(folder)
