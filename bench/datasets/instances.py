"""INSTRE (Wang and Jiang, TOMM 2015; protocol of Iscen et al., CVPR 2017) and Product1M (Zhan et al., ICCV 2021)."""

from __future__ import annotations

from pathlib import Path

from bench.datasets.base import Dataset, Task
from bench.datasets.ground_truth import read_ground_truth
from bench.datasets.listed import first_file, read_list


def load_instances(name: str, folder: Path) -> Dataset:
    """`gnd_<name>.pkl` with `ok` and perhaps `junk` of each query; names in it, or in `test_{gallery,query}.txt`."""
    truth = first_file(folder, [f"gnd_{name}.pkl", f"gnd_{name}.json"], page=name)
    lists = {side: folder / f"test_{side}.txt" for side in ("gallery", "query")}
    names = {side: read_list(path).names if path.is_file() else None for side, path in lists.items()}
    return Dataset(
        name,
        folder,
        read_ground_truth(truth, gallery=names["gallery"], queries=names["query"]),
        Task.INSTANCES,
        layout=name,
        images=(folder, folder / "jpg", folder / "images"),
    )
