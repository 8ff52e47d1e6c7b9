"""The steps of a training: resumed, ended, refused."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from bench.errors import BenchError
from bench.training.loop import train
from bench.training.recipes import PLATEAU, Recipe
from bench.training.state import Progress

RECIPE = Recipe(source="a test", sampling="hard-first", rate=0.05, epochs=4, batch=4, accumulation=2, validate_every=5)


class Toy:
    """Learns the sum of its inputs; steps and parts as an Objective has them."""

    def __init__(self, recipe=RECIPE, *, broken_at=None):
        torch.manual_seed(3)
        self.network, self.recipe, self.broken_at = nn.Linear(6, 1), recipe, broken_at
        self.reranker = self.network

    def steps(self):
        return 6

    def epoch(self, number):
        for place in range(6):
            yield torch.randn(4, 6, generator=torch.Generator().manual_seed(100 * number + place))

    def parts(self, step, count):
        return list(step.chunk(count))

    def load(self, part, step):
        return part if step != self.broken_at else part * float("nan")

    def loss(self, inputs):
        return (self.network(inputs)[:, 0] - inputs.sum(dim=1)).square().mean()


class Falling:
    """A validation that rises as the weights near the truth."""

    def maps(self, network):
        assert not network.training
        away = float((network.weight - 1).abs().mean())
        return {"medium": 1 - away, "hard": 0.5 - away}


class Level:
    def maps(self, network):
        return {"medium": 0.5, "hard": 0.5}


def settings(**changes):
    return json.dumps({"seed": 0, "recipe": {"rate": 0.05}} | changes, sort_keys=True)


def run(state, toy=None, validation=None, *, report=lambda now, total: None, minutes=10.0, given=None):
    return train(
        toy or Toy(),
        validation or Falling(),
        state,
        settings=given or settings(),
        minutes=minutes,
        report=report,
    )


def course(progress):
    """What must not depend on where a training was interrupted."""
    return [(row.step, row.epoch, row.loss, row.rate, row.map_medium) for row in progress.curve]


def saved_step(path):
    with safe_open(path, "pt") as stored:
        return json.loads(stored.metadata()["progress"])["step"]


def same_state(one, other):
    """Weights, the best ones, and moments."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(second[name], first[name]) for name in first)


def test_all_steps_are_made_and_the_best_weights_kept(tmp_path):
    done, best = run(tmp_path / "state")
    assert done.step == 24
    assert [row.step for row in done.curve] == [5, 10, 15, 20, 24]
    assert done.curve[-1].loss < done.curve[0].loss
    kept = max(done.curve, key=lambda row: row.mean)
    assert done.best == kept
    away = float((best["weight"] - 1).abs().mean())
    assert kept.map_medium == pytest.approx(1 - away, abs=1e-6)


