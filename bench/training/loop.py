"""The steps of a training, one after the other, from wherever it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.processes import Crew, unbroken
from bench.training.data import moved
from bench.training.descent import Descent, Plain, Sharded
from bench.training.objectives import Objective
from bench.training.recipes import PLATEAU
from bench.training.schedules import SCHEDULES
from bench.training.state import Progress, Row, resume, save
from bench.training.validation import Validation

#: Seconds between two savings, validations aside.
SAVE_EVERY_S = 60.0
#: Parts of steps that are loaded ahead.
AHEAD = 4
#: Factor of the rate when validation has stopped rising.
FALL = 1 / 3

Report = Callable[[Progress, int], None]
#: A part being loaded, None for none, and its share of the step.
Part = tuple[Future[Any] | None, float]


def train(
    objective: Objective,
    validation: Validation,
    state: Path,
    *,
    settings: str,
    minutes: float,
    report: Report = lambda progress, steps: None,
    crew: Crew = Crew(),  # noqa: B008
    sharding: dict[str, Any] | None = None,
) -> tuple[Progress, dict[str, Tensor]]:
    """Runs the recipe to its end, or until so many `minutes` of steps are spent; the best weights by validation.

    state: file to go on from. It is saved at every validation and every minute, and at an interruption.
    report: told how far it is after every step, with the number of all steps.
    crew: the processes that compute a step together; the first of them validates, writes and has the best weights.
    sharding: DeepSpeed's configuration.
    Raises BenchError when the loss is not a finite number.
    """
    run = _Run(objective, validation, state, settings, crew, sharding)
    begun = run.progress.step
    with crew.interruption() as interrupted:
        try:
            run.on(minutes, interrupted, report)
        except KeyboardInterrupt:
            run.keep()
            raise
    progress = run.progress
    if not progress.curve or (progress.curve[-1].step != progress.step and progress.step > begun):
        run.validate(objective.recipe.rate * progress.factor)
    return run.progress, run.best


class _Run:
    """A training from where its state file stands: how far it is, the best weights so far, and what it does next."""

    def __init__(
        self,
        objective: Objective,
        validation: Validation,
        state: Path,
        settings: str,
        crew: Crew,
        sharding: dict[str, Any] | None,
    ) -> None:
        self.objective, self.validation, self.state, self.crew = objective, validation, state, crew
        recipe, network = objective.recipe, objective.network.requires_grad_(True)
        optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        self.progress, self.best = resume(state, settings, network, optimizer)
        _agree(self.progress, crew, state)
        crew.alike(network.state_dict().values())  # another machine may have drawn others
        self.descent: Descent
        if sharding is None:
            self.descent = Plain(network, optimizer, recipe, crew)
        else:
            self.descent = Sharded(network, optimizer, recipe, crew, sharding)
        self.total = recipe.epochs * objective.steps()
        self.saved = time.monotonic()

    def on(self, minutes: float, interrupted: Callable[[], bool], report: Report) -> None:
        """Step by step to the end of the recipe, of the rate's course, or of so many minutes of steps."""
        begun = self.progress.step
        self.validate_if_due()  # where it was interrupted in a validation
        for step, parts in _steps(self.objective, begun, self.total, self.crew):
            over = self.crew.first and self.progress.seconds >= 60 * minutes
            late = self.crew.first and step > begun and time.monotonic() - self.saved > SAVE_EVERY_S
            over, late, stopped = self.crew.heard(over, late, interrupted())
            if stopped:
                raise KeyboardInterrupt
            if late:
                self.keep()
            if self.progress.finished or over:
                break
            self.step(step, parts)
            self.validate_if_due()
            report(self.progress, self.total)

    def step(self, step: int, parts: list[Part]) -> None:
        start, progress = time.monotonic(), self.progress
        self.objective.network.train().requires_grad_(True)
        self.descent.begin(self.rate(step))
        loss, waited = _backward(self.objective, parts, step, self.descent, self.crew)
        with unbroken():
            self.descent.step()
            progress.step = step + 1
            progress.losses.append(loss)
            progress.seconds += time.monotonic() - start
            progress.waited += waited

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.objective.recipe.rate * _factor(self.objective, self.progress, step, self.total)

    def validate_if_due(self) -> None:
        if _due(self.progress, self.objective.recipe.validate_every, self.total):
            self.validate(self.rate(self.progress.step - 1))

    def validate(self, rate: float) -> None:
        """By the first process; the others wait, and hear what it has decided. rate: of the steps before."""
        found = {}
        if self.crew.first:
            self.objective.network.eval().requires_grad_(False)
            found = self.validation.maps(self.objective.reranker)
        with unbroken():
            if self.crew.first:
                self.best = _entered(self.objective, self.progress, found, rate, self.best)
            self.progress = self.crew.told(self.progress)
        self.keep()

    def keep(self) -> None:
        moments = self.descent.moments()
        if self.crew.first:
            save(self.state, self.progress, self.objective.network, moments, self.best)
        self.saved = time.monotonic()


