"""Every data set of the papers, from its official layout to the report: extract, search, re-rank, evaluate, report."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest
import torch

from bench import accuracy, extract, report
from bench.datasets import load
from bench.metrics import revisited
from bench.results import ResultStore
from tests import trees
from tests.support import MINI, by_name, exit_code

PRESET = "dinov2-s14"
RERANKERS = "none,sg-rerank,chamfer:dinov2"
SHORTLIST = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with all of them."""
    folder = tmp_path_factory.mktemp("data")
    for write in trees.TREES.values():
        write(folder)
    return folder


@pytest.fixture(scope="module")
def records(root):
    return root / "records"


def describe(root, name):
    extract.main(
        dataset=name,
        preset=PRESET,
        allow_random=True,
        side=56,
        top=9,
        data_root=root,
        cache=root / "cache",
        device="cpu",
        threads=2,
    )


def earn(root, records, name, **changes):
    options = {"descriptors": PRESET, "rerankers": RERANKERS, "shortlist": SHORTLIST, "threads": 2}
    return exit_code(
        accuracy.main, dataset=name, data_root=root, cache=root / "cache", records=records / name, **(options | changes)
    )


def similarities(folder):
    """Of all queries and the gallery, by the stored global descriptors."""
    sides = []
    for side in ("query", "gallery"):
        with h5py.File(folder / f"{PRESET}_{side}_global.hdf5") as file:
            sides.append(file["global"][:].astype(np.float64))
    return sides[0] @ sides[1].T


#: Measures that stand in the records of a task.
FIGURES = {
    "landmarks": {"map_at_100", "map_public", "map_private"},
    "instances": {"map_at_100", "recall_at_1", "recall_at_10", "recall_at_100"},
    "classes": {"recall_at_1", "recall_at_10", "recall_at_100", "map_at_r", "map_at_r_locore", "map_at_100"},
}


@pytest.mark.parametrize("name", trees.TREES)
def test_from_images_to_records(root, records, name):
    describe(root, name)
    assert earn(root, records, name) == 0
    found, data = by_name(records / name), load(name, cache=root, workers=1, data_root=root)
    assert [record.status for record in found.values()] == ["ok"] * 3
    for record in found.values():
        ceilings = {one for one in record.figures if one.startswith(("oracle_", "recall_ceiling_"))}
        assert set(record.figures) - {"rerank_seconds"} - ceilings == FIGURES[str(data.task)]
        assert bool(ceilings) == record.key.reranker.startswith("none")
        assert "DINOv2 ViT-S/14, random weights, 56 px, top 9" in record.key.descriptors
        crop = "query crop" if name == "instre" else "whole queries"
        assert crop in record.key.descriptors and record.key.dataset == name
    scores, hits = similarities(data.folder), []
    for row, truth in zip(scores, data.truth.truths, strict=True):
        row[truth.junk] = -np.inf
        if truth.hard.size:
            hits.append(np.argmax(row) in truth.hard)
    first = found["none:first-stage"]
    if "recall_at_1" in first.figures:
        assert first.figure("recall_at_1").value == pytest.approx(np.mean(hits))
    else:
        assert np.mean([ap for ap in first.series["ap_at_100"] if ap is not None]) == first.figure("map_at_100").value


def test_all_of_them_in_one_report(root, records, tmp_path):
    store = ResultStore(tmp_path / "records")
    for name in trees.TREES:
        for record in ResultStore(records / name):
            store.put(record)
    report.main(records=tmp_path / "records", out=tmp_path / "reports")
    page = (tmp_path / "reports" / "README.md").read_text()
    for name in trees.TREES:
        assert f"### Accuracy on {name}, shortlist of {SHORTLIST}, junk behind" in page
    assert "mAP@100 private" in page and "mAP@R as LOCORE sums it" in page
    sheet = (tmp_path / "reports" / "accuracy.csv").read_text()
    assert "map_at_r_locore" in sheet and "gain_at_r" in sheet
    assert (tmp_path / "reports" / "scatter_sop-top8_before_after_at_r.png").exists()
    # papers have values of SOP, by other networks than these
    assert "R@1" in (tmp_path / "reports" / "published.md").read_text()


