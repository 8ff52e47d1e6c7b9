"""The steps of a training, one after the other, from wherever it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError
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


def train(
    objective: Objective,
    validation: Validation,
    state: Path,
    *,
    settings: str,
    minutes: float,
    report: Report = lambda progress, steps: None,
) -> tuple[Progress, dict[str, Tensor]]:
    """Runs the recipe to its end, or until so many `minutes` of steps are spent; the best weights by validation.

    state: file to go on from. It is saved at every validation and every minute, and at an interruption.
    report: told how far it is after every step, with the number of all steps.
    Raises BenchError when the loss is not a finite number.
    """
    recipe, network = objective.recipe, objective.network
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    progress, best = resume(state, settings, network, optimizer)
    total = recipe.epochs * objective.steps()
    saved = time.monotonic()
    begun = progress.step
    try:
        for step, parts in _steps(objective, progress.step, total):
            if progress.finished or progress.seconds >= 60 * minutes:
                break
            start = time.monotonic()
            rate = recipe.rate * _factor(objective, progress, step, total)
            for group in optimizer.param_groups:
                group["lr"] = rate
            network.train().requires_grad_(True)
            optimizer.zero_grad(set_to_none=True)
            loss, waited = _backward(objective, parts, step)
            if recipe.clip is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimizer.step()
            progress.step = step + 1
            progress.losses.append(loss)
            progress.seconds += time.monotonic() - start
            progress.waited += waited
            if progress.step % recipe.validate_every == 0 or progress.step == total:
                best = _validate(objective, validation, progress, rate, best)
                save(state, progress, network, optimizer, best)
                saved = time.monotonic()
            elif time.monotonic() - saved > SAVE_EVERY_S:
                save(state, progress, network, optimizer, best)
                saved = time.monotonic()
            report(progress, total)
    except KeyboardInterrupt:
        save(state, progress, network, optimizer, best)
        raise
    if not progress.curve or (progress.curve[-1].step != progress.step and progress.step > begun):
        best = _validate(objective, validation, progress, recipe.rate * progress.factor, best)
    save(state, progress, network, optimizer, best)
    return progress, best


def _factor(objective: Objective, progress: Progress, step: int, total: int) -> float:
    recipe = objective.recipe
    warm = min(1.0, (step + 1) / recipe.warm_up) if recipe.warm_up else 1.0
    if recipe.schedule == PLATEAU:
        return warm * progress.factor
    return warm * SCHEDULES[recipe.schedule](step, total)


def _backward(objective: Objective, parts: list[Future[Any]], step: int) -> tuple[float, float]:
    """The loss of a step, its gradients left in the network, and the seconds that loading was waited for."""
    total, waited = 0.0, 0.0
    for part in parts:
        start = time.monotonic()
        inputs = part.result()
        waited += time.monotonic() - start
        loss = objective.loss(inputs) / len(parts)
        if not bool(torch.isfinite(loss)):
            raise BenchError(
                f"a loss of {float(loss.detach())} at step {step}",
                wanted="a finite number",
                cure="Lower the rate (--rate), and begin anew (--again).",
            )
        loss.backward()
        total += float(loss.detach())
    return total, waited


def _validate(
    objective: Objective, validation: Validation, progress: Progress, rate: float, best: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Adds a row to the curve, and decides on the rate and the end; the best weights so far."""
    network, recipe = objective.network, objective.recipe
    network.eval().requires_grad_(False)
    maps = validation.maps(objective.reranker)
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


def _steps(objective: Objective, first: int, total: int) -> Iterator[tuple[int, list[Future[Any]]]]:
    """The steps from `first` on, each with its parts, loaded ahead in a thread."""
    each = objective.steps()

    def planned() -> Iterator[tuple[int, Any]]:
        for epoch in count(first // each):
            skipped = first % each if epoch == first // each else 0
            for place, chosen in islice(enumerate(objective.epoch(epoch)), skipped, None):
                if (number := epoch * each + place) >= total:
                    return
                yield number, chosen

    with ThreadPoolExecutor(1) as pool:
        waiting: list[tuple[int, list[Future[Any]]]] = []
        for step, chosen in planned():
            waiting.append((step, [pool.submit(objective.load, part, step) for part in objective.parts(chosen)]))
            if len(waiting) > AHEAD:
                yield waiting.pop(0)
        yield from waiting
