from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rerankers import RerankError
from rerankers.checkpoints import CONTAINERS, load_into, load_state

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}


@pytest.mark.parametrize("container", [None, *CONTAINERS])
def test_every_official_container_is_unwrapped(tmp_path, container):
    path = tmp_path / "weights.pt"
    torch.save(STATE if container is None else {container: STATE, "epoch": 3, "optim": {"lr": 0.1}}, path)
    assert torch.equal(load_state(path)["weight"], STATE["weight"])


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "weights.safetensors")
    assert load_state(tmp_path / "weights.safetensors").keys() == STATE.keys()


def test_numpy_numbers_beside_the_weights_are_allowed_by_type(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model_state_dict": STATE, "best": np.float64(0.5), "many": np.arange(3), "flag": np.bool_(True)}, path)
    assert load_state(path).keys() == STATE.keys()


class Attack:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    "attack",
    [
        {"state": STATE, "x": Attack()},
        {"state": STATE, "x": np.array([Attack()], dtype=object)},
        Attack(),
        {"state": STATE, "x": [{"deep": Attack()}]},
    ],
)
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    torch.save(attack, "weights.pt")
    with pytest.raises(RerankError, match="refused"):
        load_state("weights.pt")
    assert not (tmp_path / "executed").exists()


def test_a_numpy_scalar_of_objects_is_refused(tmp_path):
    class Smuggled:
        def __reduce__(self):
            return np._core.multiarray.scalar, (np.dtype("O"), pickle.dumps(1))

    torch.save({"state": STATE, "x": Smuggled()}, tmp_path / "weights.pt")
    with pytest.raises(RerankError, match="refused|cannot be read"):
        load_state(tmp_path / "weights.pt")


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", "half"])
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_damaged_files_are_named(tmp_path, name, damage):
    path = tmp_path / name
    save_file(STATE, path) if name.endswith("safetensors") else torch.save(STATE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage)
    with pytest.raises(RerankError, match=name):
        load_state(path)


@pytest.mark.parametrize("stored", [{}, [1, 2], {"state": {}}, {"a": 1}, torch.zeros(2)])
def test_files_without_a_state_dict_are_refused(tmp_path, stored):
    torch.save(stored, tmp_path / "weights.pt")
    with pytest.raises(RerankError, match="wanted a state dict"):
        load_state(tmp_path / "weights.pt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RerankError, match="no file"):
        load_state(tmp_path / "none.pt")


def test_load_into_copies_everything_or_nothing():
    module = torch.nn.Linear(3, 2)
    load_into(module, STATE)
    assert torch.equal(module.weight, STATE["weight"])
    bad = {"weight": torch.zeros(3, 2), "extra": torch.zeros(1), "head.x": torch.zeros(1)}
    with pytest.raises(RerankError, match=r"missing: bias; unexpected: extra; misshapen: weight \(3, 2\) for \(2, 3\)"):
        load_into(module, bad, skip=("head.",))
    assert torch.equal(module.weight, STATE["weight"])
