"""The main job on the small embedded data set and on own images: images in, records out."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench import accuracy, churn, earn, ground
from bench.errors import BenchError
from bench.protocols import Policy
from bench.results import ResultStore
from rerankers import RerankError
from rerankers.registry import parse
from tests.support import LIMITS_MEMORY, QUICK, ROOT, by_name, exit_code


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


OPTIONS = {"shortlist": 20, "rerankers": "none,sg-rerank,ransac", "local_descriptors": 200, "threads": 2}


def job(cache, records, **changes):
    """Runs the command's function; gives its exit code."""
    return exit_code(accuracy.main, records=records, cache=cache, **(QUICK | OPTIONS | changes))


@pytest.fixture(scope="module")
def first(cache, tmp_path_factory):
    """Records of a first run."""
    records = tmp_path_factory.mktemp("records")
    assert job(cache, records, rerankers="none,sg-rerank,ransac,ransac+blend=0.5/0.05,ames:rootsift") == 0
    return records


def test_images_in_accuracy_out(first):
    found = by_name(first)
    assert {name: record.status for name, record in found.items()} == {
        "none:first-stage": "ok",
        "sg-rerank:default": "ok",
        "ransac:affine": "ok",
        "ransac:affine+blend=0.5/0.05": "ok",
        "ames:rootsift": "missing",
    }
    for record in found.values():
        if record.status == "ok":
            assert len(record.series["ap_medium"]) == 8 and len(record.scores_sha256) == 64
            aps = [ap for ap in record.series["ap_medium"] if ap is not None]
            assert record.figure("map_medium").value == pytest.approx(np.mean(aps), abs=1e-12)
    assert "no trained weights" in found["ames:rootsift"].figure("map_medium").reason
    assert found["ransac:affine"].figure("map_hard").value > found["none:first-stage"].figure("map_hard").value


def test_a_second_run_keeps_what_is_there_and_again_finds_the_same(cache, first, tmp_path):
    before = by_name(first)
    assert job(cache, first, rerankers="none,ransac") == 0
    kept = by_name(first)["ransac:affine"]
    assert kept.provenance.started_at == before["ransac:affine"].provenance.started_at
    assert job(cache, tmp_path, rerankers="ransac", again=True) == 0
    fresh = by_name(tmp_path)["ransac:affine"]
    assert fresh.scores_sha256 == kept.scores_sha256 and fresh.series == kept.series


def test_random_weights_run_only_when_allowed_and_say_so(cache, tmp_path):
    assert job(cache, tmp_path, rerankers="ames:rootsift", allow_random=True) == 0
    record = by_name(tmp_path)["ames:rootsift"]
    assert record.status == "ok" and record.key.weights == "random" and "random weights" in record.notes[0]


def test_an_interrupted_cell_goes_on_where_it_stopped(cache, first, tmp_path, monkeypatch):
    payloads = []
    monkeypatch.setattr(
        accuracy,
        "isolated",
        lambda target, payload, **_: payloads.append(payload) or earn.run(payload, lambda *_: None),
    )
    assert job(cache, tmp_path, rerankers="ransac", again=True) == 0
    task = payloads[0] | {"journal": str(tmp_path / "j")}

    def stop(done, total, text):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        earn.run(task, stop)
    ranked = []
    original = earn.rerank_query
    monkeypatch.setattr(earn, "rerank_query", lambda *args: ranked.append(1) or original(*args))
    found = earn.run(task, lambda *_: None)
    assert len(ranked) == 5
    straight = by_name(first)["ransac:affine"]
    assert found["scores_sha256"] == straight.scores_sha256 and found["series"] == straight.series


def test_one_process_goes_on_with_what_several_have_finished(cache, first, tmp_path, monkeypatch):
    def killed(target, payload, **_):
        """Leaves the journal of a second process with three queries, as a run that was lost does."""
        path = Path(payload["journal"])
        earn.run(payload | {"queries": [4, 5, 6], "journal": str(path.with_suffix(".1.journal"))}, lambda *_: None)
        raise KeyboardInterrupt

    monkeypatch.setattr(accuracy, "isolated", killed)
    with pytest.raises(KeyboardInterrupt):
        accuracy.main(**QUICK | OPTIONS | {"rerankers": "ransac", "cache": cache, "records": tmp_path, "again": True})
    monkeypatch.setattr(accuracy, "isolated", lambda target, payload, **_: earn.run(payload, lambda *_: None))
    ranked, original = [], earn.rerank_query
    monkeypatch.setattr(earn, "rerank_query", lambda *args: ranked.append(1) or original(*args))
    assert job(cache, tmp_path, rerankers="ransac", again=True) == 0
    assert len(ranked) == 5 and list((cache / "unfinished").rglob("*.journal")) == []
    assert by_name(tmp_path)["ransac:affine"].scores_sha256 == by_name(first)["ransac:affine"].scores_sha256


