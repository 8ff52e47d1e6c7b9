"""Whether the timed program is the one that scores, and keeps nothing from one call to the next.

Each check is a trap: inputs that change in place, queries that take turns, inputs never seen before. A program that
remembers an earlier call, by whatever it knows its inputs again, gives a stale score or does less work in one of them.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from bench.cost import CostTask, Workload, scores_sha256
from bench.measure import time_calls, traffic
from rerankers import Features, Ranking, Reranker
from rerankers.interface import Given

#: Measured calls whose last gives the ranking that is audited.
TIMED_RUNS = 2
#: What draws of other inputs add to the seed: for the alteration, for the turns, for the work.
ALTERED, TURNS, UNSEEN = 1, 2, 3
#: Kernels in a sentence before it says how many more there are.
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Check:
    """One trap. holds: whether the program came out of it clean; None where it tells nothing. words: what was seen."""

    name: str
    holds: bool | None
    words: str


@dataclass(frozen=True, kw_only=True)
class Audit:
    """All checks of one workload, and the hash of the scores that the timed calls gave."""

    checks: tuple[Check, ...]
    scores_sha256: str

    @property
    def clean(self) -> bool:
        return all(one.holds is not False for one in self.checks)


def run(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """The audit of the CostTask in `payload`, as JSON can carry it: "checks" (fields of Check), "scores_sha256"."""
    task = CostTask(**payload)
    return asdict(audit(task.prepared(), lambda: task.prepared().reranker))


def audit(load: Workload, build: Callable[[], Reranker]) -> Audit:
    """Times a few calls, then sets the traps. build: makes the same re-ranker anew, with the same weights."""
    unseen = load.task.drawn(load.task.seed + UNSEEN)  # first, and kept: no input of an earlier call can lie there
    pristine, before = copied(load.query, load.candidates, load.similarity), state(load.reranker)
    first = load.call()
    changed = _changed(load, pristine)  # before another call can undo it
    kept = first, Ranking(first.order.clone(), first.key.clone())
    timed = time_calls(load.call, warmup=0, runs=TIMED_RUNS, device=load.task.device)[1]
    digest, expected = scores_sha256(timed), build().ranking(*copied(*pristine))
    checks = [_agrees("timed ranking", timed, expected, "a new re-ranker on copies of the inputs")]
    checks.append(_altered(load, build, pristine))
    checks.append(_turns(load, build, expected))
    checks.append(_work(load, unseen))
    checks.append(_untouched(changed | _changed(load, pristine)))
    checks.append(_agrees("kept result", *kept, "the same result before the other calls"))
    checks.append(_memory(before, state(load.reranker)))
    return Audit(checks=tuple(checks), scores_sha256=digest)


def _altered(load: Workload, build: Callable[[], Reranker], pristine: Given) -> Check:
    """The same tensors with new values: what knows its inputs by where they lie gives the old scores."""
    name, mine, other = "altered in place", copied(*pristine), load.task.drawn(load.task.seed + ALTERED)
    earlier = build().ranking(*copied(*mine))
    load.rank(*mine)
    for place, value in zip(_tensors(*mine), _tensors(*other), strict=True):
        place.copy_(value)
    expected = build().ranking(*copied(*mine))
    found = _agrees(name, load.rank(*mine), expected, "a new re-ranker on the new values")
    if found.holds and torch.equal(earlier.key, expected.key):
        return Check(name=name, holds=None, words="other values have the same scores")
    return found


def _turns(load: Workload, build: Callable[[], Reranker], expected: Ranking) -> Check:
    """Two queries in turn, of the same candidates: each gets its own scores."""
    query = load.task.drawn(load.task.seed + TURNS)[0]
    other = query, load.candidates, load.similarity
    wanted = [build().ranking(*copied(*other)), expected]
    for one, right in zip(([other, None] * 2), wanted * 2, strict=True):
        found = load.call() if one is None else load.rank(*one)
        check = _agrees("queries in turn", found, right, "new re-rankers, one for each query")
        if not check.holds:
            return check
    return check


def _work(load: Workload, unseen: Given) -> Check:
    """Three calls on inputs never seen before: the later ones do all that the first did."""
    call = partial(load.rank, *unseen)
    first, *later = (work(call) for _ in range(3))
    total = f"{sum(first.values()):,} calls of {len(first)} kernels and compiled functions"
    for number, one in enumerate(later, 2):
        if one != first:
            words = f"call {number} on the same inputs did other work than the first: {_differences(first, one)}"
            return Check(name="work", holds=False, words=words)
    return Check(name="work", holds=True, words=f"the same in calls 1, 2 and 3 on inputs never seen before: {total}")


def _changed(load: Workload, pristine: Given) -> set[str]:
    """Inputs that are not what they were, by name."""
    given = zip(_named(load.query, load.candidates, load.similarity), _named(*pristine), strict=True)
    return {name for (name, now), (_, before) in given if not torch.equal(now, before)}


def _untouched(changed: set[str]) -> Check:
    """Calls leave their inputs as they were."""
    words = f"changed by the calls: {', '.join(sorted(changed))}" if changed else "as they were before the calls"
    return Check(name="inputs", holds=not changed, words=words)


def _memory(before: Mapping[str, str], after: Mapping[str, str]) -> Check:
    """What the re-ranker holds itself: nothing has come to it, and nothing of it has changed."""
    moved = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    words = f"changed by the calls: {_listed(moved)}" if moved else f"{len(after)} attributes and weights as before"
    return Check(name="what it holds", holds=not moved, words=words)


def _agrees(name: str, found: Ranking, expected: Ranking, whose: str) -> Check:
    """Whether two rankings are the same bits."""
    key, wanted = found.key, expected.key
    if key.shape != wanted.shape:
        return Check(name=name, holds=False, words=f"{len(key)} scores against {len(wanted)} of {whose}")
    if not torch.equal(key, wanted):
        apart = key != wanted
        words = f"{int(apart.sum())} of {len(key)} scores are not those of {whose}"
        return Check(name=name, holds=False, words=words)
    if not torch.equal(found.order, expected.order):
        return Check(name=name, holds=False, words=f"the scores of {whose}, in another order")
    return Check(name=name, holds=True, words=f"all {len(key)} scores bit by bit those of {whose}")


def work(call: Callable[[], Any]) -> Counter[str]:
    """How often one call runs each of torch's kernels, and each compiled function of OpenCV and numpy."""
    with _compiled() as seen:
        kernels = traffic(call).kernels
    return Counter(kernels) + Counter(seen)


