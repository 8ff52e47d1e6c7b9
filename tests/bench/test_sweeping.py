"""Sweeps: what is asked for, what an axis makes of a task, and the cell."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import pytest

from bench import cost, sweeping
from bench.axes import Axis, Sweep
from bench.cells import CellFailed, CellMissing, Limits
from bench.cost import CostTask
from bench.errors import BenchError
from bench.measure.law import AMDAHL, EACH, GOES, GROWTH
from bench.reporting.scaling import ON_THE_LAW
from bench.results import Record
from bench.sweeping import UNTOLD, sweep_cell, turns
from tests.bench.reporting.examples import provenance

MIB = 2**20


def task(reranker: str = "sg-rerank:default", **changes) -> CostTask:
    given = {"device": "cpu", "dtype": "float32", "candidates": 100, "seed": 0, "warmup": 0, "runs": 2}
    return CostTask(reranker, **(given | changes))


def observed(ms: float, *, delta_bytes: int | None = 4 * MIB, noisy: bool = False, scores: str = "a") -> dict:
    """What a process found, as `bench.cost.observe` says it."""
    base = None if delta_bytes is None else 300 * MIB
    return {
        "summary": {"median": ms, "p95": 1.1 * ms},
        "samples_ms": [ms, 1.1 * ms],
        "host": {
            "baseline_bytes": base,
            "peak_bytes": None if delta_bytes is None else base + delta_bytes,
            "reason": "" if base else "no peak is told here",
        },
        "noisy": noisy,
        "scores_sha256": scores,
    }


class Machine:
    """Stands for processes: gives what `found` says of a payload and the threads, and remembers what was asked."""

    def __init__(self, monkeypatch, found) -> None:
        self.found, self.asked = found, []
        monkeypatch.setattr(sweeping, "isolated", self)

    def __call__(self, target, payload, *, threads, limits):
        assert target == "bench.cost:observe" and limits == Limits(60)
        self.asked.append((payload, threads))
        return self.found(payload, threads)


def cell(tmp_path, text: str, one: CostTask | None = None, *, processes: int = 3):
    return sweep_cell(
        one or task(), Sweep.parse(text), threads=1, work=tmp_path, limits=Limits(60), processes=processes
    )


def linear(payload, threads):
    return observed(2 + 0.3 * payload["candidates"], delta_bytes=(4 + payload["candidates"] // 25) * MIB)


def value(result, name: str):
    return result.figures[name].value


@pytest.mark.parametrize(
    ("text", "axis", "values"),
    [
        ("candidates=25,50,100,200,400", Axis.CANDIDATES, (25, 50, 100, 200, 400)),
        ("descriptors=96, 48,24,12", Axis.DESCRIPTORS, (12, 24, 48, 96)),
        ("threads=1,2,4", Axis.THREADS, (1, 2, 4)),
    ],
)
def test_a_request_is_read(text, axis, values):
    assert Sweep.parse(text) == Sweep(axis, values)


@pytest.mark.parametrize(
    "text",
    ["candidates", "candidates=", "batch=1,2,4", "batch=1,2,4,4", "window=0,1,2,3", "threads=1,2", "batch=a,b,c,d"],
)
def test_a_request_that_no_law_fits_is_refused(text):
    with pytest.raises(BenchError, match=r"different whole numbers above 0.*Write them as in"):
        Sweep.parse(text)


def test_an_unknown_axis_is_refused_with_the_nearest():
    with pytest.raises(BenchError, match=r"unknown axis 'candidate'.*Did you mean 'candidates'"):
        Sweep.parse("candidate=1,2,3,4")


def test_every_axis_changes_what_it_is_named_for():
    def at(text: str, one: CostTask, number: int) -> CostTask:
        return Sweep.parse(text).task(one, number)

    assert at("candidates=1,2,3,4", task(), 3) == task(candidates=3)
    assert at("descriptors=1,2,3,4", task("ames:micro"), 3) == task("ames:micro", locals=3)
    assert at("batch=1,2,3,4", task("ames:micro"), 3) == task("ames:micro", at_once=3)
    assert at("window=1,10,20,50", task("locore:micro"), 50).reranker == "locore:micro+slide=100/50/25"
    assert at("window=1,10,20,50", task("locore:micro+slide=400/100/50"), 1).reranker == "locore:micro+slide=100/1/1"
    assert at("threads=1,2,3", task(), 3) == task()
    assert [axis.latency for axis in Axis] == [GROWTH, GROWTH, GOES, GOES, AMDAHL]
    assert [axis.memory for axis in Axis] == [GROWTH, GROWTH, GROWTH, GROWTH, EACH]


@pytest.mark.parametrize(
    ("text", "reranker", "reason"),
    [
        (
            "candidates=25,50,100,200,400",
            "locore:micro",
            r"sees the first 100 .* or for locore:micro\+slide=400/100/50",
        ),
        ("candidates=25,50,100,200,400", "locore:micro+slide=400/100/50", None),
        ("candidates=25,50,100,200,400", "sg-rerank:default+then+ames:micro", None),
        ("descriptors=12,24,48,96", "sg-rerank:default", "reads no local descriptors"),
        ("descriptors=12,24,48,96", "ransac:affine", None),
        ("window=10,20,50,100", "ames:micro", "pair-wise"),
        ("window=10,20,50,100", "locore:micro", None),
        ("window=10,20,50,200", "sg-rerank:default", "window=200 is no more than all 100 candidates at once"),
        ("window=10,20,50,100", "sg-rerank:default+then+locore:micro", "chain"),
        ("batch=1,4,16,64", "chamfer:rootsift", None),
        ("batch=1,4,16,64", "ames:micro+blend=0.5/0.1", None),
        ("batch=1,4,16,64", "none:first-stage", "does not score several pairs at once"),
        ("batch=1,4,16,64", "ransac:affine", "does not score several pairs at once"),
        ("batch=1,4,16,64", "locore:micro", "does not score several pairs at once"),
        ("threads=1,2,4", "ransac:affine", None),
    ],
)
def test_an_axis_that_says_nothing_of_a_re_ranker_says_why(tmp_path, text, reranker, reason):
    one, sweep = task(reranker), Sweep.parse(text)
    if reason is None:
        assert sweep.unsuited(one) is None
        return
    with pytest.raises(CellMissing, match=reason):
        cell(tmp_path, text, one).run()


def test_a_window_is_no_larger_than_what_a_re_ranker_sees():
    reason = Sweep.parse("window=10,20,50,200").unsuited(task("locore:micro", candidates=400))
    assert reason == "it sees the first 100 candidates only: ask for values up to that"


def test_threads_of_the_processor_are_not_swept_on_a_gpu():
    assert "GPU" in str(Sweep.parse("threads=1,2,4").unsuited(task(device="cuda")))


def test_values_are_visited_in_any_order_but_the_same_one_every_time():
    order = list(turns((1, 2, 3, 4, 5), processes=3, seed=0))
    assert order == list(turns((1, 2, 3, 4, 5), processes=3, seed=0))
    assert order != list(turns((1, 2, 3, 4, 5), processes=3, seed=1))
    visited = [[value for value, process in order if process == number] for number in range(3)]
    assert all(sorted(one) == [1, 2, 3, 4, 5] for one in visited)
    assert [1, 2, 3, 4, 5] not in visited and len({tuple(one) for one in visited}) > 1


def test_the_law_of_a_cell_its_series_and_its_key(tmp_path, monkeypatch):
    machine = Machine(monkeypatch, linear)
    one = cell(tmp_path, "candidates=25,50,100,200,400")
    result = one.run()
    assert (one.key.axis, one.key.values, one.key.candidates) == ("candidates", "25,50,100,200,400", 400)
    assert len(machine.asked) == 15 and {threads for _, threads in machine.asked} == {1}
    assert value(result, "law_constant_ms") == pytest.approx(2)
    assert value(result, "law_linear_ms") == pytest.approx(0.3)
    assert value(result, "residual") == pytest.approx(0, abs=1e-9) and value(result, "noise") == 0
    assert result.figures["departs_at"].reason == result.figures["memory_departs_at"].reason == ON_THE_LAW
    assert value(result, "memory_law_linear_bytes") == pytest.approx(MIB / 25)
    assert result.series["values"] == [25, 50, 100, 200, 400]
    assert result.series["latency_median_ms"] == pytest.approx([9.5, 17, 32, 62, 122])
    assert result.series["predicted_ms"] == pytest.approx([9.5, 17, 32, 62, 122])
    assert result.series["latency_p95_ms"] == pytest.approx([10.45, 18.7, 35.2, 68.2, 134.2])
    assert result.series["peak_delta_bytes"] == [5 * MIB, 6 * MIB, 8 * MIB, 12 * MIB, 20 * MIB]
    assert (value(result, "processes"), value(result, "fewest_runs"), list(result.notes)) == (3, 2, [])
    one.discard()
    assert list(tmp_path.iterdir()) == []


def test_threads_are_those_of_the_value(tmp_path, monkeypatch):
    machine = Machine(monkeypatch, lambda payload, threads: observed(30 + 140 / threads))
    result = cell(tmp_path, "threads=1,2,4,8").run()
    assert Counter(threads for _, threads in machine.asked) == {1: 3, 2: 3, 4: 3, 8: 3}
    assert value(result, "law_inverse_ms") == pytest.approx(140) and "law_linear_ms" not in result.figures


def test_a_value_that_leaves_the_law_is_measured_again(tmp_path, monkeypatch):
    def cliff(payload, threads):
        return observed((2 + 0.3 * payload["candidates"]) * (2 if payload["candidates"] == 400 else 1))

    machine = Machine(monkeypatch, cliff)
    result = cell(tmp_path, "candidates=25,50,100,200,400").run()
    assert Counter(payload["candidates"] for payload, _ in machine.asked)[400] == 6
    assert len(machine.asked) == 18
    assert (value(result, "departs_at"), value(result, "departs_onwards")) == (400, 1)
    assert value(result, "departs_by") == pytest.approx(1)
    assert value(result, "law_linear_ms") == pytest.approx(0.3)


def test_the_mood_of_one_process_is_no_departure(tmp_path, monkeypatch):
    seen = Counter()

    def moody(payload, threads):
        seen[payload["candidates"]] += 1
        slow = payload["candidates"] == 400 and seen[400] == 1
        return observed((2 + 0.3 * payload["candidates"]) * (2 if slow else 1))

    Machine(monkeypatch, moody)
    result = cell(tmp_path, "candidates=25,50,100,200,400", processes=1).run()
    assert seen[400] == 2 and result.figures["departs_at"].reason == ON_THE_LAW


def test_three_threads_in_one_process_each_tell_no_departure(tmp_path, monkeypatch):
    Machine(monkeypatch, lambda payload, threads: observed([40.0, 20.0, 90.0][threads - 1]))
    result = cell(tmp_path, "threads=1,2,3", processes=1).run()
    assert result.figures["departs_at"].reason == result.figures["memory_departs_at"].reason == UNTOLD


def interrupted(tmp_path, monkeypatch):
    """A sweep that was stopped in its eighth process."""

    def until_interrupted(payload, threads):
        if len(machine.asked) == 8:
            raise KeyboardInterrupt
        return linear(payload, threads)

    machine = Machine(monkeypatch, until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        cell(tmp_path, "candidates=25,50,100,200,400").run()
    return machine


def test_an_interrupted_sweep_goes_on(tmp_path, monkeypatch):
    machine = interrupted(tmp_path, monkeypatch)
    first = machine.asked[:7]
    machine = Machine(monkeypatch, linear)
    one = cell(tmp_path, "candidates=25,50,100,200,400")
    one.run()
    assert len(machine.asked) == 15 - len(first)
    one.discard()
    again = Machine(monkeypatch, linear)
    cell(tmp_path, "candidates=25,50,100,200,400").run()
    assert len(again.asked) == 15


def test_what_other_code_had_finished_is_measured_again(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch)
    monkeypatch.setattr(sweeping, "code_sha256", lambda: "of other code")
    machine = Machine(monkeypatch, linear)
    cell(tmp_path, "candidates=25,50,100,200,400").run()
    assert len(machine.asked) == 15


def test_a_value_that_cannot_be_measured_is_named_and_the_others_stand(tmp_path, monkeypatch):
    def short(payload, threads):
        if payload["candidates"] == 400:
            raise CellFailed("memory: killed at 23.1 GiB")
        return linear(payload, threads)

    machine = Machine(monkeypatch, short)
    result = cell(tmp_path, "candidates=25,50,100,200,400").run()
    assert Counter(payload["candidates"] for payload, _ in machine.asked)[400] == 1
    assert result.notes == ["candidates=400 was not measured: memory: killed at 23.1 GiB"]
    assert result.series["latency_median_ms"][-1] is None and result.series["predicted_ms"][-1] == pytest.approx(122)
    with pytest.raises(CellFailed, match=r"^memory: killed at 23.1 GiB \(candidates=400\)$"):
        cell(tmp_path, "candidates=25,50,100,400").run()


def test_processes_that_differ_in_scores_fail(tmp_path, monkeypatch):
    turn = iter(range(100))
    Machine(monkeypatch, lambda payload, threads: observed(1.0, scores=str(next(turn))))
    with pytest.raises(CellFailed, match="processes gave different scores at candidates=25"):
        cell(tmp_path, "candidates=25,50,100,200").run()


def test_memory_that_is_not_told_has_a_reason_and_noise_a_note(tmp_path, monkeypatch):
    def found(payload, threads):
        return observed(0.3 * payload["candidates"], delta_bytes=None, noisy=payload["candidates"] == 50)

    Machine(monkeypatch, found)
    result = cell(tmp_path, "candidates=25,50,100,200,400", processes=1).run()
    assert (
        result.figures["memory_residual"].reason == result.figures["memory_departs_at"].reason == "no peak is told here"
    )
    assert result.series["peak_delta_bytes"] == [None] * 5
    assert result.notes == ["noisy at 50: others had cores of this machine meanwhile"]
    assert result.figures["noise"].reason == "one process a value"


def test_a_hastier_record_does_not_stand_for_a_thorough_one(tmp_path, monkeypatch):
    Machine(monkeypatch, linear)
    hasty = cell(tmp_path, "candidates=25,50,100,200,400", processes=1)
    result = hasty.run()
    record = Record(key=hasty.key, status="ok", figures=result.figures, series=result.series, provenance=provenance())
    assert hasty.enough(record)
    assert not cell(tmp_path, "candidates=25,50,100,200,400").enough(record)
    assert not cell(tmp_path, "candidates=25,50,100,200,400", task(runs=10), processes=1).enough(record)
    assert cell(tmp_path, "candidates=25,50,100,200,400", task(runs=10, budget_s=1.0), processes=1).enough(record)


@pytest.mark.parametrize(
    ("text", "reranker"),
    [
        ("candidates=3,4,6,8", "sg-rerank:default"),
        ("descriptors=3,8,12,16", "chamfer:rootsift-48"),
        ("batch=3,4,6,8", "chamfer:rootsift-48"),
        ("window=3,4,6,8", "sg-rerank:default"),
    ],
)
def test_real_re_rankers_along_every_axis(text, reranker):
    sweep = Sweep.parse(text)
    found = cost.observe(asdict(sweep.task(task(reranker, candidates=8), 3)), lambda done, total, text: None)
    kept = sweeping._kept(found)
    assert kept["median_ms"] > 0 and kept["runs"] == 2 and kept["delta_bytes"] is not None


def test_real_processes(tmp_path):
    result = cell(tmp_path, "threads=1,2,3", task(candidates=8, runs=1), processes=1).run()
    assert all(one > 0 for one in result.series["latency_median_ms"]) and result.scores_sha256