def own_images(folder, *, box=True):
    """Six pictures of two textures, in several formats and sizes, and a ground truth over them."""
    random = np.random.default_rng(0)
    textures = [cv2.resize(random.integers(0, 255, (30, 40, 3), dtype=np.uint8), (640, 480)) for _ in range(2)]
    names = ["a.jpg", "deep/b.png", "c.webp", "d.bmp", "e.tiff", "f.png"]
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(names):
        picture = cv2.resize(textures[number % 2], (300 + 100 * number, 200 + 90 * number))
        if name == "f.png":
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        assert cv2.imwrite(str(folder / name), picture)
    assert cv2.imwrite(str(folder / "q.png"), textures[0])
    query = {"easy": [0], "hard": [2, 4], "junk": []} | ({"bbx": [10, 10.5, 600, 400]} if box else {})
    truth = {"imlist": ["a", "deep/b.png", "c", "d", "e.tiff", "f.png"], "qimlist": ["q.png"], "gnd": [query]}
    (folder / "ground_truth.json").write_text(json.dumps(truth))
    return folder


@pytest.mark.parametrize("box", [True, False])
def test_own_images_take_the_same_path(cache, tmp_path, box):
    folder = own_images(tmp_path / "mine", box=box)
    assert job(cache, tmp_path / "records", dataset=str(folder), shortlist=6, rerankers="none,ransac") == 0
    record = by_name(tmp_path / "records")["ransac:affine"]
    assert record.key.dataset == "mine" and record.figure("map_medium").value == 1.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": "facade-mini"}, "unknown data set 'facade-mini'.*Did you mean 'facades-mini'"),
        ({"dataset": "./nowhere"}, "no folder"),
        ({"rerankers": "ransack"}, "unknown re-ranker 'ransack'.*Did you mean 'ransac'"),
        ({"rerankers": "ames:dinov7"}, "unknown variant of ames"),
        ({"shortlist": 63}, "a shortlist of 63 from a gallery of 62 images"),
        ({"checkpoint": ["ames=nowhere.pt"]}, "FAMILY=PATH"),
        ({"checkpoint": ["ransac=nowhere.pt"]}, "a file or folder that exists, or FAMILY=hf:OWNER/NAME"),
        ({"checkpoint": ["ransac=hf:no-owner"]}, "checkpoint 'hf:no-owner'; wanted hf:OWNER/NAME"),
        ({"checkpoint": ["ransac=hf:"]}, "checkpoint 'hf:'"),
        ({"training": "nothing", "local_descriptors": 33}, "unknown data set 'nothing'"),
    ],
)
def test_bad_requests_say_what_was_seen_and_wanted(cache, tmp_path, changes, words):
    with pytest.raises((BenchError, RerankError), match=words):
        job(cache, tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_re_rankers_read_as_many_descriptors_as_they_are_told(cache, tmp_path):
    assert job(cache, tmp_path, rerankers="none,sg-rerank,chamfer:rootsift", read="20,40", shortlist=10) == 0
    found = sorted((record.key.reranker, record.key.read) for record in ResultStore(tmp_path) if record.key.read)
    assert found == [("chamfer:rootsift", 20), ("chamfer:rootsift", 40)]
    scores = {record.scores_sha256 for record in ResultStore(tmp_path)}
    assert len(scores) == 4  # none and sg-rerank, which read no local descriptors, once each


@pytest.mark.parametrize("read", ["0", "12,many", "", "201"])
def test_what_cannot_be_read_is_bad_input(cache, tmp_path, read):
    with pytest.raises(BenchError, match="wanted numbers from 1 to the 200 descriptors that are kept"):
        job(cache, tmp_path, read=read)
    assert list(tmp_path.iterdir()) == []


SPECS = [parse("ransac"), parse("rrt")]


def test_checkpoints_are_files_folders_or_names_on_the_hub(tmp_path, monkeypatch):
    weights = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, weights)
    asked = []
    monkeypatch.setattr(ground.hub, "fetch", lambda name: asked.append(name) or weights)
    for given in (weights, tmp_path, "hf:owner/name", "hf:owner/name@v1=2"):
        assert ground.checkpoints_of([f"rrt={given}"], SPECS) == {"rrt": weights}
    assert asked == ["hf:owner/name", "hf:owner/name@v1=2"]
    with pytest.raises(BenchError, match="Families of this run: ransac, rrt"):
        ground.checkpoints_of(["ames=hf:owner/name"], SPECS)
    assert len(asked) == 2
    hashed = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    assert ground.weights_name(weights) == f"model.safetensors sha256:{hashed}"
    weights.rename(tmp_path / "other.safetensors")
    with pytest.raises(RerankError, match="holds other.safetensors"):
        ground.checkpoints_of([f"rrt={tmp_path}"], SPECS)


