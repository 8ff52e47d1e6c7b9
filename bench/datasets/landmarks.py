"""Google Landmarks v2, the retrieval task (Weyand et al., CVPR 2020): an index, public and private test queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.datasets.base import Dataset, Task
from bench.datasets.ground_truth import GroundTruth, QueryTruth, read_ground_truth, safe_names
from bench.datasets.listed import first_file, flaw, read_csv, read_list

SOLUTION = "retrieval_solution_v2.1.csv"
INDEX = ("index_image_to_landmark.csv", "index.csv")
#: The same queries and index as AMES and ELViS publish them.
PICKLED = "gnd_gldv2-test.pkl"
#: Of the pickled form: the last ones are private.
PRIVATE = 750
USAGES = ("Public", "Private")
NONE = np.empty(0, dtype=np.int64)


def load_landmarks(name: str, folder: Path) -> Dataset:
    """The official CSV files, or lists and a pickle. `gldv2-val`: the public queries alone, to choose blends on."""
    source = first_file(folder, [SOLUTION, PICKLED], page="gldv2")
    truth, private = _official(source, folder) if source.name == SOLUTION else _pickled(source, folder)
    if name == "gldv2-val":
        public = len(truth.queries) - private
        truth, private = GroundTruth(truth.gallery, truth.queries[:public], truth.truths[:public]), 0
    return Dataset(name, folder, truth, Task.LANDMARKS, name, private=private)


def _official(solution: Path, folder: Path) -> tuple[GroundTruth, int]:
    """The truth, public queries first, and the number of private ones."""
    index = first_file(folder, INDEX, page="gldv2")
    ids = [row["id"] for row in read_csv(index, columns=["id"])]
    place = {image: number for number, image in enumerate(ids)}
    queries: dict[str, list[tuple[str, QueryTruth]]] = {usage: [] for usage in USAGES}
    for number, row in enumerate(read_csv(solution, columns=["id", "images", "Usage"]), 2):
        if row["Usage"] not in USAGES:
            continue
        images = row["images"].split()
        if unknown := [image for image in images if image not in place]:
            raise flaw(solution, number, f"the image {unknown[0]}", wanted=f"images that {index.name} lists")
        right = np.unique(np.array([place[image] for image in images], dtype=np.int64))
        queries[row["Usage"]].append((row["id"], QueryTruth(NONE, right, NONE)))
    chosen = [one for usage in USAGES for one in queries[usage]]
    return (
        GroundTruth(
            safe_names([_sharded("index", image) for image in ids], str(index)),
            safe_names([_sharded("test", query) for query, _ in chosen], str(solution)),
            tuple(truth for _, truth in chosen),
        ),
        len(queries["Private"]),
    )


def _pickled(source: Path, folder: Path) -> tuple[GroundTruth, int]:
    gallery, queries = (read_list(folder / f"test_{side}.txt").names for side in ("gallery", "query"))
    truth = read_ground_truth(source, gallery=gallery, queries=queries)
    return truth, min(PRIVATE, len(truth.queries))


def _sharded(side: str, image: str) -> str:
    """Where the official archives put an image: `index/a/b/c/abc....jpg`."""
    return "/".join((side, *image[:3], f"{image}.jpg"))
