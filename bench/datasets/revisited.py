"""Revisited Oxford and Paris (Radenovic et al., CVPR 2018), and their million distractors."""

from __future__ import annotations

from pathlib import Path

from bench.datasets.base import Dataset, Distractors
from bench.datasets.ground_truth import read_ground_truth
from bench.datasets.listed import first_file, read_list

DISTRACTORS = "revisitop1m"


def load_revisited(name: str, folder: Path) -> Dataset:
    """`gnd_<name>.pkl` (or .json, as ours) and `jpg/`."""
    truth = first_file(folder, [f"gnd_{name}.pkl", f"gnd_{name}.json"], page=name)
    return Dataset(name, folder, read_ground_truth(truth), layout=name)


def load_distractors(folder: Path) -> Distractors:
    """`revisitop1m.txt` beside `jpg/`; without the list, stored descriptors say how many there are."""
    listed = folder / f"{DISTRACTORS}.txt"
    images = read_list(listed).names if listed.is_file() else ()
    return Distractors(DISTRACTORS, len(images) or None, folder, images)
