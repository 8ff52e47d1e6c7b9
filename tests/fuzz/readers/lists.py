"""Lists of images in the layouts of data sets; every layout gets the bytes of all."""

from __future__ import annotations

import codecs
import json
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import savemat

from bench.datasets.classes import load_classes
from bench.datasets.instances import load_instances
from bench.datasets.landmarks import load_landmarks
from bench.datasets.listed import read_list
from bench.datasets.revisited import load_distractors
from tests.fuzz.reading import REFUSALS, Reader

WHOLE = {
    "sop/Ebay_test.txt": b"image_id class_id super_class_id path\n1 1 1 a/b.JPG\n2 1 1 a/c.JPG\n",
    "cub/images.txt": b"1 101.x/a.jpg\n2 102.y/b.jpg\n",
    "cub/image_class_labels.txt": b"1 101\n2 102\n",
    "inshop/list_eval_partition.txt": b"2\nimage_name item_id evaluation_status\nimg/a id_1 query\nb id_1 gallery\n",
    "met/MET_database.json": json.dumps([{"path": "a", "id": 1}, {"path": "b", "id": 2}]).encode(),
    "met/testset.json": json.dumps([{"path": "q", "MET_id": 1}, {"path": "r"}]).encode(),
    "rp2k/test_query.txt": b"a.jpg,1\nb.jpg,2\n",
    "rp2k/test_gallery.txt": b"c.jpg,1,640,480\nd.jpg,2,640,480\n",
    "gldv2/index.csv": b"id\nabc1\nabc2\n",
    "gldv2/retrieval_solution_v2.1.csv": b"id,images,Usage\nq1,abc1 abc2,Public\nq2,abc2,Private\nq3,None,Ignored\n",
    "product1m/gnd_product1m.json": json.dumps({"gnd": [{"ok": [0]}]}).encode(),
    "product1m/test_gallery.txt": b"a\n",
    "product1m/test_query.txt": b"q\n",
    "revisitop1m/revisitop1m.txt": b"a/b.jpg\nc/d.jpg\n",
}
LOAD: dict[str, Callable[[Path], object]] = {
    **{name: partial(load_classes, name) for name in ("sop", "cub", "inshop", "met", "rp2k")},
    "gldv2": partial(load_landmarks, "gldv2-val"),
    "product1m": partial(load_instances, "product1m"),
    "revisitop1m": load_distractors,
}


def layouts(folder: Path) -> None:
    """For each file a folder in which it is the bytes that are tried, and the others of its data set are whole."""
    for number, name in enumerate(WHOLE):
        home = folder / f"{number}" / name.split("/")[0]
        home.mkdir(parents=True, exist_ok=True)
        for other, content in WHOLE.items():
            if other.split("/")[0] == home.name and other != name:
                (home / Path(other).name).write_bytes(content)
        touched = home / Path(name).name
        if not touched.is_symlink():
            touched.symlink_to(folder / "case.txt")


def seeds(_: Path) -> Iterator[bytes]:
    yield from WHOLE.values()


def read(path: Path) -> None:
    """Three of the layouts, by the bytes, for all take their time."""
    chance = zlib.crc32(path.read_bytes())
    for number, name in enumerate(WHOLE):
        if number % 5 != chance % 5:
            continue
        home = path.parent / f"{number}" / name.split("/")[0]
        try:
            found = LOAD[home.name](home)
            _ = getattr(found, "sha256", None)
        except REFUSALS:
            continue


def matlab(folder: Path) -> Iterator[bytes]:
    codecs.lookup("utf-16-le"), codecs.lookup("utf-16-be")  # imported before the watch looks on
    names = np.array([["a"], ["b"]], dtype=object)
    truth = np.zeros((1, 1), dtype=[("ok", object), ("bbx", object)])
    truth[0, 0] = np.array([[1.0, 2.0]]), np.array([[0.0, 0.0, 5.0, 6.0]])
    for packed in (False, True):
        savemat(folder / "made.mat", {"imlist": names, "qimlist": names[:1], "gnd": truth}, do_compression=packed)
        yield (folder / "made.mat").read_bytes()


READERS = (
    Reader("lists", "case.txt", seeds, read, prepare=layouts),
    Reader("list", "case.txt", seeds, read_list),
    Reader("matlab", "gnd_instre.mat", matlab, lambda path: load_instances("instre", path.parent)),
)
