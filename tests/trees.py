"""Small made-up data sets in the exact layouts of the official ones: images of a few textures, and the official lists.

Every builder writes one data set below a data root and returns its folder. Images of one texture belong together.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from tests.support import SMALL

REAL_TRUTH = {
    "roxford5k": SMALL / "metrics-rrt_protocol-a" / "gnd_roxford5k.json",
    "rparis6k": SMALL.parent / "data" / "revisitop" / "gnd_rparis6k.json",
}
TEXTURES, VIEWS = 4, 5


def picture(path: Path, texture: int, view: int = 0) -> Path:
    """A crop of one of a few textures, each view at another place."""
    random = np.random.default_rng(texture)
    whole = cv2.resize(random.integers(0, 255, (28, 28, 3), dtype=np.uint8), (140, 140))
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), whole[3 * view : 3 * view + 120, 2 * view : 2 * view + 120])
    return path


def write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf8")


def pickled(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(document, protocol=2))


def views(folder: Path, form: str, *, first: int = 0) -> list[tuple[str, int]]:
    """Images of all textures from the first on, named by `form` of texture and view; with the texture of each."""
    found = []
    for texture in range(first, first + TEXTURES):
        for view in range(VIEWS):
            name = form.format(texture=texture, view=view)
            picture(folder / name, texture, view)
            found.append((name, texture))
    return found


def truth_of(name: str) -> dict[str, Any]:
    """The real ground truth of Revisited Oxford or Paris."""
    return json.loads(REAL_TRUTH[name].read_text(encoding="utf8"))


def revisited(root: Path, name: str) -> Path:
    """The real ground truth, without images: they are described already."""
    pickled(root / name / f"gnd_{name}.pkl", truth_of(name))
    return root / name


def landmarks(root: Path) -> Path:
    folder = root / "gldv2"
    ids = [f"{texture}{view}a{texture * VIEWS + view:013x}" for texture in range(TEXTURES) for view in range(VIEWS)]
    for number, one in enumerate(ids):
        picture(folder / "index" / "/".join(one[:3]) / f"{one}.jpg", number // VIEWS, number % VIEWS)
    write(
        folder / "index_image_to_landmark.csv",
        ["id,landmark_id", *(f"{one},{n // VIEWS}" for n, one in enumerate(ids))],
    )
    rows = []
    for number, usage in enumerate(("Private", "Public", "Ignored", "Private")):
        query = f"f{number}e{number:013x}"
        picture(folder / "test" / "/".join(query[:3]) / f"{query}.jpg", number, 6)
        images = "None" if usage == "Ignored" else " ".join(ids[number * VIEWS : (number + 1) * VIEWS])
        rows.append(f"{query},{images},{usage}")
    write(folder / "retrieval_solution_v2.1.csv", ["id,images,Usage", *rows])
    return folder


def landmarks_pickled(root: Path) -> Path:
    """The same task as AMES and ELViS publish it."""
    folder = root / "gldv2-test"
    gallery = views(folder, "index/{texture}/{texture}{view}.jpg")
    queries = [f"test/{texture}.jpg" for texture in range(3)]
    for texture, name in enumerate(queries):
        picture(folder / name, texture, 6)
    write(folder / "test_gallery.txt", [name for name, _ in gallery])
    write(folder / "test_query.txt", [f"{name},{texture},120,120" for texture, name in enumerate(queries)])
    right = [[n for n, (_, kind) in enumerate(gallery) if kind == texture] for texture in range(3)]
    pickled(folder / "gnd_gldv2-test.pkl", {"gnd": [{"ok": one} for one in right]})
    return folder


def instances(root: Path, name: str) -> Path:
    """INSTRE with boxes and names in the pickle; Product1M with names in lists and junk."""
    folder = root / name
    gallery = views(folder, "gallery/{texture:02d}_{view}.jpg")
    queries = [f"queries/{texture}.jpg" for texture in range(TEXTURES)]
    for texture, query in enumerate(queries):
        picture(folder / query, texture, 6)
    gnd = [
        {"ok": [n for n, (_, kind) in enumerate(gallery) if kind == texture and n % VIEWS]}
        | ({"bbx": [4, 4, 110, 110]} if name == "instre" else {"junk": np.array([texture * VIEWS])})
        for texture in range(TEXTURES)
    ]
    names = {"imlist": [one for one, _ in gallery], "qimlist": queries}
    if name == "product1m":
        write(folder / "test_gallery.txt", names["imlist"])
        write(folder / "test_query.txt", names["qimlist"])
        names = {}
    pickled(folder / f"gnd_{name}.pkl", {**names, "gnd": gnd})
    return folder


def products(root: Path) -> Path:
    folder = root / "sop" / "Stanford_Online_Products"
    rows = views(folder, "kettle_final/{texture}_{view}.JPG")
    head = "image_id class_id super_class_id path"
    write(
        folder / "Ebay_test.txt",
        [head, *(f"{n} {11318 + kind + 1} 1 {name}" for n, (name, kind) in enumerate(rows, 1))],
    )
    return folder.parent


def birds(root: Path) -> Path:
    folder = root / "cub" / "CUB_200_2011"
    rows = views(folder / "images", "{texture:03d}.Bird/{view}.jpg")
    write(folder / "images.txt", [f"{n} {name}" for n, (name, _) in enumerate(rows, 1)])
    # the first texture belongs to a class that is trained on
    write(folder / "image_class_labels.txt", [f"{n} {100 + kind}" for n, (_, kind) in enumerate(rows, 1)])
    return folder.parent


def clothes(root: Path) -> Path:
    folder = root / "inshop"
    rows = views(folder, "img/WOMEN/Dresses/id_{texture:08d}/0{view}_1_front.jpg")
    status = ["train" if kind == 0 else "query" if n % VIEWS < 2 else "gallery" for n, (_, kind) in enumerate(rows)]
    lines = [f"{name}   id_{kind:08d}  {one}" for (name, kind), one in zip(rows, status, strict=True)]
    write(folder / "Eval" / "list_eval_partition.txt", [str(len(rows)), "image_name item_id evaluation_status", *lines])
    return folder


def museum(root: Path) -> Path:
    folder = root / "met"
    rows = views(folder, "MET/{texture}/{view}.jpg")
    queries: list[dict[str, Any]] = []
    for texture in range(TEXTURES - 1):
        path = picture(folder / "test_met" / f"{texture}.jpg", texture, 6)
        queries.append({"path": str(path.relative_to(folder)), "MET_id": texture})
    picture(folder / "test_noart" / "a.jpg", 9)
    queries.append({"path": "test_noart/a.jpg"})
    (folder / "ground_truth").mkdir()
    shown = [{"id": kind, "path": name} for name, kind in rows]
    for name, content in (("MET_database.json", shown), ("testset.json", queries)):
        (folder / "ground_truth" / name).write_text(json.dumps(content))
    return folder


def listed(root: Path, name: str) -> Path:
    """Lists of `path,class`; the queries are images of the gallery."""
    folder = root / name
    rows = views(folder, "images/{texture}_{view}.jpg")
    write(folder / "test_gallery.txt", [f"{one},{kind}" for one, kind in rows])
    write(folder / "test_query.txt", [f"{one},{kind}" for one, kind in rows[::2]])
    return folder


#: Data set -> who writes it. Those of Revisited Oxford and Paris are real, and have no images.
TREES: Mapping[str, Callable[[Path], Path]] = {
    "gldv2": landmarks,
    "instre": lambda root: instances(root, "instre"),
    "product1m": lambda root: instances(root, "product1m"),
    "sop": products,
    "cub": birds,
    "inshop": clothes,
    "met": museum,
    "rp2k": lambda root: listed(root, "rp2k"),
    "sop-1k": lambda root: listed(root, "sop-1k"),
}


def random_descriptors(
    folder: Path,
    stem: str,
    count: int,
    *,
    locals: int = 12,
    local_dim: int = 16,
    global_dim: int = 24,
    seed: int = 0,
    fields: bool = False,
) -> None:
    """Published stores `<stem>local.hdf5` (float16) and `<stem>global.pt` (raw float32), of random unit vectors.

    fields: columns and descriptors apart, and no global descriptors, as AMES publishes them.
    """
    random = np.random.default_rng([seed, count])
    folder.mkdir(parents=True, exist_ok=True)
    rows = random.standard_normal((count, locals, 5 + local_dim), dtype=np.float32)
    rows[..., 5:] /= np.linalg.norm(rows[..., 5:], axis=2, keepdims=True)
    rows[..., :2], rows[..., 2], rows[..., 3], rows[..., 4] = random.random((count, locals, 2)), 0, 0, 1
    with h5py.File(folder / f"{stem}local.hdf5", "w") as file:
        if fields:
            kind = np.dtype([("metadata", "<f4", (locals, 5)), ("descriptor", "<f2", (locals, local_dim))])
            apart = np.zeros(count, kind)
            apart["metadata"], apart["descriptor"] = rows[..., :5], rows[..., 5:]
            file.create_dataset("features", data=apart)
            return
        file.create_dataset("features", data=rows.astype(np.float16))
    vectors = random.standard_normal((count, global_dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors.tofile(folder / f"{stem}global.pt")
