"""From images to weights, a card and a curve, which then are evaluated."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import rerankers
from bench import train
from bench.datasets import facades
from bench.errors import BenchError
from rerankers import locore, registry, rrt

MINI = "facades-mini"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory):
    """What is learnt from: buildings of their own."""
    recipe = facades.Recipe(
        name="learnt", seed=8, landmarks=4, views=8, distractors=8, long_side_px=320, pixels_per_metre=24
    )
    folder = tmp_path_factory.mktemp("data") / "learnt"
    facades.render(recipe, folder, workers=1)
    return folder


@pytest.fixture
def job(cache, landmarks, tmp_path):
    def run(name: str, **changes):
        settings = {
            "data": str(landmarks),
            "validation": MINI,
            "training": MINI,
            "out": tmp_path,
            "start": None,
            "epochs": 1,
            "batch": 8,
            "accumulation": None,
            "rate": None,
            "minutes": 5,
            "shortlist": 10,
            "cache": cache,
            "threads": 1,
            "seed": 0,
            "again": False,
        }
        train.main(name, **(settings | changes))
        return tmp_path

    return run


@pytest.fixture
def narrow(monkeypatch):
    """Variants for the 61 numbers that so few images give a global descriptor."""
    small = replace(rrt.GLD, layers=1, heads=2, global_dim=61, scale_unit=4.0)
    monkeypatch.setitem(rrt.VARIANTS, "micro", rrt._variant("few images", small, 48, source="a test"))
    lists = replace(locore.MICRO_SIZE, global_dim=61)
    monkeypatch.setitem(locore.VARIANTS, "micro", locore._variant("few images", lists, source="a test"))


@pytest.mark.parametrize("name", ["ames", "rrt", "r2former", "elvis", "cvnet", "locore"])
def test_images_in_weights_out(job, name, monkeypatch, narrow):
    out = job(name, batch=4 if name == "locore" else 8)
    card = json.loads((out / f"{name}-micro.json").read_text())
    rows = list(csv.DictReader((out / f"{name}-micro.csv").open()))
    assert card["reranker"] == f"{name}:micro" and card["steps"] == int(rows[-1]["step"]) > 0
    assert card["kept"]["map_medium"] == pytest.approx(max(float(row["map_medium"]) for row in rows), abs=0.2)
    weights = load_file(out / f"{name}-micro.safetensors")
    monkeypatch.setattr(registry, "OWN_WEIGHTS", Path(out))
    held = rerankers.build(f"{name}:micro").module().state_dict()
    assert all(torch.equal(held[key], weights[key]) for key in weights)


def test_the_same_command_goes_on_and_other_settings_are_refused(job, tmp_path):
    job("elvis", minutes=0)
    first = json.loads((tmp_path / "elvis-micro.json").read_text())
    assert first["steps"] == 0 and not first["finished"]
    job("elvis")
    assert json.loads((tmp_path / "elvis-micro.json").read_text())["steps"] > 0
    with pytest.raises(BenchError, match=r"rate 0\.005, now 0\.1"):
        job("elvis", rate=0.1)
    job("elvis", rate=0.1, again=True)


def test_validation_must_be_apart(job):
    with pytest.raises(BenchError, match="same data"):
        job("ames", data=MINI)


@pytest.mark.parametrize("name", ["ransac", "ames:micro+blend=0.5/0.5", "sg-rerank+then+locore:micro"])
def test_what_does_not_learn_is_refused(job, name):
    with pytest.raises(BenchError, match="training of"):
        job(name)


def test_descriptors_of_another_width_are_refused(job):
    with pytest.raises(BenchError, match=r"global descriptors 61 wide in learnt, for rrt:micro.*512"):
        job("rrt")


def test_unlabelled_images_are_refused(job, landmarks, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "gallery").symlink_to(landmarks / "gallery")
    document = json.loads((landmarks / "ground_truth.json").read_text())
    del document["landmark"]
    (copy / "ground_truth.json").write_text(json.dumps(document))
    with pytest.raises(BenchError, match="landmark"):
        job("ames", data=str(copy))


def test_one_landmark_alone_gives_no_negatives(job, landmarks, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "gallery").symlink_to(landmarks / "gallery")
    document = json.loads((landmarks / "ground_truth.json").read_text())
    document["landmark"] = [0] * len(document["landmark"])
    document["covisibility"] = "none"
    (copy / "ground_truth.json").write_text(json.dumps(document))
    with pytest.raises(BenchError, match="no shortlist in .* with a positive and a negative"):
        job("ames", data=str(copy))


def test_training_begins_with_drawn_weights_though_others_come_along():
    spec = train.requested("elvis")
    one, other = (train.begun(spec, None, 0).module().state_dict() for _ in range(2))
    along = rerankers.build(spec).module().state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(one["f.0.weight"], along["f.0.weight"])


def test_a_family_alone_means_its_micro_variant():
    assert str(train.requested("ames")) == "ames:micro"
    assert str(train.requested("ames:dinov2")) == "ames:dinov2"