DISTRACTORS = 3000


@pytest.fixture(scope="module")
def oxford(root):
    """The real ground truth of ROxford and RParis, with random descriptors of all images and of some distractors."""
    for name in trees.REAL_TRUTH:
        folder, truth = trees.revisited(root, name), trees.truth_of(name)
        trees.random_descriptors(folder, "made_query_", len(truth["qimlist"]), seed=1)
        trees.random_descriptors(folder, "made_gallery_", len(truth["imlist"]), seed=2)
    trees.write(root / "revisitop1m" / "revisitop1m.txt", [f"{number}.jpg" for number in range(DISTRACTORS)])
    trees.random_descriptors(root / "revisitop1m", "made_", DISTRACTORS, seed=3)
    return root


def by_hand(root, name):
    """mAP of whole lists, sorted here."""
    plain = name.partition("+")[0]
    parts = [(root / plain, "made_gallery_"), *([(root / "revisitop1m", "made_")] if "+" in name else [])]
    gallery = np.concatenate(
        [np.fromfile(folder / f"{stem}global.pt", np.float32).reshape(-1, 24) for folder, stem in parts]
    )
    queries = np.fromfile(root / plain / "made_query_global.pt", np.float32).reshape(-1, 24)
    lists = np.argsort(-(queries.astype(np.float64) @ gallery.T.astype(np.float64)), axis=1, kind="stable")
    truths = load(plain, cache=root, workers=1, data_root=root).truth.truths
    found = revisited.evaluate(lists, truths, protocols=("easy", "medium", "hard"))
    return {protocol: float(one.map) for protocol, one in found.items()}


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k", "roxford5k+1m", "rparis6k+1m"])
def test_real_ground_truth_with_and_without_distractors(oxford, records, name, monkeypatch):
    if "+" in name:
        monkeypatch.setattr("bench.first_stage.WHOLE", 0)  # as a million distractors do
    assert earn(oxford, records, name, descriptors="made", shortlist=60) == 0
    found = by_name(records / name)
    assert [record.status for record in found.values()] == ["ok"] * 3
    for protocol, value in by_hand(oxford, name).items():
        assert found["none:first-stage"].figure(f"map_{protocol}").value == pytest.approx(value, abs=1e-9)
    said = found["none:first-stage"].key.descriptors
    assert "files that do not say how they were made" in said and ("distractors: revisitop1m" in said) == ("+" in name)
    assert found["chamfer:dinov2"].scores_sha256 != found["none:first-stage"].scores_sha256


def test_places_without_sizes_are_no_places(oxford, records):
    assert earn(oxford, records / "places", "roxford5k", descriptors="made", shortlist=5, rerankers="ransac") == 2
    record = by_name(records / "places" / "roxford5k")["ransac:affine"]
    assert record.status == "failed" and "shares of images whose sizes are not known" in record.reason


@pytest.fixture
def pictured(tmp_path):
    """Two queries, a gallery and distractors as Revisited Oxford has them, all with images."""
    folder = tmp_path / "roxford5k"
    gallery = trees.views(folder, "jpg/a{texture}_{view}.jpg")
    names = [name.removeprefix("jpg/").removesuffix(".jpg") for name, _ in gallery]
    gnd = []
    for texture in range(2):
        trees.picture(folder / "jpg" / f"q{texture}.jpg", texture, 6)
        first = trees.VIEWS * texture
        labels = {"easy": [first], "hard": [first + 1, first + 3, first + 4], "junk": [first + 2]}
        gnd.append({"bbx": [2, 2, 118, 118], **labels})
    trees.pickled(folder / "gnd_roxford5k.pkl", {"imlist": names, "qimlist": ["q0", "q1"], "gnd": gnd})
    behind = trees.views(tmp_path / "revisitop1m" / "jpg", "{texture}/{view}.jpg", first=20)
    trees.write(tmp_path / "revisitop1m" / "revisitop1m.txt", [name for name, _ in behind])
    return tmp_path