def _agree(progress: Progress, crew: Crew, state: Path) -> None:
    """BenchError unless all processes go on from one state."""
    if (first := crew.told(progress)) != progress:
        raise BenchError(
            f"{state} of step {progress.step} in process {crew.rank}, of step {first.step} in process 0",
            wanted="one file that all processes read",
            cure="Let --out be a folder that they share.",
        )


def _due(progress: Progress, every: int, total: int) -> bool:
    """Whether the last step is one after which validation comes, and has not come."""
    reached = progress.step > 0 and (progress.step % every == 0 or progress.step == total)
    return reached and not (progress.curve and progress.curve[-1].step == progress.step)


def _factor(objective: Objective, progress: Progress, step: int, total: int) -> float:
    recipe = objective.recipe
    warm = min(1.0, (step + 1) / recipe.warm_up) if recipe.warm_up else 1.0
    if recipe.schedule == PLATEAU:
        return warm * progress.factor
    return warm * SCHEDULES[recipe.schedule](step, total)


def _backward(objective: Objective, parts: list[Part], step: int, descent: Descent, crew: Crew) -> tuple[float, float]:
    """The loss of a step, its gradients left in the network, and the seconds that loading was waited for."""
    device = next(objective.network.parameters()).device
    total, waited = 0.0, 0.0
    for number, (part, share) in enumerate(parts, 1):
        loss = None
        if part is not None:
            start = time.monotonic()
            inputs = part.result()
            waited += time.monotonic() - start
            with descent.computing():
                loss = objective.loss(moved(inputs, device)) * share
            total += float(loss.detach())
        descent.backward(loss, last=number == len(parts))
    if crew.count > 1:
        total = float(crew.summed(torch.tensor(total, dtype=torch.float64)))
    if not math.isfinite(total):
        raise BenchError(
            f"a loss of {total} at step {step}",
            wanted="a finite number",
            cure="Lower the rate (--rate), and begin anew (--again).",
        )
    return total, waited


def _entered(
    objective: Objective, progress: Progress, maps: dict[str, float], rate: float, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Adds a row to the curve, and decides on the rate and the end; the best weights so far."""
    network, recipe = objective.network, objective.recipe
    before = progress.best
    spent = progress.seconds - progress.begun
    row = Row(
        step=progress.step,
        epoch=(progress.step - 1) // objective.steps() + 1,
        seconds=round(progress.seconds, 1),
        loss=sum(progress.losses) / max(1, len(progress.losses)),
        rate=rate,
        waited=progress.waited / max(spent, 1e-9),
        map_medium=maps["medium"],
        map_hard=maps["hard"],
    )
    progress.curve.append(row)
    progress.losses, progress.waited, progress.begun = [], 0.0, progress.seconds
    if before is None or row.mean > before.mean:
        progress.stale = 0
        return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    progress.stale += progress.step > recipe.earliest
    if recipe.patience is not None and progress.stale >= recipe.patience:
        if progress.falls >= recipe.falls:
            progress.finished = True
        progress.falls, progress.factor, progress.stale = progress.falls + 1, progress.factor * FALL, 0
    return best


def _steps(objective: Objective, first: int, total: int, crew: Crew) -> Iterator[tuple[int, list[Part]]]:
    """The steps from `first` on, each with this process's parts of it, loaded ahead in a thread; of each process as
    many, the last of which may be none."""
    each = objective.steps()

    def planned() -> Iterator[tuple[int, Any]]:
        for epoch in count(first // each):
            skipped = first % each if epoch == first // each else 0
            for place, chosen in islice(enumerate(objective.epoch(epoch)), skipped, None):
                if (number := epoch * each + place) >= total:
                    return
                yield number, chosen

    with ThreadPoolExecutor(1) as pool:
        waiting: list[tuple[int, list[Part]]] = []
        for step, chosen in planned():
            parts = objective.parts(chosen, objective.recipe.accumulation * crew.count)
            own: list[Part] = [
                (pool.submit(objective.load, part, step), len(part) / len(chosen))
                for part in parts[crew.rank :: crew.count]
            ]
            missing = -(-len(parts) // crew.count) - len(own)
            waiting.append((step, [*own, *[(None, 0.0)] * missing]))
            if len(waiting) > AHEAD:
                yield waiting.pop(0)
        yield from waiting