def test_the_name_of_a_checkpoint_in_shards_hashes_every_shard(tmp_path):
    folder = tmp_path / "checkpoint-7"
    folder.mkdir()
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    for key, name in names.items():
        save_file({key: torch.zeros(1)}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert ground.checkpoints_of([f"rrt={folder}"], SPECS) == {"rrt": folder}
    both = b"".join((folder / name).read_bytes() for name in names.values())
    before = ground.weights_name(folder)
    assert before == f"checkpoint-7 sha256:{hashlib.sha256(both).hexdigest()[:12]}"
    (folder / "optimizer.pt").write_bytes(b"state")
    assert ground.weights_name(folder) == before
    save_file({"b": torch.ones(1)}, folder / "model-2.safetensors")
    assert ground.weights_name(folder) != before


def test_a_folder_without_ground_truth(cache, tmp_path):
    with pytest.raises(BenchError, match=r"no ground_truth\.json"):
        job(cache, tmp_path / "records", dataset=str(tmp_path))


def test_a_missing_image_is_named(cache, tmp_path):
    folder = own_images(tmp_path / "mine")
    (folder / "d.bmp").unlink()
    with pytest.raises(BenchError, match="no image 'd'"):
        job(cache, tmp_path / "records", dataset=str(folder), shortlist=6)


def damaged(cache, tmp_path, damage):
    """The exit code of a run whose gallery descriptors were damaged behind its back."""
    folder = own_images(tmp_path / "mine")
    own = tmp_path / "cache"
    (own / "vocabularies").mkdir(parents=True)
    for file in (cache / "vocabularies").iterdir():
        (own / "vocabularies" / file.name).write_bytes(file.read_bytes())
    options = {"dataset": str(folder), "shortlist": 6, "rerankers": "ransac"}
    assert job(own, tmp_path / "records", **options) == 0
    damage(next((own / "descriptors").glob("mine-*/*/gallery/local.hdf5")))
    return job(own, tmp_path / "records", again=True, **options)


def test_nan_in_descriptors_is_bad_input(cache, tmp_path):
    def damage(path):
        with h5py.File(path, "r+") as file:
            file["features"][2, 0, 7] = np.nan

    assert damaged(cache, tmp_path, damage) == 2
    record = by_name(tmp_path / "records")["ransac:affine"]
    assert record.status == "failed" and "NaN" in record.reason


def test_a_truncated_store_is_named(cache, tmp_path):
    def damage(path):
        path.write_bytes(path.read_bytes()[:-1000])

    with pytest.raises(BenchError, match=r"local\.hdf5 has [\d,]+ bytes; wanted"):
        damaged(cache, tmp_path, damage)


def test_the_command_line_ends_with_exit_code_2_and_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for options in (
        ["--dataset", "facades-maxi"],
        ["--records", str(tmp_path / "file" / "inside")],
        ["--shortlist", "0"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "bench.accuracy", "--cache", str(tmp_path / "cache"), *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr and done.stderr.strip()


FAMILIES = "chamfer:rootsift,elvis:rootsift,r2former:rootsift,cvnet+sum"


def test_every_family_runs_on_the_embedded_images_under_the_protocol_of_cvnet(cache, tmp_path):
    options = {"rerankers": f"{FAMILIES},rrt:sop", "allow_random": True, "policy": Policy.PER_PROTOCOL, "shortlist": 6}
    assert job(cache, tmp_path, **options) == 0
    records = by_name(tmp_path)
    sop = records.pop("rrt:sop")
    assert sop.status == "missing" and "a backbone of its own" in sop.reason
    assert len(records) == 4 and {record.status for record in records.values()} == {"ok"}, records
    assert {record.key.policy for record in records.values()} == {"per protocol"}
    for name, record in records.items():
        assert record.key.weights == ("none" if name.startswith("chamfer") else "random")
        assert 0 <= record.figure("map_medium").value <= 1


def test_rankings_in_float32_do_not_depend_on_the_batch(cache, tmp_path):
    options = {
        "rerankers": f"sg-rerank,{FAMILIES}",
        "shortlist": 8,
        "queries": 2,
        "local_descriptors": 200,
        "threads": 2,
    }
    assert exit_code(churn.main, records=tmp_path, cache=cache, **(QUICK | options)) == 0
    for name, record in by_name(tmp_path).items():
        assert record.status == "ok", record.reason
        reduced = record.figure("kendall_tau_mean_bfloat16").value
        assert reduced is not None and -1 <= reduced <= 1
        for batch in ("batch_1", "batch_7"):
            changed = record.figure(f"queries_changed_{batch}")
            assert changed.value == 0 or "list-wise" in changed.reason, (name, batch)


@LIMITS_MEMORY
def test_memory_of_a_cell_is_limited(cache, tmp_path):
    options = {"rerankers": "sg-rerank", "shortlist": 8, "memory_limit": 0.1}
    for command in (accuracy, churn):
        assert exit_code(command.main, records=tmp_path / command.__name__, cache=cache, **(QUICK | options)) == 1
        (record,) = by_name(tmp_path / command.__name__).values()
        assert "under a limit of 0.1 GiB" in record.reason


def test_windows_that_hold_the_whole_shortlist_are_left_out_of_the_default():
    names = [[str(one) for one in accuracy.compared(shortlist)] for shortlist in (100, 101)]
    assert "locore:micro" in names[0] and not [name for name in names[0] if "+slide" in name]
    assert len(names[1]) - len(names[0]) == len([name for name in names[1] if "+slide" in name]) == 2
