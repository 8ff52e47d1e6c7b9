"""INSTRE (Wang and Jiang, TOMM 2015; protocol of Iscen et al., CVPR 2017) and Product1M (Zhan et al., ICCV 2021)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.datasets.base import Dataset, Task
from bench.datasets.ground_truth import parsed, read_ground_truth
from bench.datasets.listed import first_file, read_list
from bench.datasets.matlab import read_variables
from bench.errors import BenchError


def load_instances(name: str, folder: Path) -> Dataset:
    """`gnd_<name>.pkl` with `ok` and perhaps `junk` of each query; names in it, or in `test_{gallery,query}.txt`.

    Or `gnd_<name>.mat`, as INSTRE's is published.
    """
    source = first_file(folder, [f"gnd_{name}.{ending}" for ending in ("pkl", "json", "mat")], page=name)
    lists = {side: folder / f"test_{side}.txt" for side in ("gallery", "query")}
    names = {side: read_list(path).names if path.is_file() else None for side, path in lists.items()}
    truth = (
        parsed(_matlab(source), str(source))
        if source.suffix == ".mat"
        else read_ground_truth(source, gallery=names["gallery"], queries=names["query"])
    )
    return Dataset(
        name,
        folder,
        truth,
        Task.INSTANCES,
        layout=name,
        images=(folder, folder / "jpg", folder / "images"),
    )


def _matlab(path: Path) -> dict[str, Any]:
    """The content of MATLAB's file in the layout of the others: it counts from 1, and boxes have width and height."""
    try:
        stored = read_variables(path)
        found: dict[str, Any] = {key: stored[key] for key in ("imlist", "qimlist")}
        found["gnd"] = []
        for places, box in (list(entry.values())[:2] for entry in stored["gnd"]):
            left, top, width, height = map(float, box)
            ok = [int(place) - 1 for place in places]
            found["gnd"].append({"ok": ok, "bbx": [left, top, left + width, top + height]})
    except Exception as error:  # whatever bytes lead to that no MATLAB wrote
        raise BenchError(
            f"cannot read {path} ({type(error).__name__}: {error!s:.200})",
            wanted="imlist, qimlist, and gnd with the positives and the box of each query",
            cure="Fetch it again; see docs/datasets/instre.md.",
        ) from error
    return found
