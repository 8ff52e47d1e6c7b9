"""A folder of images with a `ground_truth.json` in the layout of Revisited Oxford: own images, or facades rendered."""

from __future__ import annotations

from pathlib import Path

from bench.datasets.base import Dataset
from bench.datasets.ground_truth import read_ground_truth
from bench.errors import BenchError

GROUND_TRUTH = "ground_truth.json"


def load_folder(folder: Path, *, name: str | None = None) -> Dataset:
    """The data set in `folder`; BenchError when the folder or its ground truth is missing or wrong."""
    if not folder.is_dir():
        raise BenchError(
            f"no folder {folder}", wanted="a folder of images", cure="Check the path that --dataset names."
        )
    path = folder / GROUND_TRUTH
    if not path.is_file():
        raise BenchError(
            f"no {GROUND_TRUTH} in {folder}",
            wanted="one with imlist, qimlist and gnd (easy, hard, junk and an optional bbx a query)",
            cure="See docs/own-images.md for the layout.",
        )
    return Dataset(name or folder.resolve().name, folder, read_ground_truth(path))
