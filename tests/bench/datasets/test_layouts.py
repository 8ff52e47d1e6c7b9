"""Every data set of the papers, read from small trees in its official layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.io import savemat

from bench import datasets
from bench.datasets import Task
from bench.errors import BenchError
from tests import trees


def load(name, root):
    return datasets.load(name, cache=root / "cache", workers=1, data_root=root)


#: Name -> task, images of the gallery, queries, and positives of the first query.
WANTED = {
    "gldv2": (Task.LANDMARKS, 20, 3, [5, 6, 7, 8, 9]),
    "instre": (Task.INSTANCES, 20, 4, [1, 2, 3, 4]),
    "product1m": (Task.INSTANCES, 20, 4, [1, 2, 3, 4]),
    "sop": (Task.CLASSES, 20, 20, [1, 2, 3, 4]),
    "cub": (Task.CLASSES, 15, 15, [1, 2, 3, 4]),
    "inshop": (Task.CLASSES, 9, 6, [0, 1, 2]),
    "met": (Task.CLASSES, 20, 4, [0, 1, 2, 3, 4]),
    "rp2k": (Task.CLASSES, 20, 10, [1, 2, 3, 4]),
    "sop-1k": (Task.CLASSES, 20, 10, [1, 2, 3, 4]),
}


@pytest.mark.parametrize("name", trees.TREES)
def test_official_trees_are_read_as_they_are(tmp_path, name):
    folder = trees.TREES[name](tmp_path)
    found = load(name, tmp_path)
    task, gallery, queries, positives = WANTED[name]
    assert (found.task, len(found.truth.gallery), len(found.truth.queries)) == (task, gallery, queries)
    assert sorted(found.truth.truths[0].hard.tolist()) == positives
    assert all(path.is_file() for path in (*found.gallery_paths, *found.query_paths))
    again = datasets.reopen(found.name, found.folder, found.layout)
    assert again.sha256 == found.sha256 and again.task == task and folder == found.folder


def test_real_ground_truth_of_oxford_and_paris(tmp_path):
    for name, sizes in (("roxford5k", (4993, 70)), ("rparis6k", (6322, 70))):
        trees.revisited(tmp_path, name)
        found = load(name, tmp_path)
        assert (len(found.truth.gallery), len(found.truth.queries), found.task) == (*sizes, Task.REVISITED)
        assert all(truth.box is not None for truth in found.truth.truths)


def test_public_queries_stand_before_private_ones_and_are_a_set_of_their_own(tmp_path):
    trees.landmarks(tmp_path)
    whole, public = load("gldv2", tmp_path), load("gldv2-val", tmp_path)
    assert whole.private == 2 and whole.truth.queries[0].startswith("test/f/1/e/f1e")
    assert public.truth.queries == whole.truth.queries[:1] and public.private == 0
    assert public.sha256 != whole.sha256


def test_landmarks_as_lists_and_a_pickle(tmp_path):
    trees.landmarks_pickled(tmp_path)
    found = load("gldv2", tmp_path)
    assert found.private == 3 and found.truth.truths[2].hard.tolist() == [10, 11, 12, 13, 14]


def test_a_query_that_is_in_the_gallery_is_junk_for_itself(tmp_path):
    trees.products(tmp_path)
    trees.museum(tmp_path)
    assert [truth.junk.tolist() for truth in load("sop", tmp_path).truth.truths[:2]] == [[0], [1]]
    met = load("met", tmp_path).truth.truths
    assert met[0].junk.size == 0 and met[3].hard.size == 0


def test_distractors_stand_behind_the_gallery_and_in_the_hash(tmp_path):
    trees.revisited(tmp_path, "roxford5k")
    (tmp_path / "revisitop1m").mkdir()
    plain, unlisted = load("roxford5k", tmp_path), load("roxford5k+1m", tmp_path)
    trees.write(tmp_path / "revisitop1m" / "revisitop1m.txt", ["a/b.jpg", "c.jpg"])
    found = load("roxford5k+1m", tmp_path)
    assert found.name == "roxford5k+1m" and found.distractors.count == 2 and not found.distractors.synthetic
    assert unlisted.distractors.count is None and len({one.sha256 for one in (plain, unlisted, found)}) == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("roxford5k", r"no roxford5k in .*; wanted a folder of that name. Run `python -m bench.fetch roxford5k`"),
        ("roxfrod5k", "unknown data set 'roxfrod5k'.*Did you mean 'roxford5k'"),
        ("facades-mini+many", r"distractors \+many behind facades-mini; wanted .*\+10k"),
        ("facades-mini+0", r"distractors \+0"),
        ("cub+1m", r"distractors \+1m behind cub; wanted \+1m behind roxford5k"),
        ("rparis6k+1m", r"no revisitop1m in .*bench.fetch revisitop1m"),
        ("rparis6k+2m", r"distractors \+2m"),
    ],
)
def test_what_is_not_there_says_how_to_get_it(tmp_path, name, words):
    trees.birds(tmp_path)
    trees.revisited(tmp_path, "rparis6k")
    with pytest.raises(BenchError, match=words):
        load(name, tmp_path)


def test_a_data_set_of_a_paper_needs_a_data_root(tmp_path):
    with pytest.raises(BenchError, match="the data set sop without its data; wanted a command that takes --data-root"):
        datasets.load("sop", cache=tmp_path, workers=1)


def _without_images(folder):
    (folder / "retrieval_solution_v2.1.csv").write_text("id,images,Usage\nq,nowhere,Public\n")


def _without_column(folder):
    (folder / "retrieval_solution_v2.1.csv").write_text("id,pictures,Usage\nq,nowhere,Public\n")


def _outside(folder):
    (folder / "index_image_to_landmark.csv").write_text("id\n../../../../a\n")
    (folder / "retrieval_solution_v2.1.csv").write_text("id,images,Usage\nq,../../../../a,Public\n")


def _ragged(folder):
    trees.write(folder / "test_gallery.txt", ["a.jpg,1", "b.jpg"])


def _leaving(folder):
    trees.write(folder / "test_gallery.txt", ["../a.jpg,1"])


def _classless(folder):
    trees.write(folder / "test_gallery.txt", ["a.jpg", "b.jpg"])


def _short_line(folder):
    (folder / "Stanford_Online_Products" / "Ebay_test.txt").write_text(
        "image_id class_id super_class_id path\n1 2 a.jpg\n"
    )


def _gone(folder):
    (folder / "Stanford_Online_Products" / "Ebay_test.txt").unlink()


def _unlabelled(folder):
    (folder / "CUB_200_2011" / "image_class_labels.txt").write_text("1 101\n")


def _no_list(folder):
    (folder / "ground_truth" / "testset.json").write_text('{"path": 1}')


def _no_json(folder):
    (folder / "ground_truth" / "MET_database.json").write_text("[{")


def _binary(folder):
    (folder / "test_query.txt").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("gldv2", _without_images, r"line 2: the image nowhere; wanted images that index_image_to_landmark.csv lists"),
        ("gldv2", _without_column, r"no column images"),
        ("gldv2", _outside, r"the name 'index/./././../../../../a.jpg' in .*index_image_to_landmark.csv"),
        ("rp2k", _ragged, r"test_gallery.txt, line 2: 1 fields; wanted 2, as in the first line"),
        ("rp2k", _leaving, r"the name '../a.jpg' in .*test_gallery.txt"),
        ("sop-1k", _classless, r"0 classes of 2 gallery images of sop-1k"),
        ("sop-1k", _binary, r"cannot read .*test_query.txt"),
        ("sop", _short_line, r"Ebay_test.txt, line 2: 3 fields; wanted image_id, class_id"),
        (
            "sop",
            _gone,
            r"no Ebay_test.txt or .* in .*; wanted the data set's official layout. See docs/datasets/sop.md",
        ),
        ("cub", _unlabelled, r"no class of image 2"),
        ("met", _no_list, r"testset.json, line 1: no list of images"),
        ("met", _no_json, r"cannot read .*MET_database.json"),
    ],
)
def test_lists_that_do_not_hold_are_named(tmp_path, name, damage, words):
    damage(trees.TREES[name](tmp_path))
    with pytest.raises(BenchError, match=words):
        load(name, tmp_path)


def test_a_missing_image_is_named_with_the_places_that_were_tried(tmp_path):
    folder = trees.birds(tmp_path)
    next((folder / "CUB_200_2011" / "images").rglob("001.Bird/2.jpg")).unlink()
    with pytest.raises(BenchError, match=r"no image '001.Bird/2.jpg' in .*CUB_200_2011 or .*CUB_200_2011/images"):
        _ = load("cub", tmp_path).gallery_paths


def test_instre_in_the_form_that_its_authors_publish(tmp_path):
    folder = trees.instances(tmp_path, "instre")
    wanted = load("instre", tmp_path)
    gnd = np.zeros((1, 4), dtype=[("ok", object), ("bbx", object)])
    for entry, truth in zip(gnd[0], wanted.truth.truths, strict=True):
        left, top, right, bottom = truth.box
        entry["ok"], entry["bbx"] = truth.hard + 1, np.array([left, top, right - left, bottom - top])
    names = {
        key: np.array(list(found), dtype=object)
        for key, found in (("imlist", wanted.truth.gallery), ("qimlist", wanted.truth.queries))
    }
    (folder / "gnd_instre.pkl").unlink()
    savemat(folder / "gnd_instre.mat", {**names, "gnd": gnd})
    assert load("instre", tmp_path).sha256 == wanted.sha256
    (folder / "gnd_instre.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(BenchError, match=r"cannot read .*gnd_instre\.mat"):
        load("instre", tmp_path)


def test_positives_without_degrees_are_read_as_hard(tmp_path):
    folder = trees.instances(tmp_path, "product1m")
    found = load("product1m", tmp_path).truth.truths[1]
    assert (found.easy.size, found.hard.tolist(), found.junk.tolist()) == (0, [6, 7, 8, 9], [5])
    (folder / "gnd_product1m.pkl").unlink()
    document = {"imlist": ["a"], "qimlist": ["q"], "gnd": [{"ok": [0, 1]}]}
    (folder / "gnd_product1m.json").write_text(json.dumps(document))
    with pytest.raises(BenchError, match="hard of query 0 from 0 to 1; wanted indices from 0 to 0"):
        load("product1m", tmp_path)
    assert isinstance(found.hard, np.ndarray)
