from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from bench.datasets.ground_truth import LABELS, GroundTruth, QueryTruth, read_ground_truth, write_ground_truth
from bench.errors import BenchError
from tests.support import golden, reference_folder

DOCUMENT = {
    "imlist": ["all_souls_000013", "sub/b.jpg", "c..d.png"],
    "qimlist": ["q0", "q1"],
    "gnd": [
        {"easy": [2], "hard": [], "junk": [0, 1], "bbx": [1, 2.5, 30, 40], "unseen": [1]},
        {"easy": [], "hard": [1, 2], "junk": [], "transitive": [1]},
    ],
    "made_by": "hand",
}


def with_change(change):
    document = json.loads(json.dumps(DOCUMENT))
    change(document)
    return document


def write(path, document):
    if path.suffix == ".json":
        path.write_text(json.dumps(document), encoding="utf8")
    else:
        path.write_bytes(pickle.dumps(document))
    return path


def assert_same(one, other):
    assert (one.gallery, one.queries, len(one.truths)) == (other.gallery, other.queries, len(other.truths))
    for a, b in zip(one.truths, other.truths, strict=True):
        assert a.box == b.box
        for label in LABELS:
            np.testing.assert_array_equal(getattr(a, label), getattr(b, label), strict=True)
        np.testing.assert_array_equal(a.transitive, b.transitive)


@pytest.mark.parametrize("name", ["truth.json", "truth.pkl"])
def test_reads_what_is_there(tmp_path, name):
    found = read_ground_truth(write(tmp_path / name, DOCUMENT))
    assert found.gallery == ("all_souls_000013", "sub/b.jpg", "c..d.png") and found.queries == ("q0", "q1")
    first, second = found.truths
    assert (first.easy.tolist(), first.hard.tolist(), first.junk.tolist()) == ([2], [], [0, 1])
    assert first.box == (1.0, 2.5, 30.0, 40.0) and second.box is None
    assert first.transitive is None and second.transitive.tolist() == [1]
    assert all(getattr(first, label).dtype == np.int64 for label in LABELS)
    with pytest.raises(ValueError, match="read-only"):
        first.easy[0] = 1


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_with_numpy_in_it(tmp_path, protocol):
    document = with_change(lambda d: None)
    entry = document["gnd"][0]
    entry["junk"] = np.array([0, 1], dtype=np.int32)
    entry["easy"], entry["hard"] = [np.int64(2)], np.array([])
    entry["bbx"] = np.array([1, 2.5, 30, 40])
    (tmp_path / "truth.pkl").write_bytes(pickle.dumps(document, protocol=protocol))
    assert_same(read_ground_truth(tmp_path / "truth.pkl"), read_ground_truth(write(tmp_path / "truth.json", DOCUMENT)))


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
def test_the_published_pickles_equal_their_json(name):
    folder = reference_folder().parent / "data" / "revisitop"
    if not (folder / f"gnd_{name}.pkl").exists():
        pytest.skip("the published ground truth is not beside the folder that $RERANK_GOLDEN names")
    found = read_ground_truth(folder / f"gnd_{name}.pkl")
    assert_same(found, read_ground_truth(folder / f"gnd_{name}.json"))
    assert (len(found.gallery), len(found.queries)) == ({"roxford5k": 4993, "rparis6k": 6322}[name], 70)


def test_the_published_json():
    found = read_ground_truth(golden("metrics-rrt_protocol-a") / "gnd_roxford5k.json")
    assert (len(found.gallery), len(found.queries)) == (4993, 70)
    assert found.truths[0].box == (136.5, 34.1, 648.5, 955.7)
    assert found.truths[0].easy[:3].tolist() == [30, 69, 296]
    assert [query for query, truth in enumerate(found.truths) if truth.easy.size == 0] == [11, 66]


def test_writing_and_reading_again(tmp_path):
    indices = (np.array([2]), np.array([], dtype=np.int64), np.array([0, 1]))
    truth = GroundTruth(("a", "b", "c"), ("q0", "q1"), (QueryTruth(*indices, box=(0.5, 1, 2, 3)), QueryTruth(*indices)))
    path = tmp_path / "truth.json"
    write_ground_truth(path, truth, extra={"unseen": [np.array([1]), []], "angle_deg": [np.float64(2.5), 0]})
    assert_same(read_ground_truth(path), truth)
    entries = json.loads(path.read_text())["gnd"]
    assert [entry["unseen"] for entry in entries] == [[1], []]
    assert [entry["angle_deg"] for entry in entries] == [2.5, 0]
    first = path.read_bytes()
    write_ground_truth(path, read_ground_truth(path), extra={"unseen": [[1], []], "angle_deg": [2.5, 0]})
    assert path.read_bytes() == first
    assert [one.name for one in tmp_path.iterdir()] == ["truth.json"]


