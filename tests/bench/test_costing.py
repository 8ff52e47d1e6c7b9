"""A whole cost cell: processes, figures, notes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import costing
from bench.cells import CellFailed, Limits
from bench.cost import CostTask
from bench.costing import APART, TOGETHER, Protocol, expected_s, measure
from tests.bench.reporting.examples import cost_record

TASK = CostTask("sg-rerank", "cpu", "float32", 6, seed=0, warmup=1, runs=3)


def cell(protocol: Protocol, task: CostTask = TASK):
    return measure(task, protocol, threads=1, limits=Limits(120))


def test_every_figure_has_a_value_or_a_reason_and_processes_are_compared():
    found = cell(Protocol(APART, processes=2))
    value = {name: figure.value for name, figure in found.figures.items()}
    assert value["parameters"] == 0 and value["gflops_dispatcher"] == value["gflops_executed"] > 0
    assert value["fraction_of_peak"] == pytest.approx(value["achieved_gflop_per_s"] / value["peak_gflop_per_s"])
    assert value["roofline_memory_ms"] == pytest.approx(value["bytes_least"] / value["copy_gbyte_per_s"] / 1e6)
    assert value["process_spread"] >= 0 and len(found.series["process_medians_ms"]) == 2
    assert found.figures["launch_gap_ms"].reason == "a CPU call is timed whole"
    assert found.figures["pairs_p50_ms"].reason == "every pair takes the same work"
    assert value["harness_s"] > 0 and value["calls_s"] > 0
    assert len(found.scores_sha256) == 64


def test_what_a_budget_cuts_is_said():
    task = replace(TASK, reranker="ames:micro", warmup=50, runs=50)
    found = cell(Protocol(TOGETHER, budget_s=1e-6, processes=1, counted=2), task)
    assert len(found.series["latency_samples_ms"]) == 3
    assert "0 + 3 runs: 50 + 50 do not fit 1e-06 s" in found.notes
    assert "FLOPs by the closed form; the witnesses agree on 2 candidates" in found.notes
    assert found.figures["gflops_executed"].value == found.figures["gflops_closed_form"].value > 0
    assert found.figures["gflops_dispatcher"].reason.startswith("counted on 2 candidates only")
    assert found.figures["process_spread"].reason == "one process timed it"


def test_other_scores_in_another_pass_fail_the_cell(monkeypatch):
    whole = costing.isolated

    def forged(target, payload, **options):
        found = whole(target, payload, **options)
        if "memory" in found:
            found["memory"]["scores_sha256"] = "0" * 64
        return found

    monkeypatch.setattr(costing, "isolated", forged)
    with pytest.raises(CellFailed, match="gave different scores"):
        cell(Protocol(TOGETHER, processes=1))


def test_witnesses_that_disagree_fail_the_cell(monkeypatch):
    whole = costing.isolated

    def forged(target, payload, **options):
        found = whole(target, payload, **options)
        found["flops"] |= {"verdict": "disagree", "explanation": "witnesses disagree: 1; 2"}
        return found

    monkeypatch.setattr(costing, "isolated", forged)
    with pytest.raises(CellFailed, match="witnesses disagree: 1; 2"):
        cell(Protocol(TOGETHER, processes=1))


def test_what_a_cell_may_take_grows_with_what_is_asked_for():
    record = cost_record()  # 0.6 s a call
    quick = expected_s(record, Protocol(TOGETHER, budget_s=3, processes=1), 20)
    whole = expected_s(record, Protocol(), 20)
    assert 3 < quick < 20 * 0.61225 < whole
