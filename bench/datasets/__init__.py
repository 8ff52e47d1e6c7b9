"""Data sets: what is asked (queries), of what (a gallery), and what is right (the ground truth)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.datasets import facades
from bench.datasets.base import Dataset
from bench.datasets.folder import load_folder
from bench.errors import BenchError, unknown_name

__all__ = ["Dataset", "load", "load_folder", "names"]


def names() -> list[str]:
    """Data sets that are there without a path."""
    return list(facades.SUBSETS)


def load(
    name: str, *, cache: Path, workers: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> Dataset:
    """A data set by its name, or by the path of a folder with own images.

    An embedded one is rendered into `cache` by `workers` processes on first use.
    Raises BenchError for a name that does not exist, and for a folder without a proper ground truth.
    """
    if name in facades.SUBSETS:
        recipe = facades.SUBSETS[name]
        folder = facades.ensure(recipe, cache / "datasets", workers=workers, progress=progress)
        return load_folder(folder, name=name)
    if Path(name).is_dir():
        return load_folder(Path(name))
    if "/" in name or "\\" in name or name.startswith("."):
        raise BenchError(f"no folder {name}", wanted="a folder of images", cure="Check the path that --dataset names.")
    raise unknown_name("data set", name, names(), cure="Or pass the path of a folder with a ground_truth.json.")