@pytest.mark.parametrize("at", [1, 5, 7, 23])
def test_an_interrupted_training_goes_on_with_the_same_curve(tmp_path, at):
    whole, weights = run(tmp_path / "whole")

    def stop(now: Progress, total: int) -> None:
        if now.step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", report=stop)
    assert saved_step(tmp_path / "cut") == at
    again, found = run(tmp_path / "cut")
    assert course(again) == course(whole)
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    same_state(tmp_path / "cut", tmp_path / "whole")


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, though a shell may have started this in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("at", [1, 5, 7])
def test_an_interruption_amid_a_step_waits_for_its_end(tmp_path, monkeypatch, interruptible, at):
    whole, _ = run(tmp_path / "whole")
    made, usual = [], torch.optim.AdamW.step

    def step(optimizer):
        made.append(1)
        if len(made) == at:
            signal.raise_signal(signal.SIGINT)
        usual(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut")
    assert saved_step(tmp_path / "cut") == at
    assert course(run(tmp_path / "cut")[0]) == course(whole)
    same_state(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("at", [1, 2, 5])
def test_an_interrupted_validation_is_made_again(tmp_path, interruptible, at):
    whole, _ = run(tmp_path / "whole")
    asked = []

    class Stopped(Falling):
        def maps(self, network):
            asked.append(1)
            if len(asked) == at:
                signal.raise_signal(signal.SIGINT)
            return super().maps(network)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", validation=Stopped())
    assert saved_step(tmp_path / "cut") == min(5 * at, 24)
    assert course(run(tmp_path / "cut")[0]) == course(whole)
    same_state(tmp_path / "cut", tmp_path / "whole")


def test_a_killed_training_goes_on_from_the_last_saving(tmp_path):
    """As after SIGKILL: whatever was not saved is lost, and done again."""
    whole, _ = run(tmp_path / "whole")

    def die(now: Progress, total: int) -> None:
        if now.step == 13:
            raise MemoryError  # not an interruption: nothing is saved on the way out

    with pytest.raises(MemoryError):
        run(tmp_path / "cut", report=die)
    assert course(run(tmp_path / "cut")[0]) == course(whole)


def test_a_finished_training_is_left_as_it_is(tmp_path):
    done, weights = run(tmp_path / "state")
    again, found = run(tmp_path / "state")
    assert again == done
    assert torch.equal(found["weight"], weights["weight"])


def test_minutes_end_a_training_which_then_goes_on(tmp_path):
    none, weights = run(tmp_path / "state", minutes=0)
    assert none.step == 0 and len(none.curve) == 1 and weights
    whole, _ = run(tmp_path / "state")
    assert whole.step == 24


def test_the_rate_falls_and_training_ends_when_validation_stands_still(tmp_path):
    recipe = replace(RECIPE, schedule=PLATEAU, epochs=100, patience=2, falls=1, validate_every=5)
    done, _ = run(tmp_path / "state", Toy(recipe), Level())
    assert done.finished
    assert [row.step for row in done.curve] == [5, 10, 15, 20, 25]
    assert [row.rate for row in done.curve] == pytest.approx([0.05, 0.05, 0.05, 0.05 / 3, 0.05 / 3])
    assert done.best is not None and done.best.step == 5


def test_validation_may_stand_still_before_the_earliest_end(tmp_path):
    recipe = replace(RECIPE, schedule=PLATEAU, epochs=100, patience=2, falls=0, validate_every=5, earliest=30)
    done, _ = run(tmp_path / "state", Toy(recipe), Level())
    assert done.finished and done.step == 40


def test_other_settings_are_refused_by_name(tmp_path):
    run(tmp_path / "state")
    with pytest.raises(BenchError, match=r"seed 0, now 1.*--again"):
        run(tmp_path / "state", given=settings(seed=1))
    with pytest.raises(BenchError, match=r"rate 0\.05, now 0\.1"):
        run(tmp_path / "state", given=settings(recipe={"rate": 0.1}))


def test_a_damaged_state_is_refused(tmp_path):
    run(tmp_path / "state")
    whole = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BenchError, match="Delete it to begin anew"):
        run(tmp_path / "state")


def test_a_loss_that_is_not_finite_ends_with_the_step(tmp_path):
    with pytest.raises(BenchError, match="loss of nan at step 7"):
        run(tmp_path / "state", Toy(broken_at=7))


@pytest.mark.parametrize("changes", [{"batch": 0}, {"accumulation": 5}, {"rate": 0.0}])
def test_a_recipe_that_cannot_be_followed_is_refused(changes):
    with pytest.raises(BenchError, match="--"):
        replace(RECIPE, **changes)


def test_losses_are_means_over_the_parts(tmp_path):
    seen = []
    toy = Toy(replace(RECIPE, accumulation=1, epochs=1))
    run(tmp_path / "one", toy, report=lambda now, total: seen.append(SimpleNamespace(**vars(now))))
    split = []
    run(tmp_path / "two", Toy(replace(RECIPE, accumulation=4, epochs=1)), report=lambda now, total: split.append(now))
    one, two = (load_file(tmp_path / name)["model.weight"] for name in ("one", "two"))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