@contextmanager
def _compiled() -> Iterator[list[str]]:
    """Names of the compiled functions of OpenCV and numpy that are called meanwhile, by threads that start, too."""
    seen: list[str] = []

    def note(frame: Any, event: str, function: Any) -> None:
        if event == "c_call" and (name := _compiled_name(function)) is not None:
            seen.append(name)  # one step, whichever thread is at it

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # what it was at the start of the program


def _compiled_name(function: Any) -> str | None:
    name = getattr(function, "__qualname__", "")
    if name and getattr(cv2, name, None) is function:
        return f"cv2.{name}"
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ndarray | np.ufunc | np.random.Generator):
        return f"numpy.{name}"
    return f"numpy.{name}" if str(getattr(function, "__module__", "")).startswith("numpy") else None


def state(value: Any, name: str = "", seen: set[int] | None = None) -> dict[str, str]:
    """What an object holds, attribute by attribute and item by item: name -> a text that changes with the content."""
    seen = set() if seen is None else seen
    if isinstance(value, Tensor | np.ndarray):
        return {name: _digest(value)}
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.dtype | torch.device):
        return {name: repr(value)}
    if id(value) in seen:
        return {}
    seen.add(id(value))
    found = {name: type(value).__name__}
    for key, item in _items(value):
        found |= state(item, f"{name}.{key}" if name else str(key), seen)
    return found


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from enumerate(value)
    elif not isinstance(value, type) and not inspect.ismodule(value) and not inspect.isroutine(value):
        yield from getattr(value, "__dict__", {}).items()


def _digest(value: Tensor | np.ndarray) -> str:
    array = value.detach().cpu().contiguous() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    content = array.flatten().view(torch.uint8).numpy().tobytes() if array.numel() else b""
    return f"{tuple(array.shape)} {array.dtype} {hashlib.sha256(content).hexdigest()}"


def copied(query: Features, candidates: Features, similarity: Tensor) -> Given:
    """The same values in memory of their own."""

    def fresh(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(one.clone() for one in value)
        return None if value is None else value.clone()

    sides = [Features(**{f.name: fresh(getattr(side, f.name)) for f in fields(side)}) for side in (query, candidates)]
    return sides[0], sides[1], similarity.clone()


def _named(query: Features, candidates: Features, similarity: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of one list's inputs, by name."""
    for side, features in (("query", query), ("candidates", candidates)):
        for field in fields(features):
            value = getattr(features, field.name)
            for one in value if isinstance(value, tuple) else (value,):
                if one is not None:
                    yield f"{side}' {field.name.rstrip('_')}", one
    yield "similarities", similarity


def _tensors(*given: Any) -> list[Tensor]:
    return [tensor for _, tensor in _named(*given)]


def _differences(first: Counter[str], later: Counter[str]) -> str:
    """-2 aten.mm.default, +1 cv2.estimateAffine2D and 4 more."""
    moved = {name: later[name] - first[name] for name in first.keys() | later.keys() if later[name] != first[name]}
    return _listed([f"{count:+d} {name}" for name, count in sorted(moved.items(), key=lambda one: (-abs(one[1]), one))])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
