"""The passes of a cost cell, run here on small re-rankers."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from bench import cost
from bench.cost import CostTask, bytes_least, scores_sha256


def task(reranker: str = "sg-rerank", **changes) -> CostTask:
    given = {"device": "cpu", "dtype": "float32", "candidates": 6, "seed": 0, "warmup": 1, "runs": 3}
    return CostTask(reranker, **(given | changes))


def silent(done, total, text):
    """Progress that nobody looks at."""


def found(passes, one: CostTask):
    return cost.run({"task": asdict(one), "passes": passes}, silent)


def test_all_passes_in_one_process_see_one_program():
    seen = found(list(cost.PASSES), task("ames:micro"))
    hashes = {seen[name]["scores_sha256"] for name in ("latency", "memory", "flops")}
    assert len(hashes) == 1 and len(seen["latency"]["samples_ms"]) == 3
    assert seen["flops"]["verdict"] == "agree" and seen["flops"]["bytes_touched"] > seen["flops"]["bytes_least"]
    assert 0 < seen["calls_s"] < seen["wall_s"]


@pytest.mark.parametrize("name", ["latency", "memory", "flops"])
def test_each_pass_alone_hashes_the_same_scores(name):
    load = task("elvis:micro").prepared()
    assert found([name], task("elvis:micro"))[name]["scores_sha256"] == scores_sha256(load.call())


def test_flops_counted_on_some_candidates_are_of_all_by_the_closed_form():
    whole = found(["flops"], task("ames:micro"))["flops"]
    part = found(["flops"], task("ames:micro", counted=2))["flops"]
    assert (part["counted"], part["verdict"]) == (2, "agree")
    assert part["executed"] == whole["executed"] == whole["witnesses"]["dispatcher"]["flops"]
    assert part["witnesses"]["dispatcher"]["flops"] < whole["executed"]
    assert part["bytes_touched"] is None and whole["bytes_touched"] > 0


def test_a_re_ranker_that_stops_early_is_timed_over_pairs_and_queries():
    seen = found(["spread"], task("ransac:affine"))["spread"]
    assert len(seen["pairs_ms"]) == 6 and len(seen["queries_ms"]) == cost.QUERIES
    assert min(seen["pairs_ms"]) > 0
    assert found(["spread"], task())["spread"] == {"reason": "every pair takes the same work"}


def test_fewer_descriptors_are_drawn_and_read():
    load = task("ames:micro", locals=7).prepared()
    assert load.query.local.shape[1] == load.candidates.local.shape[1] == 7
    assert load.reranker.query_locals == load.reranker.candidate_locals == 7
    assert task("ames:micro", locals=7).inputs.candidate_locals == 7
    assert task("sg-rerank", locals=7).inputs == task("sg-rerank").inputs  # it reads none


def test_pairs_at_once_are_handed_on():
    assert task("ames:micro", at_once=2).prepared().reranker.at_once == 2


def test_the_least_bytes_are_weights_inputs_and_scores():
    load = task().prepared()
    width = load.query.global_.shape[1]
    assert bytes_least(load) == 4 * width * (1 + 6) + 4 * 6
    learned = task("elvis:micro").prepared()
    weights = sum(one.numel() for one in learned.reranker.module().parameters()) * 4
    read = sum(
        getattr(side, name).numel() * getattr(side, name).element_size()
        for side in learned.reranker.readable(learned.query, learned.candidates)
        for name in learned.reranker.needs
    )
    assert bytes_least(learned) == weights + read + 4 * 6


def test_time_is_counted_in_calls():
    load = task().prepared()
    load.call()
    load.part(slice(2))()
    assert load.calls_s > 0


def test_the_hash_is_of_the_scores():
    load = task().prepared()
    ranking = load.call()
    assert scores_sha256(ranking) == scores_sha256(load.call())
    assert scores_sha256(type(ranking)(ranking.order, ranking.key + 1)) != scores_sha256(ranking)
    assert torch.is_tensor(ranking.key)
