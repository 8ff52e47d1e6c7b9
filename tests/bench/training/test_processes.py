"""Several processes, and DeepSpeed, make the steps that one process makes."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from bench.errors import BenchError
from bench.processes import Crew, device_for, joined, share_of_cores, unbroken
from bench.training import descent
from bench.training.loop import train
from bench.training.recipes import Recipe
from bench.training.state import Progress

RECIPE = Recipe(
    source="a test",
    sampling="hard-first",
    rate=0.02,
    decay=0.1,
    epochs=3,
    batch=7,
    accumulation=2,
    warm_up=4,
    clip=1.0,
    validate_every=5,
)
SETTINGS = json.dumps({"seed": 0})
PROCESSES = 2
READY = Path(descent.__file__).with_name("deepspeed.json")
TOLERANCE = {"rtol": 0.0, "atol": 1e-5}


class Toy:
    """Learns the sum of its inputs in uneven parts; the last step of an epoch is a single row. One parameter has no
    dimension, as in ELViS."""

    def __init__(self, recipe=RECIPE, *, seed=3):
        torch.manual_seed(seed)
        self.network, self.recipe = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 1)), recipe
        self.network.scale = nn.Parameter(torch.tensor(0.5))
        self.reranker = self.network

    def steps(self):
        return 6

    def epoch(self, number):
        for place in range(6):
            draw = torch.Generator().manual_seed(100 * number + place)
            yield torch.randn(1 if place == 5 else 7, 6, generator=draw)

    def parts(self, step, count):
        return list(step.tensor_split(min(count, len(step))))

    def load(self, part, step):
        return part

    def loss(self, inputs):
        return (self.network.scale * self.network(inputs)[:, 0] - inputs.sum(dim=1)).square().mean()


class Watched:
    """Validation in process 0, which the others only hear of."""

    def __init__(self, rank=0):
        self.rank = rank

    def maps(self, network):
        assert self.rank == 0
        with torch.no_grad():
            away = float(sum(one.abs().mean() for one in network.parameters()))
        return {"medium": away, "hard": away / 2}


def run(folder, name, *, crew=None, sharding=None, report=lambda now, total: None, toy=None, minutes=10.0):
    crew = crew or Crew()
    done, best = train(
        toy or Toy(),
        Watched(crew.rank),
        Path(folder) / name,
        settings=SETTINGS,
        minutes=minutes,
        report=report,
        crew=crew,
        sharding=sharding,
    )
    return done, best


def config(**changes):
    return descent.configuration(READY) | changes


def started(rank, folder, count, work):
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting-{work.__name__}", rank=rank, world_size=count)
    work(Crew(rank, count), folder)
    dist.destroy_process_group()


def together(folder, work, count=PROCESSES):
    mp.start_processes(started, (folder, count, work), nprocs=count, start_method="spawn")


def several(crew, folder):
    """Trainings of two processes: whole, interrupted, begun without DeepSpeed and gone on with it, out of time."""
    talking(crew, folder)
    for name, sharding in (("plain", None), ("sharded", config())):
        # weights of process 1 that only its own draw has
        done, best = run(folder, name, crew=crew, sharding=sharding, toy=Toy(seed=3 + crew.rank))
        assert bool(best) == crew.first and len(done.curve) == 4
    for name, first, then in (
        ("plain, cut", None, None),
        ("sharded, cut", config(), config()),
        ("plain, then sharded", None, config()),
        ("sharded, then plain", config(), None),
    ):
        with pytest.raises(KeyboardInterrupt):
            run(folder, name, crew=crew, sharding=first, report=lambda now, total: stop(crew, now))
        crew.told(None)  # the state is written
        run(folder, name, crew=crew, sharding=then)
    run(folder, "one, then two", crew=crew)
    done, _ = run(folder, "short", crew=crew, minutes=0.0 if crew.first else 10.0)
    assert done.step == 0 and len(done.curve) == 1
    if crew.first:
        run(folder, "process 0", toy=Toy(replace(RECIPE, epochs=1)))
    crew.told(None)
    if not crew.first:
        with pytest.raises(BenchError, match="of step 0 in process 1, of step 6 in process 0"):
            run(folder, "process 1", crew=crew)
    else:
        crew.told(Progress(SETTINGS, step=6))


def talking(crew, folder):
    assert crew.first == (crew.rank == 0)
    assert crew.summed(torch.tensor([1.0, crew.rank])).tolist() == [2.0, 1.0]
    assert crew.told(("said", crew.rank)) == ("said", 0)
    assert crew.heard(False, crew.first, not crew.first) == (False, True, True)
    values = torch.full((3,), crew.rank + 5.0)
    crew.alike([values])
    assert values.tolist() == [5.0] * 3
    with crew.in_turn():
        found = (folder / "cached").exists()
        (folder / "cached").touch()
    assert found != crew.first


def stop(crew, now):
    """Process 1 alone is told to stop."""
    if now.step == 8 and crew.rank == 1:
        os.kill(os.getpid(), signal.SIGINT)


def cut(now, total):
    if now.step == 8:
        raise KeyboardInterrupt


def alone(crew, folder):
    run(folder, "stage 1", crew=crew, sharding=config())
    with pytest.raises(KeyboardInterrupt):
        run(folder, "stage 1, cut", crew=crew, sharding=config(), report=cut)
    run(folder, "stage 1, cut", crew=crew, sharding=config())
    with pytest.raises(BenchError, match="DeepSpeed refuses .*no_such_setting"):
        run(folder, "refused", crew=crew, sharding=config(zero_optimization={"stage": 1, "no_such_setting": 1}))
    run(folder, "stage 2", crew=crew, sharding=config(zero_optimization={"stage": 2}))
    run(folder, "bfloat16", crew=crew, sharding=config(torch_autocast={"enabled": True, "dtype": "bfloat16"}))


def leaving(crew, folder):
    def leave(now, total):
        if now.step == 3 and crew.rank == 1:
            os._exit(0)

    run(folder, "left", crew=crew, report=leave)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The states of all trainings that are held against that of one process."""
    made = tmp_path_factory.mktemp("states")
    run(made, "one")
    with pytest.raises(KeyboardInterrupt):
        run(made, "one, then two", report=cut)
    together(made, several)
    together(made, alone, 1)
    return made


