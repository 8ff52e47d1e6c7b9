"""Programs that remember what they should not, each caught by the trap set for it; honest ones come out clean."""

from __future__ import annotations

from dataclasses import asdict
from typing import ClassVar

import numpy as np
import pytest
import torch

from bench import audit as auditing
from bench.audit import Audit, audit, copied, state, work
from bench.cost import CostTask, Workload, scores_sha256
from rerankers import Features, Reranker

TASK = CostTask("sg-rerank", "cpu", "float32", 6, 0, 1, 3)


class Honest(Reranker):
    """The inner product of global descriptors."""

    needs = ("global_",)

    def score(self, query, candidates):
        return candidates.global_ @ query.global_[0]


class ByPlace(Honest):
    """Knows its inputs again by the objects they are."""

    def __init__(self):
        self.known = {}

    def score(self, query, candidates):
        name = query.global_.data_ptr(), candidates.global_.data_ptr()
        if name not in self.known:
            self.known[name] = super().score(query, candidates)
        return self.known[name]


class ByCandidates(ByPlace):
    """Keeps what it has made of the candidates, by where they lie: half of the work."""

    def score(self, query, candidates):
        name = candidates.global_.data_ptr()
        if name not in self.known:
            self.known[name] = candidates.global_.clone()
        return self.known[name] @ query.global_[0]


class FirstOnly(Honest):
    """Gives the first result for ever."""

    def __init__(self):
        self.first = None

    def score(self, query, candidates):
        if self.first is None:
            self.first = super().score(query, candidates)
        return self.first


class OneLate(Honest):
    """Gives the scores of the call before."""

    def __init__(self):
        self.last = None

    def score(self, query, candidates):
        found = super().score(query, candidates)
        self.last, given = found, found if self.last is None else self.last
        return given


class SharedBuffer(Honest):
    """Puts every result where the last one was."""

    def __init__(self):
        self.buffer = torch.zeros(TASK.candidates)

    def score(self, query, candidates):
        return self.buffer.copy_(super().score(query, candidates))


class SortsInPlace(Honest):
    """Leaves its candidates in another order."""

    def score(self, query, candidates):
        found = super().score(query, candidates)
        candidates.global_.copy_(candidates.global_.flip(0))
        return found.clone()


class ByVersion(Honest):
    """Knows its inputs again, and notices when they change in place."""

    def __init__(self):
        self.known = {}

    def score(self, query, candidates):
        name = tuple((one.data_ptr(), one._version) for one in (query.global_, candidates.global_))
        if name not in self.known:
            self.known[name] = super().score(query, candidates)
        return self.known[name]


REMEMBERED: dict[bytes, torch.Tensor] = {}


class ByContent(Honest):
    """Knows its inputs again by their values, and keeps its results where no object of it shows them."""

    def score(self, query, candidates):
        name = query.global_.numpy().tobytes() + candidates.global_.numpy().tobytes()
        if name not in REMEMBERED:
            REMEMBERED[name] = super().score(query, candidates)
        return REMEMBERED[name].clone()


class Drifts(Honest):
    """Takes its own calls for something to count."""

    def __init__(self):
        self.calls = 0

    def score(self, query, candidates):
        self.calls += 1
        return super().score(query, candidates)


def audited(kind: type[Reranker]) -> Audit:
    return audit(Workload(TASK, kind(), *TASK.drawn(TASK.seed)), kind)


def broken(found: Audit) -> set[str]:
    return {one.name for one in found.checks if one.holds is False}


def test_an_honest_program_comes_out_clean():
    found = audited(Honest)
    assert found.clean and all(one.holds and one.words for one in found.checks)
    assert found.scores_sha256 == scores_sha256(Honest().ranking(*TASK.drawn(TASK.seed)))


@pytest.mark.parametrize(
    ("kind", "traps"),
    [
        (ByPlace, {"altered in place", "what it holds", "work"}),
        (ByCandidates, {"altered in place", "what it holds", "work"}),
        (FirstOnly, {"altered in place", "queries in turn", "what it holds"}),
        (OneLate, {"altered in place", "queries in turn", "what it holds"}),
        (SharedBuffer, {"kept result", "what it holds"}),
        (SortsInPlace, {"timed ranking", "inputs"}),
        (ByVersion, {"work", "what it holds"}),
        (ByContent, {"work"}),
        (Drifts, {"what it holds"}),
    ],
)
def test_a_program_that_remembers_is_caught(kind, traps):
    REMEMBERED.clear()
    found = audited(kind)
    assert traps <= broken(found) and not found.clean


def test_unseen_inputs_lie_where_no_earlier_input_lay():
    """Else a program that knows its inputs by their place has done its work before the first counted call."""

    class Places(Honest):
        seen: ClassVar[list[int]] = []

        def score(self, query, candidates):
            self.seen.append(candidates.global_.data_ptr())
            return super().score(query, candidates)

    for number in range(30):
        Places.seen.clear()
        audit(Workload(TASK, Places(), *TASK.drawn(TASK.seed)), Honest)
        *earlier, one, two, three = Places.seen
        assert one == two == three and one not in earlier, f"audit {number + 1} of 30"


@pytest.mark.parametrize("name", ["none", "sg-rerank", "ransac:affine", "ames:micro", "r2former:micro"])
def test_re_rankers_of_the_suite_come_out_clean(name):
    task = CostTask(name, "cpu", "float32", 4, 0, 1, 3)
    found = auditing.run(asdict(task), lambda *_: None)
    assert {one["name"] for one in found["checks"] if one["holds"] is False} == set()
    assert found["scores_sha256"] == scores_sha256(task.prepared().call())


def test_other_values_with_the_same_scores_tell_nothing():
    class Constant(Honest):
        def score(self, query, candidates):
            return torch.zeros(len(candidates))

    found = {one.name: one for one in audited(Constant).checks}
    assert found["altered in place"].holds is None and "same scores" in found["altered in place"].words


def test_work_counts_kernels_and_compiled_functions():
    square = torch.ones(3, 3)
    assert work(lambda: square @ square) == {"aten.mm.default": 1}
    load = CostTask("ransac:affine", "cpu", "float32", 5, 0, 1, 3).prepared()
    assert work(load.call)["cv2.estimateAffine2D"] == 5


def test_what_an_object_holds_is_told_by_its_content():
    class Holder:
        def __init__(self):
            self.weights, self.names, self.itself = torch.ones(2), {"a": [1, None]}, self

    one = Holder()
    before = state(one)
    assert before == state(Holder())
    one.weights[1] = 2
    assert {name for name, text in state(one).items() if before[name] != text} == {"weights"}
    one.names["a"].append(np.zeros(1))
    assert state(one).keys() - before.keys() == {"names.a.2"}


def test_copies_lie_elsewhere():
    maps = (torch.ones(1, 2, 2),)
    given = Features(global_=torch.ones(1, 2), dense=maps), Features(), torch.ones(0)
    found = copied(*given)
    assert torch.equal(found[0].global_, given[0].global_) and found[1].global_ is None
    assert found[0].global_.data_ptr() != given[0].global_.data_ptr()
    assert found[0].dense[0].data_ptr() != maps[0].data_ptr()
