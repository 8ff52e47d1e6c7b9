"""From images to weights, a card and a curve, which then are evaluated."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import rerankers
from bench import train
from bench.datasets import facades
from bench.errors import BenchError
from bench.training import descent, objectives
from bench.training.recipes import recipe_for
from rerankers import locore, registry, rrt
from rerankers.errors import RerankError
from tests.support import MINI


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
            "epochs": 1,
            "batch": 8,
            "minutes": 5,
            "shortlist": 10,
            "cache": cache,
            "device": "cpu",
            "threads": 1,
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
    lists = name == "locore"
    out = job(name, batch=4 if lists else 8, minutes=0.05 if lists else 5)  # of lists a few steps
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


def test_a_binarized_ames_learns_from_the_weights_that_come_along(job, monkeypatch):
    seen = []
    usual = objectives.DistilledPairs.loss
    monkeypatch.setattr(objectives.DistilledPairs, "loss", lambda *given: seen.append(usual(*given)) or seen[-1])
    out = job("ames:micro-binarized")
    card = json.loads((out / "ames-micro-binarized.json").read_text())
    own = hashlib.sha256((registry.OWN_WEIGHTS / "ames-micro.safetensors").read_bytes()).hexdigest()
    assert card["teacher"] == f"ames:micro, ames-micro.safetensors sha256:{own[:12]}"
    assert len(seen) == card["steps"] > 1 and float(seen[-1].detach()) < float(seen[0].detach())
    assert card["recipe"] == asdict(replace(recipe_for(train.requested("ames")), epochs=1, batch=8))
    rerankers.build("ames:micro-binarized", checkpoint=out / "ames-micro-binarized.safetensors")
    other = out / "other.safetensors"
    save_file(load_file(registry.OWN_WEIGHTS / "ames-micro.safetensors") | {"mtc_token": torch.zeros(128)}, other)
    with pytest.raises(BenchError, match=r"teacher 'ames:micro, ames-micro.*now 'ames:micro, other"):
        job("ames:micro-binarized", teacher=other)


def test_weights_that_are_no_teachers_are_refused_before_anything_is_prepared(job, tmp_path, monkeypatch):
    monkeypatch.delattr(train, "prepare_gallery")
    others = registry.OWN_WEIGHTS / "elvis-micro.safetensors"
    for teacher, seen in ((tmp_path / "none", "none"), (others, r"the \d+ keys of AmesNetwork")):
        with pytest.raises(RerankError, match=seen):
            job("ames:micro-binarized", teacher=teacher)


def test_a_teacher_is_for_binarized_ames_alone(job, tmp_path, caplog):
    assert train.teacher_of(train.requested("ames:dinov2-binarized"), None) is None
    assert "no weights of ames:dinov2" in caplog.text
    named = train.teacher_of(train.requested("ames:dinov2-binarized"), tmp_path / "any")
    assert named == (train.requested("ames:dinov2"), tmp_path / "any")
    for name in ("ames:micro", "elvis:dinov2-binarized"):
        with pytest.raises(BenchError, match="--teacher for"):
            job(name, teacher=tmp_path / "any")


def test_deepspeed_makes_the_steps_and_goes_on(job, tmp_path):
    job("elvis")
    ready = Path(descent.__file__).with_name("deepspeed.json")
    plain, sharded = tmp_path, tmp_path / "sharded"
    sharded.mkdir()
    job("elvis", out=sharded, deepspeed=ready, minutes=0)
    job("elvis", out=sharded, deepspeed=ready)
    one, two = (load_file(folder / "elvis-micro.safetensors") for folder in (plain, sharded))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5)
    first, second = (json.loads((folder / "elvis-micro.json").read_text()) for folder in (plain, sharded))
    assert second["deepspeed"] == json.loads(ready.read_text()) and first["deepspeed"] is None
    assert second["loss"] == pytest.approx(first["loss"], abs=1e-5)
    (tmp_path / "stage 3").write_text('{"zero_optimization": {"stage": 3}}')
    with pytest.raises(BenchError, match="ZeRO stage 3"):
        job("elvis", deepspeed=tmp_path / "stage 3")


def test_two_processes_started_by_torchrun(job, cache, landmarks, tmp_path):
    """The whole command, its processes' weights within rounding of those of one."""
    job("ames")
    one = load_file(tmp_path / "ames-micro.safetensors")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "bench.train"]
    given = {
        "data": landmarks,
        "validation": MINI,
        "training": MINI,
        "out": tmp_path / "two",
        "epochs": 1,
        "batch": 8,
        "shortlist": 10,
        "cache": cache,
        "device": "cpu",
        "threads": 1,
    }
    options = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    subprocess.run([*torchrun, "ames", *options], check=True, timeout=280)
    two = load_file(tmp_path / "two" / "ames-micro.safetensors")
    apart = torch.cat([(two[name] - one[name]).abs().flatten() for name in one])
    # Adam divides by the size of the gradient: where that is next to nothing, its rounding moves a weight visibly
    assert apart.max() < 1e-4 and (apart < 1e-5).double().mean() > 0.999
    first, second = (json.loads((tmp_path / at / "ames-micro.json").read_text()) for at in ("", "two"))
    assert second["processes"] == 2 and second["loss"] == pytest.approx(first["loss"], abs=1e-5)
    assert second["kept"]["map_medium"] == pytest.approx(first["kept"]["map_medium"])


def test_training_begins_with_drawn_weights_though_others_come_along():
    spec = train.requested("elvis")
    one, other = (train.begun(spec, None, 0, None).module().state_dict() for _ in range(2))
    along = rerankers.build(spec).module().state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(one["f.0.weight"], along["f.0.weight"])


def test_a_family_alone_means_its_micro_variant():
    assert str(train.requested("ames")) == "ames:micro"
    assert str(train.requested("ames:dinov2")) == "ames:dinov2"