def test_nothing_is_written_that_could_not_be_read(tmp_path):
    truth = QueryTruth(np.array([5]), np.array([], dtype=int), np.array([], dtype=int))
    with pytest.raises(BenchError, match="easy of query 0 from 5 to 5"):
        write_ground_truth(tmp_path / "truth.json", GroundTruth(("a",), ("q",), (truth,)))
    fine = GroundTruth(("a",) * 1, ("q",), (QueryTruth(*[np.array([], dtype=int)] * 3),))
    with pytest.raises(BenchError, match="'unseen' with 2 values for 1 queries"):
        write_ground_truth(tmp_path / "truth.json", fine, extra={"unseen": [1, 2]})
    with pytest.raises(BenchError, match="'easy'"):
        write_ground_truth(tmp_path / "truth.json", fine, extra={"easy": [1]})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    fine = GroundTruth(("a",), ("q",), (QueryTruth(*[np.array([], dtype=int)] * 3),))
    with pytest.raises(BenchError, match="cannot write"):
        write_ground_truth(tmp_path / "file" / "truth.json", fine)


def entry(**fields):
    return lambda document: document["gnd"][0].update(fields)


def field(**fields):
    return lambda document: document.update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (field(imlist=[]), "imlist that is empty"),
        (field(imlist=["a", 3, "b"]), "imlist"),
        (field(imlist=["a", "a", "b"]), "1 repeated"),
        (field(imlist=["a", "/etc/passwd", "b"]), "/etc/passwd"),
        (field(imlist=["a", "x/../../y", "b"]), "without '..'"),
        (field(imlist=["a", "..\\y", "b"]), "without '..'"),
        (field(imlist=["a", "C:/y", "b"]), "C:/y"),
        (field(imlist=["a", "", "b"]), "''"),
        (field(qimlist=["q0"]), "gnd as list of 2"),
        (field(qimlist=[]), "gnd as list of"),
        (field(gnd={}), "gnd as dict"),
        (field(gnd=[1, 2]), "gnd entry 0 as int"),
        (entry(easy=[3]), "easy of query 0 from 3 to 3"),
        (entry(hard=[-1]), "hard of query 0 from -1 to -1"),
        (entry(hard=[1e0]), "hard of query 0 as list"),
        (entry(hard=[True]), "hard of query 0"),
        (entry(hard=None), "hard of query 0 as NoneType"),
        (entry(hard=[2**70]), "hard of query 0"),
        (entry(hard=[2]), "image 2 more than once in query 0"),
        (entry(junk=[0, 0]), "image 0 more than once in query 0"),
        (entry(bbx=[1, 2, 3]), "bbx"),
        (entry(bbx=[3, 2, 1, 4]), "x1 < x2"),
        (entry(bbx=[1, 2, float("nan"), 4]), "bbx"),
        (entry(bbx="1234"), "bbx"),
    ],
)
@pytest.mark.parametrize("ending", [".json", ".pkl"])
def test_what_does_not_hold_together_is_refused(tmp_path, change, message, ending):
    path = write(tmp_path / f"truth{ending}", with_change(change))
    with pytest.raises(BenchError, match=message) as caught:
        read_ground_truth(path)
    assert str(path) in caught.value.seen and caught.value.cure


@pytest.mark.parametrize("text", ["", "[", "\xff", "[]", "null", "[" * 100_000])
def test_broken_json_is_refused(tmp_path, text):
    path = tmp_path / "truth.json"
    path.write_text(text, encoding="latin1")
    with pytest.raises(BenchError, match=r"truth\.json"):
        read_ground_truth(path)


def test_a_missing_file_is_refused(tmp_path):
    for name in ("truth.json", "truth.pkl"):
        with pytest.raises(BenchError, match="cannot read"):
            read_ground_truth(tmp_path / name)


def test_transitive_positives_are_hard_ones(tmp_path):
    def change(document):
        document["gnd"][1]["transitive"] = [0]

    with pytest.raises(BenchError, match="transitive of query 1 with images that are not hard"):
        read_ground_truth(write(tmp_path / "truth.json", with_change(change)))
