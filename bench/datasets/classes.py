"""Data sets in which an image is right for a query of its own class.

Stanford Online Products (Song et al., CVPR 2016), CUB-200-2011 (Wah et al., 2011), In-Shop (Liu et al., CVPR 2016),
Met (Ypsilantis et al., NeurIPS 2021), RP2K (Peng et al., 2020) and SOP-1k (ELViS, ICLR 2026). A query that is an image
of the gallery, by its name, is junk for itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import Dataset, Task
from bench.datasets.ground_truth import GroundTruth, QueryTruth, safe_names
from bench.datasets.listed import Listed, first_file, flaw, read_columns, read_list
from bench.errors import BenchError

#: CUB's second half, on which metric learning tests (Song et al., section 5).
CUB_TESTED = range(101, 201)

_CLASS = re.compile("[0-9]{1,9}")

Sides = tuple[Listed, Listed, Path]


def load_classes(name: str, folder: Path) -> Dataset:
    """The data set `name`, in its official layout or as lists `test_{query,gallery}.txt` of `path,class`."""
    lists = ("test_query.txt", "test_gallery.txt")
    if name in OFFICIAL and not all((folder / one).is_file() for one in lists):
        queries, gallery, images = OFFICIAL[name](folder)
    else:
        queries, gallery = (read_list(first_file(folder, [one], page=name)) for one in lists)
        images = folder
    for side, listed in (("query", queries), ("gallery", gallery)):
        if len(listed.classes) != len(listed.names) or not listed.names:
            raise BenchError(
                f"{len(listed.classes)} classes of {len(listed.names)} {side} images of {name} in {folder}",
                wanted="images, each with its class",
                cure=f"See docs/datasets/{name}.md for the layout.",
            )
    truth = GroundTruth(gallery.names, queries.names, truths(queries, gallery))
    return Dataset(name, folder, truth, Task.CLASSES, layout=name, images=(images, images / "images", images / "img"))


def truths(queries: Listed, gallery: Listed) -> tuple[QueryTruth, ...]:
    """For each query: the gallery's images of its class, and itself as junk where it is one of them."""
    numbers: dict[str, list[int]] = {}  # not by numpy, in which all names would take as much as the longest
    for number, kind in enumerate(gallery.classes):
        numbers.setdefault(kind, []).append(number)
    members = {kind: np.array(found, dtype=np.int64) for kind, found in numbers.items()}
    place = {name: number for number, name in enumerate(gallery.names)}
    none = np.empty(0, dtype=np.int64)
    found = []
    for name, kind in zip(queries.names, queries.classes, strict=True):
        same, own = members.get(kind, none), place.get(name)
        if own is None:
            found.append(QueryTruth(none, same, none))
        else:
            found.append(QueryTruth(none, same[same != own], np.array([own], dtype=np.int64)))
    return tuple(found)


def _products(folder: Path) -> Sides:
    listing = first_file(folder, ["Ebay_test.txt", "Stanford_Online_Products/Ebay_test.txt"], page="sop")
    rows = list(read_columns(listing, names=["image_id", "class_id", "super_class_id", "path"], skipped=1))
    tested = _listed(listing, [row["path"] for row in rows], [row["class_id"] for row in rows])
    return tested, tested, listing.parent


def _birds(folder: Path) -> Sides:
    listing = first_file(folder, ["images.txt", "CUB_200_2011/images.txt"], page="cub")
    labels = listing.parent / "image_class_labels.txt"
    kinds = {row["id"]: row["class"] for row in read_columns(labels, names=["id", "class"])}
    rows = list(read_columns(listing, names=["id", "path"]))
    if strangers := [row["id"] for row in rows if not _CLASS.fullmatch(kinds.get(row["id"], ""))]:
        raise flaw(labels, 0, f"no class of image {strangers[0]}", wanted=f"one for each image of {listing.name}")
    rows = [row for row in rows if int(kinds[row["id"]]) in CUB_TESTED]
    tested = _listed(listing, [row["path"] for row in rows], [kinds[row["id"]] for row in rows])
    return tested, tested, listing.parent


def _clothes(folder: Path) -> Sides:
    name = "list_eval_partition.txt"
    listing = first_file(folder, [name, f"Eval/{name}", f"Anno/{name}"], page="inshop")
    rows = list(read_columns(listing, names=["image_name", "item_id", "evaluation_status"], skipped=2))

    def side(status: str) -> Listed:
        chosen = [row for row in rows if row["evaluation_status"] == status]
        return _listed(listing, [row["image_name"] for row in chosen], [row["item_id"] for row in chosen])

    inner = folder / "Img"
    return side("query"), side("gallery"), inner if inner.is_dir() else folder


def _museum(folder: Path) -> Sides:
    names = ("MET_database.json", "testset.json")
    gallery, queries = (first_file(folder, [f"ground_truth/{name}", name], page="met") for name in names)
    shown, asked = _entries(gallery, "id", everyone=True), _entries(queries, "MET_id", everyone=False)
    inner = folder / "images"
    return asked, shown, inner if inner.is_dir() else folder


def _entries(path: Path, key: str, *, everyone: bool) -> Listed:
    """Images of a Met list. A query without a class shows no exhibit, and nothing is right for it."""
    try:
        rows: Any = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(
            f"cannot read {path} ({error!s:.200})", wanted="a JSON list", cure="Fetch it again."
        ) from error
    wanted = {"path", key} if everyone else {"path"}
    if not isinstance(rows, list) or not all(isinstance(row, dict) and wanted <= row.keys() for row in rows):
        raise flaw(path, 1, "no list of images", wanted=f"objects with `path` and `{key}`")
    if not all(isinstance(row.get(key, ""), str | int) for row in rows):
        raise flaw(path, 1, f"a `{key}` that is no number", wanted="one for each image")
    return _listed(path, [row["path"] for row in rows], [f"{row.get(key, '')}" for row in rows])


def _listed(path: Path, names: Sequence[str], classes: Sequence[str]) -> Listed:
    return Listed(safe_names(list(names), str(path)), tuple(classes))


OFFICIAL: dict[str, Callable[[Path], Sides]] = {
    "sop": _products,
    "cub": _birds,
    "inshop": _clothes,
    "met": _museum,
}
