from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.measure import machine as room
from bench.measure.machine import GIB, Machine, this_machine, versions

ONE = Machine(
    cpu="A processor 6/1/1",
    instructions=("avx2", "fma"),
    cores=8,
    memory_bytes=32 * GIB,
    gpus=("A GPU",),
    gpu_driver="1.0",
    system="Linux 6.1 x86_64",
    python="CPython 3.11.7",
)


def test_fingerprint_is_of_the_hardware():
    assert re.fullmatch("[0-9a-f]{12}", ONE.fingerprint)
    assert ONE.fingerprint == replace(ONE).fingerprint
    others = [
        replace(ONE, cpu="A processor 6/1/2"),
        replace(ONE, instructions=("avx2",)),
        replace(ONE, cores=4),
        replace(ONE, memory_bytes=64 * GIB),
        replace(ONE, gpus=()),
    ]
    assert len({ONE.fingerprint, *(other.fingerprint for other in others)}) == 6


@pytest.mark.parametrize("change", [{"system": "Linux 6.2"}, {"python": "CPython 3.12.0"}, {"gpu_driver": "2.0"}])
def test_fingerprint_is_not_of_the_software(change):
    assert replace(ONE, **change).fingerprint == ONE.fingerprint


def test_fingerprint_does_not_follow_small_changes_of_memory():
    assert replace(ONE, memory_bytes=32 * GIB - 4096).fingerprint == ONE.fingerprint


def test_this_machine():
    here = this_machine()
    assert here.cpu and here.cores >= 1 and here.memory_bytes > GIB // 4
    assert here is this_machine()
    assert (len(here.gpus) > 0) == (here.gpu_driver is not None)
    if torch.cuda.is_available():
        assert torch.cuda.get_device_name(0) in here.gpus


@pytest.mark.parametrize(
    ("limits", "cores"), [([], 6), (["max 100000"], 6), (["250000 100000"], 2), (["10000 100000", "max 100000"], 1)]
)
def test_cores_are_those_of_affinity_and_control_group(monkeypatch, limits, cores):
    monkeypatch.setattr(room.os, "sched_getaffinity", lambda _: range(6), raising=False)
    monkeypatch.setattr(room, "_control_group", lambda setting: limits if setting == "cpu.max" else [])
    assert room._cores() == cores


def test_memory_is_what_the_control_group_leaves(monkeypatch):
    monkeypatch.setattr(room, "_control_group", lambda setting: ["max", str(GIB // 8)] if "memory" in setting else [])
    assert room._memory_bytes() == GIB // 8


def test_versions_are_those_of_the_packages():
    seen = versions()
    assert (seen["numpy"], seen["torch"]) == (np.__version__, torch.__version__)
    assert seen["python"].startswith("3.")
