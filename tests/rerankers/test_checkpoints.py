from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rerankers import RerankError
from rerankers.checkpoints import CONTAINERS, WEIGHT_FILES, checkpoint_files, load_into, load_state

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


def shards(folder, container="model.safetensors", **changes):
    """A folder with STATE in two shards and an index."""
    stem, suffix = container.split(".")
    names = {key: f"{stem}-0000{n}-of-00002.{suffix}" for n, key in enumerate(STATE, start=1)}
    for key, name in names.items():
        part = {key: STATE[key]}
        save_file(part, folder / name) if suffix == "safetensors" else torch.save(part, folder / name)
    index = {"metadata": {"total_size": 32}, "weight_map": names | changes}
    (folder / f"{container}.index.json").write_text(json.dumps(index))
    return [folder / name for name in names.values()]


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_a_folder_of_the_trainer(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    torch.save({"lr": 0.1}, tmp_path / "training_args.bin")
    save_file(STATE, tmp_path / name) if name.endswith("safetensors") else torch.save(STATE, tmp_path / name)
    assert load_state(tmp_path)["weight"].tolist() == STATE["weight"].tolist()
    assert checkpoint_files(tmp_path) == checkpoint_files(tmp_path / name) == [tmp_path / name]


def test_safetensors_come_before_pickles_and_whole_files_before_shards(tmp_path):
    shards(tmp_path, "pytorch_model.bin")
    save_file({"best": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert load_state(tmp_path).keys() == {"best"}
    (tmp_path / "model.safetensors").unlink()
    torch.save({"second": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert load_state(tmp_path).keys() == {"second"}
    shards(tmp_path)
    assert load_state(tmp_path).keys() == STATE.keys()


@pytest.mark.parametrize("container", WEIGHT_FILES)
def test_shards_are_merged(tmp_path, container):
    files = shards(tmp_path, container)
    state = load_state(tmp_path)
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    assert checkpoint_files(tmp_path) == sorted(files)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "..", "", "/etc/passwd", "sub/model.safetensors", "..\\x", "C:x", "."]
)
def test_shards_do_not_leave_the_folder(tmp_path, name):
    save_file({"far": torch.zeros(1)}, tmp_path / "model.safetensors")
    folder = tmp_path / "checkpoint"
    (folder / "sub").mkdir(parents=True)
    save_file({"far": torch.zeros(1)}, folder / "sub" / "model.safetensors")
    shards(folder, far=name)
    with pytest.raises(RerankError, match="wanted shards in the same folder"):
        load_state(folder)
    with pytest.raises(RerankError, match="wanted shards in the same folder"):
        checkpoint_files(folder)


def test_shards_that_are_not_what_the_index_says(tmp_path):
    first, second = shards(tmp_path)
    save_file(STATE, second)
    with pytest.raises(RerankError, match=f"{second.name} holds weight"):
        load_state(tmp_path)
    save_file({}, second)
    with pytest.raises(RerankError, match="without bias; wanted every key of model.safetensors.index.json"):
        load_state(tmp_path)
    second.write_bytes(b"cut")
    with pytest.raises(RerankError, match=second.name):
        load_state(tmp_path)
    second.unlink()
    with pytest.raises(RerankError, match=f"without {second.name}; wanted the shards"):
        load_state(tmp_path)
    assert first.exists()


@pytest.mark.parametrize("content", ["", "[" * 100_000, "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
def test_damaged_indices_are_named(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(RerankError, match=r"model\.safetensors\.index\.json"):
        load_state(tmp_path)


def test_a_folder_without_weights_says_what_it_holds(tmp_path):
    with pytest.raises(RerankError, match="holds nothing; wanted model.safetensors or pytorch_model.bin"):
        load_state(tmp_path)
    for number in range(9):
        (tmp_path / f"checkpoint-{number}").mkdir()
    with pytest.raises(RerankError, match=r"holds checkpoint-0, .*checkpoint-7, \.\.\.; wanted"):
        load_state(tmp_path)


def test_load_into_copies_everything_or_nothing():
    module = torch.nn.Linear(3, 2)
    load_into(module, STATE)
    assert torch.equal(module.weight, STATE["weight"])
    bad = {"weight": torch.zeros(3, 2), "extra": torch.zeros(1), "head.x": torch.zeros(1)}
    with pytest.raises(RerankError, match=r"missing: bias; unexpected: extra; misshapen: weight \(3, 2\) for \(2, 3\)"):
        load_into(module, bad, skip=("head.",))
    assert torch.equal(module.weight, STATE["weight"])
