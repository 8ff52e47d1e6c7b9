"""Files of torch.save as torch itself would read them; those that do harm are in tests/fuzz."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from rerankers import torch_files
from rerankers.errors import RerankError
from tests.fuzz.assembly import legacy, name, put, whole

TYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.bool),
)


def stored(path: Path, value: object, zipped: bool) -> object:
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return torch_files.load(path)


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_tensors_of_every_type(tmp_path, zipped, dtype):
    tensor = torch.arange(12).reshape(3, 4).to(torch.float32).to(dtype)
    for wanted in (tensor, tensor.t(), tensor[1:, 1:3], tensor[:0], tensor[0, 0]):
        found = stored(tmp_path / "case.pt", [wanted], zipped)[0]
        assert found.dtype == dtype and found.shape == wanted.shape and found.stride() == wanted.stride()
        assert bits(found) == bits(wanted)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_lies_beside_weights(tmp_path, zipped):
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2, 2])
    given = {
        "model": network.state_dict(),
        "parameter": network[0].weight,
        "optimizer": optimizer.state_dict(),
        "steps": steps.state_dict(),
        "numpy": np.random.default_rng(0).normal(size=3),
        "others": OrderedDict(shape=torch.Size([1, 2]), kind=torch.float16, place=torch.device("cuda:1")),
    }
    found = stored(tmp_path / "case.pt", given, zipped)
    assert found["model"].keys() == given["model"].keys()
    assert all(torch.equal(found["model"][one], value) for one, value in given["model"].items())
    assert torch.equal(found["parameter"], network[0].weight) and not found["parameter"].requires_grad
    assert found["optimizer"]["param_groups"] == given["optimizer"]["param_groups"]
    assert torch.equal(found["optimizer"]["state"][0]["exp_avg"], given["optimizer"]["state"][0]["exp_avg"])
    assert found["steps"]["milestones"] == {1: 1, 2: 2} and found["numpy"].tolist() == given["numpy"].tolist()
    assert found["others"] == {"shape": (1, 2), "kind": torch.float16, "place": "cuda:1"}


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_share_their_memory_as_before(tmp_path, zipped):
    whole_one = torch.zeros(4)
    one, other = stored(tmp_path / "case.pt", [whole_one[:2], whole_one], zipped)
    one += 1
    assert other.tolist() == [1, 1, 0, 0] and other.data_ptr() % 64 == 0


def test_memory_of_another_byte_order(tmp_path):
    torch.save([torch.arange(3.0)], tmp_path / "case.pt")
    with zipfile.ZipFile(tmp_path / "case.pt") as source, zipfile.ZipFile(tmp_path / "big.pt", "w") as target:
        for info in source.infolist():
            content = {"byteorder": b"big", "0": np.arange(3, dtype=">f4").tobytes()}.get(info.filename.split("/")[-1])
            target.writestr(zipfile.ZipInfo(info.filename), source.read(info) if content is None else content)
    assert torch_files.load(tmp_path / "big.pt")[0].tolist() == [0, 1, 2]


def test_without_memory(tmp_path):
    torch.save(torch.arange(12.0).reshape(3, 4)[1:], tmp_path / "case.pt")
    found = torch_files.load(tmp_path / "case.pt", meta=True)
    assert found.is_meta and found.shape == (2, 4) and found.storage_offset() == 4


def test_a_view_of_a_storage_as_torch_wrote_it_long_ago(tmp_path):
    storage = put(("storage", name("torch", "FloatStorage"), "0", "cpu", 2, ("1", 1, 1))) + b"Q"
    tensor = name("torch._utils", "_rebuild_tensor") + b"(" + storage + put(0) + put((1,)) + put((1,)) + b"tR"
    (tmp_path / "case.pt").write_bytes(legacy(whole(tensor)))
    assert torch_files.load(tmp_path / "case.pt").tolist() == [0]


def test_errors_name_the_file(tmp_path):
    for content, words in ((b"", "cannot be read"), (legacy(whole(name("os", "system"))), r"refused .*os\.system")):
        (tmp_path / "case.pt").write_bytes(content)
        with pytest.raises(RerankError, match=rf"case\.pt .*{words}"):
            torch_files.load(tmp_path / "case.pt")