def test_real_distractors_are_described_beside_the_data(pictured):
    """Extracted in one call, by a preset and by this suite's own descriptors."""
    name, options = "roxford5k+1m", {"rerankers": "none,ransac", "shortlist": 40}
    places = {"data_root": pictured, "cache": pictured}
    extract.main(dataset=name, preset="rootsift", top=40, device="cpu", threads=1, **places)
    made = sorted(path.name for path in (pictured / "revisitop1m").glob("*.hdf5"))
    assert made == ["rootsift_local.hdf5", "rootsift_size.hdf5"]
    own = {**options, "descriptors": None, "training": MINI, "local_descriptors": 40}
    assert earn(pictured, pictured / "own", name, **own) == 0
    random = np.random.default_rng(0)
    for folder, stem, count in (("roxford5k", "query_", 2), ("roxford5k", "gallery_", 20), ("revisitop1m", "", 20)):
        random.standard_normal((count, 8), dtype=np.float32).tofile(pictured / folder / f"g_{stem}global.pt")
    assert earn(pictured, pictured / "stored", name, descriptors="rootsift", globals_="g", **options) == 0
    for kind in ("own", "stored"):
        found = by_name(pictured / kind / name)
        assert {record.status for record in found.values()} == {"ok"}
        # geometric verification finds the views of a texture, wherever the first stage has put them
        assert found["ransac:affine"].figure("map_medium").value > 0.9


def test_the_published_tables_with_the_measured_beside(oxford, records, tmp_path):
    store = ResultStore(tmp_path / "records")
    for name in ("roxford5k+1m", "rparis6k+1m"):
        for record in ResultStore(records / name):
            store.put(record)
    report.main(records=tmp_path / "records", out=tmp_path / "reports")
    page = (tmp_path / "reports" / "published.md").read_text()
    assert "### roxford5k+1m" in page and "### rparis6k+1m" in page
    detail = (tmp_path / "reports" / "accuracy.md").read_text()
    assert "#### Published values" in detail and "LOCORE supplementary (CVPR 2025, arXiv 2503.21772) Table B" in detail


@pytest.fixture
def lists(oxford):
    """A first stage that others have made for ROxford: (2, 70, 4993), at random."""
    count, random = 4993, np.random.default_rng(5)
    scores = np.sort(random.random((70, count)))[:, ::-1].astype(np.float32)
    return torch.from_numpy(np.stack([scores, np.argsort(random.random((70, count)), axis=1).astype(np.float32)]))


def map_of(lists, oxford):
    truths = load("roxford5k", cache=oxford, workers=1, data_root=oxford).truth.truths
    found = revisited.evaluate(lists[1].long().numpy(), truths, protocols=("medium",))
    return pytest.approx(float(found["medium"].map), abs=1e-12)


def test_lists_of_others_in_place_of_a_search(oxford, records, lists, tmp_path):
    (tmp_path / "other.pkl").write_bytes(pickle.dumps(lists))
    options = {"descriptors": "made", "neighbours": tmp_path / "other.pkl", "rerankers": "none"}
    assert earn(oxford, records / "lists", "roxford5k", **options) == 0
    record = by_name(records / "lists" / "roxford5k")["none:first-stage"]
    assert record.figure("map_medium").value == map_of(lists, oxford)
    assert "lists of other.pkl" in record.key.descriptors


def test_what_the_authors_of_ames_publish(oxford, records, lists):
    """Local descriptors with their columns apart, lists of neighbours, and neither images nor global descriptors."""
    folder = oxford / "roxford5k"
    for side, count in (("query", 70), ("gallery", 4993)):
        trees.random_descriptors(folder, f"dinov2_{side}_", count, locals=6, seed=4, fields=True)
    torch.save(lists, folder / "nn_dinov2.pkl")
    options = {"descriptors": "dinov2", "rerankers": "none,sg-rerank,chamfer:dinov2", "shortlist": 20}
    assert earn(oxford, records / "ames", "roxford5k", **options) == 2
    found = by_name(records / "ames" / "roxford5k")
    assert found["none:first-stage"].figure("map_medium").value == map_of(lists, oxford)
    assert (
        found["chamfer:dinov2"].status == "ok" and "lists of nn_dinov2.pkl" in found["chamfer:dinov2"].key.descriptors
    )
    assert found["sg-rerank:default"].status == "failed" and "global" in found["sg-rerank:default"].reason
