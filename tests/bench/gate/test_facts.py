"""Facts of re-rankers, in this process."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch

from bench.cost import CostTask
from bench.gate import facts
from bench.gate.contender import planted
from bench.gate.duel import GateCell
from bench.gate.facts import facts_of, weights_text
from rerankers.registry import OWN_WEIGHTS


def load(reranker: str, candidates: int = 8):
    return CostTask(**GateCell(reranker=reranker, candidates=candidates).task).prepared()


def found(reranker: str, candidates: int = 8):
    one = load(reranker, candidates)
    return facts_of(one, one.call)


def test_they_are_the_same_every_time():
    assert found("ames:micro") == found("ames:micro")


def test_flops_are_the_closed_form_s_and_parameters_the_module_s():
    one = load("ames:micro")
    seen = facts_of(one, one.call)
    form = one.reranker.closed_form(*one.reranker.readable(one.query, one.candidates))
    assert seen.flops == pytest.approx(form.executed, rel=0.01) and seen.flops_reason == ""
    assert seen.parameters == sum(parameter.numel() for parameter in one.reranker.module().parameters())


def test_a_count_that_the_closed_form_does_not_bear_out_is_refused(monkeypatch):
    one = load("ames:micro")
    form = one.reranker.closed_form(*one.reranker.readable(one.query, one.candidates))
    monkeypatch.setattr(one.reranker, "closed_form", lambda *_: replace(form, executed=int(form.executed * 1.02)))
    with pytest.raises(ValueError, match="torch dispatches .* FLOPs, the closed form says"):
        facts_of(one, one.call)


def test_what_cannot_be_counted_says_why():
    one = load("ransac:affine", candidates=2)
    seen = facts_of(one, one.call)
    assert seen.flops is None and seen.flops_reason == one.reranker.uncounted != ""


def test_scores_and_their_hash_are_those_of_the_call():
    one = load("sg-rerank")
    seen = facts_of(one, one.call)
    key = one.call().key
    assert seen.scores == tuple(key.tolist())
    assert seen.scores_sha256 == hashlib.sha256(key.numpy().astype("<f4").tobytes()).hexdigest()
    other = facts_of(one, planted(one, 0, scores=1.0))
    assert sorted(other.scores) == sorted(seen.scores) and other.scores_sha256 != seen.scores_sha256
    assert (other.parameters, other.flops) == (seen.parameters, seen.flops)


def test_one_kernel_more_shows():
    one = load("sg-rerank")

    def more():
        torch.sin(one.similarity)
        return one.call()

    seen, other = facts_of(one, one.call).kernels, facts_of(one, more).kernels
    assert other == {**seen, "aten.sin.default": seen.get("aten.sin.default", 0) + 1}


def test_weights_are_said_by_name_and_hash():
    own = hashlib.sha256((OWN_WEIGHTS / "ames-micro.safetensors").read_bytes()).hexdigest()[:12]
    assert weights_text("ames:micro") == f"ames-micro {own}" == found("ames:micro").weights
    assert weights_text("ames:dinov2") == "random"
    assert weights_text("sg-rerank") == weights_text("ransac:affine") == "none"
    assert weights_text("ransac:affine+then+ames:micro+then+ames:dinov2") == f"ames-micro {own} + random"


def test_another_weight_file_is_another_text(monkeypatch, tmp_path):
    file = tmp_path / "ames-micro.safetensors"
    file.write_bytes(b"others")
    monkeypatch.setattr(facts, "learned_weights", lambda *_: [file])
    assert weights_text("ames:micro") == f"ames-micro {hashlib.sha256(b'others').hexdigest()[:12]}"
