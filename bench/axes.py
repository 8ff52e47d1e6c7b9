"""What can be varied of a re-ranker's cost, and what a value of it makes of a task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from inspect import isfunction

import rerankers
from bench.cost import CostTask
from bench.errors import BenchError, unknown_name
from bench.measure.law import AMDAHL, EACH, GOES, GROWTH, Term
from rerankers import Reranker
from rerankers.compose import Windows
from rerankers.registry import parse


class Axis(StrEnum):
    """What is varied. candidates: of the query. descriptors: local ones, read of every image. window: candidates that
    slide through together, half of them at a time. batch: pairs scored at once. threads: of every library."""

    CANDIDATES = "candidates"
    DESCRIPTORS = "descriptors"
    WINDOW = "window"
    BATCH = "batch"
    THREADS = "threads"

    @property
    def latency(self) -> tuple[Term, ...]:
        """The terms of the law of latency."""
        return {Axis.THREADS: AMDAHL, Axis.BATCH: GOES, Axis.WINDOW: GOES}.get(self, GROWTH)

    @property
    def memory(self) -> tuple[Term, ...]:
        """The terms of the law of memory: as many as those of latency."""
        return EACH if self is Axis.THREADS else GROWTH


@dataclass(frozen=True)
class Sweep:
    """An axis and its values, ascending: more of them than its laws have terms."""

    axis: Axis
    values: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Sweep:
        """The sweep of a request such as `candidates=25,50,100,200,400`; BenchError when it cannot be."""
        name, _, listed = text.partition("=")
        if name not in tuple(Axis):
            raise unknown_name("axis", name, map(str, Axis), cure="Write it as in candidates=25,50,100,200,400.")
        axis, parts = Axis(name), listed.split(",")
        unknowns = len(axis.latency)
        least = unknowns + 1
        numbers = sorted({int(part) for part in parts if part.strip().isdecimal() and int(part) > 0})
        if len(numbers) < len(parts) or len(numbers) < least:
            raise BenchError(
                f"--sweep {text}",
                wanted=f"at least {least} different whole numbers above 0, for its law has {unknowns} unknowns",
                cure=f"Write them as in {name}={','.join(str(2**power) for power in range(least))}.",
            )
        return cls(axis, tuple(numbers))

    def task(self, task: CostTask, value: int) -> CostTask:
        """The task at one value of the axis."""
        match self.axis:
            case Axis.CANDIDATES:
                return replace(task, candidates=value)
            case Axis.DESCRIPTORS:
                return replace(task, locals=value)
            case Axis.BATCH:
                return replace(task, at_once=value)
            case Axis.WINDOW:
                windows = Windows(task.candidates, value, max(1, value // 2))
                return replace(task, reranker=str(replace(parse(task.reranker), slide=windows)))
        return task

    def unsuited(self, task: CostTask) -> str | None:
        """Why this axis says nothing of a re-ranker; None where it does."""
        spec, largest = parse(task.reranker), self.values[-1]
        if self.axis is Axis.THREADS:
            return None if task.device == "cpu" else "threads of the processor do not do the work of a GPU"
        if self.axis is Axis.DESCRIPTORS:
            return "it reads no local descriptors" if task.inputs.local_dim is None else None
        if self.axis is not Axis.CANDIDATES and spec.then is not None:
            return "it is a chain: ask for its parts one by one"
        if self.axis is not Axis.CANDIDATES and largest > task.candidates:
            return f"{self.axis}={largest} is no more than all {task.candidates} candidates at once"
        part = replace(spec, slide=None) if self.axis is Axis.WINDOW else spec
        reranker = rerankers.build(part, allow_random=True, seed=task.seed)
        if self.axis is Axis.BATCH:
            return None if _scores_several(reranker) else "it does not score several pairs at once"
        if self.axis is Axis.WINDOW and reranker.kind == "pair-wise":
            return "it is pair-wise: its scores and its work do not depend on a window"
        if reranker.window is None or largest <= reranker.window:
            return None
        return f"it sees the first {reranker.window} candidates only: ask for values up to that" + (
            f", or for {spec}+slide={largest}/{reranker.window}/{max(1, reranker.window // 2)}"
            if self.axis is Axis.CANDIDATES and spec.slide is None and reranker.kind == "list-wise"
            else ""
        )


def _scores_several(reranker: Reranker) -> bool:
    """Whether a re-ranker, or what it is made of, asks how many pairs to score at once; told from its methods, so that
    it holds for those of other packages too."""
    inner = [one for one in vars(reranker).values() if isinstance(one, Reranker)]
    methods = [
        method
        for kind in type(reranker).__mro__
        if kind is not Reranker
        for method in vars(kind).values()
        if isfunction(method)
    ]
    return any("at_once" in method.__code__.co_names for method in methods) or any(map(_scores_several, inner))