def curve(path):
    with safe_open(path, "pt") as stored:
        rows = json.loads(stored.metadata()["progress"])["curve"]
    return torch.tensor([[row[name] for name in ("step", "epoch", "loss", "rate", "map_medium")] for row in rows])


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "sharded",
        "plain, cut",
        "sharded, cut",
        "plain, then sharded",
        "sharded, then plain",
        "one, then two",
        "stage 1",
        "stage 1, cut",
        "stage 2",
    ],
)
def test_weights_moments_and_curve_are_those_of_one_process(folder, name):
    wanted, found = (load_file(folder / one) for one in ("one", name))
    assert wanted.keys() == found.keys()
    for key in wanted:
        torch.testing.assert_close(found[key], wanted[key], **TOLERANCE, msg=lambda text, key=key: f"{key}: {text}")
    torch.testing.assert_close(curve(folder / name), curve(folder / "one"), **TOLERANCE)


def test_products_in_another_type_change_the_curve_a_little(folder):
    one, other = (curve(folder / name)[:, 2] for name in ("one", "bfloat16"))
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0.05, atol=0.0)


def test_a_process_that_dies_ends_the_others_with_an_error(tmp_path):
    with pytest.raises(mp.ProcessRaisedException, match="another process is gone"):
        together(tmp_path, leaving)


def test_one_process_waits_for_nobody():
    values, crew = torch.ones(2), Crew()
    assert crew.first and crew.summed(values) is values and crew.told(1) == 1 and crew.heard(True) == (True,)
    crew.alike([values])
    with crew.in_turn(), crew.interruption() as interrupted:
        assert not interrupted()


def grouped(rank):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        os.environ.pop(name, None)
    with joined("cpu") as crew:
        assert crew == Crew() and not dist.is_initialized()
    for _ in range(2):  # again, after an error too
        with pytest.raises(MemoryError), joined("cpu", alone=True) as crew:
            assert crew == Crew() and dist.get_world_size() == 1
            raise MemoryError


def test_one_process_is_a_group_where_deepspeed_asks_for_one():
    mp.start_processes(grouped, nprocs=1, start_method="spawn")


def test_an_interruption_waits_for_the_end_of_what_is_unbroken():
    done = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), unbroken():
            signal.raise_signal(signal.SIGINT)
            done.append(1)
        assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with ThreadPoolExecutor(1) as pool:  # a thread is never interrupted, and may set no handler
            assert pool.submit(lambda: unbroken().__enter__()).result() is None
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("asked", "type_"), [({"enabled": True, "dtype": "bfloat16"}, "bfloat16"), ({"enabled": False}, None)]
)
def test_the_type_of_products_is_that_of_the_configuration(tmp_path, asked, type_):
    (tmp_path / "file").write_text(json.dumps({"zero_optimization": {"stage": 2}, "torch_autocast": asked}))
    assert descent.autocast(descent.configuration(tmp_path / "file")) == type_
    assert descent.autocast(None) is None


@pytest.mark.parametrize(
    ("config", "seen"),
    [
        ({"zero_optimization": {"stage": 3}}, "ZeRO stage 3"),
        ({}, "ZeRO stage 0"),
        ({"zero_optimization": {"stage": 1}, "bf16": {"enabled": True}}, r"bf16 weights.*torch_autocast"),
        ({"zero_optimization": {"stage": 1}, "torch_autocast": {"enabled": True}}, "products in None.*bfloat16"),
        ({"zero_optimization": {"stage": 1}, "gradient_clipping": 1.0}, "gradient_clipping.*recipe"),
        ({"zero_optimization": 1}, "zero_optimization.*objects"),
        ([], "an object"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_refused(tmp_path, config, seen):
    (tmp_path / "file").write_text(json.dumps(config))
    with pytest.raises(BenchError, match=seen):
        descent.configuration(tmp_path / "file")


def test_a_file_that_is_no_configuration_is_refused(tmp_path):
    (tmp_path / "file").write_text("{")
    with pytest.raises(BenchError, match="cannot read"):
        descent.configuration(tmp_path / "file")


def test_a_process_takes_what_is_its_own(monkeypatch):
    assert device_for("cpu") == "cpu" and share_of_cores(8) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert share_of_cores(8) == 2 and share_of_cores(1) == 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda place: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_for("cuda:1") == "cuda:1" and device_for(None) == "cuda:0"
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert device_for("cuda") == "cuda:1"
    with pytest.raises(BenchError, match="several processes"):
        device_for("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(BenchError, match="of 2 GPUs"):
        device_for(None)
