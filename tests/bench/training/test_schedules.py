from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from bench.errors import BenchError
from bench.training.schedules import SCHEDULES, cosine, warm_cosine


def of_torch(steps: int, *, warm: int) -> list[float]:
    """Factors that torch's own schedulers give."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warm)
    if warm:
        linear = lr_scheduler.LinearLR(optimizer, total_iters=warm)
        scheduler = lr_scheduler.SequentialLR(optimizer, [linear, scheduler], milestones=[warm])
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("steps", [1, 9, 10, 25, 137])
def test_factors_are_those_of_torch(steps: int) -> None:
    assert [cosine(step, steps) for step in range(steps)] == pytest.approx(of_torch(steps, warm=0))
    wanted = of_torch(steps, warm=steps // 10)
    assert [warm_cosine(step, steps) for step in range(steps)] == pytest.approx(wanted)


def test_where_they_begin_turn_and_end() -> None:
    assert [cosine(step, 40) for step in (0, 20, 40)] == pytest.approx([1, 0.5, 0])
    assert [warm_cosine(step, 40) for step in (0, 2, 4, 22, 40)] == pytest.approx([1 / 3, 2 / 3, 1, 0.5, 0])
    assert {SCHEDULES["constant"](step, 40) for step in range(41)} == {1.0}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("step", "steps"), [(-1, 5), (6, 5), (0, 0)])
def test_steps_outside_are_bad_input(name: str, step: int, steps: int) -> None:
    with pytest.raises(BenchError, match=f"step {step} of {steps}"):
        SCHEDULES[name](step, steps)
