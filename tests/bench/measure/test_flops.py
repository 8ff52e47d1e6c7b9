from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.measure import deepspeed_witness
from bench.measure.flops import FlopCount, Witness, count, import_witnesses


def counts(seen):
    return {witness.name: witness.flops for witness in seen.witnesses}


def tensor(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _inference():
    with torch.inference_mode():
        yield


def test_a_linear_of_known_macs_by_all_three_witnesses():
    linear, x = nn.Linear(256, 64), tensor(10, 256)
    macs = 10 * 256 * 64
    seen = count(lambda: linear(x), closed_form=2 * macs)
    assert counts(seen) == {"dispatcher": 2 * macs, "deepspeed": 2 * macs, "closed form": 2 * macs}
    assert (seen.verdict, seen.flops) == ("agree", 2 * macs)
    assert f"dispatcher: {2 * macs:,}" in seen.explanation


A, B, V = tensor(4, 7, 32), tensor(4, 32, 9), tensor(32)
Q, K, W = tensor(2, 4, 10, 8), tensor(2, 4, 12, 8), tensor(2, 4, 12, 6)
IMAGE, FILTERS = tensor(2, 3, 10, 10), tensor(8, 3, 3, 3)
ATTENTION = 2 * (2 * 4 * 10 * 12) * (8 + 6)
SPELLINGS = {
    "mm": (lambda: torch.mm(A[0], B[0]), 2 * 7 * 32 * 9),
    "mm keyword": (lambda: torch.mm(A[0], mat2=B[0]), 2 * 7 * 32 * 9),
    "mm into": (lambda: torch.mm(A[0], B[0], out=torch.empty(7, 9)), 2 * 7 * 32 * 9),
    "@": (lambda: A[0] @ B[0], 2 * 7 * 32 * 9),
    "@ of batches": (lambda: A @ B, 2 * 4 * 7 * 32 * 9),
    "@ broadcast on the left": (lambda: A[0] @ B, 2 * 4 * 7 * 32 * 9),
    "@ broadcast on the right": (lambda: A @ B[0], 2 * 4 * 7 * 32 * 9),
    "@ vector": (lambda: A @ V, 2 * 4 * 7 * 32),
    "vector @": (lambda: V @ B, 2 * 4 * 32 * 9),
    "mv": (lambda: A[0].mv(V), 2 * 7 * 32),
    "dot": (lambda: torch.dot(V, V), 2 * 32),
    "bmm": (lambda: torch.bmm(A, B), 2 * 4 * 7 * 32 * 9),
    "addmm in place": (lambda: tensor(7, 9).addmm_(A[0], B[0]), 2 * 7 * 32 * 9),
    "baddbmm": (lambda: torch.baddbmm(tensor(4, 7, 9), A, B), 2 * 4 * 7 * 32 * 9),
    "baddbmm in place": (lambda: tensor(4, 7, 9).baddbmm_(A, B), 2 * 4 * 7 * 32 * 9),
    "attention": (lambda: F.scaled_dot_product_attention(Q, K, W), ATTENTION),
    "attention of one width": (lambda: F.scaled_dot_product_attention(Q, K, K), 2 * (2 * 4 * 10 * 12) * (8 + 8)),
    "attention by keyword": (lambda: F.scaled_dot_product_attention(query=Q, key=K, value=W), ATTENTION),
    "einsum": (lambda: torch.einsum("ik,kj->ij", A[0], B[0]), 2 * 7 * 32 * 9),
    "einsum of a tuple": (lambda: torch.einsum("ik,kj", (A[0], B[0])), 2 * 7 * 32 * 9),
    "conv": (lambda: F.conv2d(IMAGE, FILTERS, padding=1), 2 * 2 * 8 * 100 * 27),
    "conv of torch": (lambda: torch.conv2d(IMAGE, FILTERS), 2 * 2 * 8 * 64 * 27),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_product_by_both_counters(spelling):
    call, flops = SPELLINGS[spelling]
    assert counts(count(call)) == {"dispatcher": flops, "deepspeed": flops, "closed form": None}


def test_einsum_is_counted_to_four_digits_by_deepspeed():
    seen = count(lambda: torch.einsum("bik,bkj->bij", A, B), closed_form=2 * 4 * 7 * 32 * 9)
    assert seen.verdict == "agree"
    assert counts(seen)["deepspeed"] == pytest.approx(2 * 4 * 7 * 32 * 9, rel=1e-3)


@pytest.mark.parametrize("equation", ["ij,ij->ij", "ij->i"])
def test_einsum_without_a_contraction_is_no_product(equation):
    operands = [A[0]] * (1 + equation.count(","))
    assert count(lambda: torch.einsum(equation, *operands), closed_form=0).verdict == "agree"


def test_the_fused_fast_path_is_counted():
    layer, x = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval(), tensor(2, 5, 32)
    tokens, width = 10, 32
    flops = 2 * (tokens * width * 3 * width + 2 * tokens * 5 * width + tokens * width**2 + 2 * tokens * width * 64)
    assert counts(count(lambda: layer(x))) == {"dispatcher": flops, "deepspeed": flops, "closed form": None}
    assert torch.backends.mha.get_fastpath_enabled()


def test_norms_and_activations_do_not_count():
    linear, norm, x = nn.Linear(32, 8, bias=True), nn.LayerNorm(8), tensor(5, 32)
    assert count(lambda: F.gelu(norm(linear(x))).softmax(-1), closed_form=2 * 5 * 32 * 8).flops == 2 * 5 * 32 * 8


def test_witnesses_over_one_percent_apart_disagree_and_give_no_figure():
    call, flops = SPELLINGS["bmm"]
    near, far = (count(call, closed_form=round(flops * factor)) for factor in (1.009, 1.011))
    assert (near.verdict, near.flops) == ("agree", flops)
    assert (far.verdict, far.flops) == ("disagree", None)
    assert "disagree" in far.explanation


def test_work_outside_torch_is_a_dash_with_a_reason():
    seen = count(lambda: sum(range(10)))
    assert (seen.verdict, seen.flops) == ("none", None)
    assert all(witness.reason for witness in seen.witnesses)
    assert count(lambda: sum(range(10)), closed_form=0).verdict == "agree"
    assert count(lambda: sum(range(10)), closed_form=100).verdict == "disagree"


def test_what_a_witness_cannot_see_is_a_disagreement():
    assert count(lambda: torch.tensordot(A[0], B[0], 1)).witnesses[1].flops is None
    assert count(lambda: torch.tensordot(A[0], B[0], 1), closed_form=2 * 7 * 32 * 9).verdict == "disagree"


def test_verdicts_of_one_and_no_witness():
    dash = Witness(name="b", reason="not installed")
    assert FlopCount(witnesses=(Witness(name="a", flops=5), dash)).verdict == "single"
    assert FlopCount(witnesses=(dash,)).verdict == "none"
    assert FlopCount(witnesses=(Witness(name="a", flops=5), dash)).explanation == (
        "witnesses single: a: 5; b: - (not installed)"
    )


def functions():
    owners = (torch, torch.Tensor, F)
    return [{name: value for name, value in vars(owner).items() if callable(value)} for owner in owners]


def assert_same(before, after):
    for old, new in zip(before, after, strict=True):
        assert old.keys() == new.keys()
        assert [name for name in old if old[name] is not new[name]] == []


def test_every_function_is_put_back():
    count(lambda: V @ V)  # imports what it needs, once
    before = functions()
    seen_inside = []
    count(lambda: seen_inside.append(functions()))
    assert_same(before, functions())
    assert seen_inside[1][0]["bmm"] is not before[0]["bmm"]  # it was replaced while DeepSpeed counted
    assert {"matmul", "mm", "bmm", "mv"}.isdisjoint(vars(torch.Tensor))  # inherited, as they were


def test_every_function_is_put_back_after_a_failure_of_the_call():
    count(lambda: V @ V)
    before, calls = functions(), []

    def call():
        calls.append(V @ V)
        if len(calls) == 2:
            raise RuntimeError("inside the profiler")

    seen = count(call)
    assert seen.witnesses[1].reason == "its profiler failed: RuntimeError: inside the profiler"
    assert seen.verdict == "single"
    assert_same(before, functions())


def test_every_function_is_put_back_though_deepspeed_forgets(monkeypatch):
    before = functions()
    monkeypatch.setattr(deepspeed_witness._imported(), "_reload_tensor_methods", lambda: None)
    assert deepspeed_witness.profile(lambda: V @ V) == 64
    assert_same(before, functions())


def test_an_error_of_the_call_goes_through_and_leaves_no_trace():
    before = functions()

    def call():
        raise MemoryError("its own")

    with pytest.raises(MemoryError, match="its own"):
        count(call)
    assert torch.backends.mha.get_fastpath_enabled()
    assert_same(before, functions())


def test_without_deepspeed_its_witness_is_missing_with_the_reason(monkeypatch):
    monkeypatch.setattr(deepspeed_witness, "_imported", lambda: (_ for _ in ()).throw(ImportError("No module")))
    call, flops = SPELLINGS["bmm"]
    seen = count(call, closed_form=flops)
    assert seen.witnesses[1].reason == "deepspeed cannot be imported (No module)"
    assert seen.verdict == "agree"


def test_counting_writes_nothing():
    code = (
        "import torch\nfrom bench.measure import count\n"
        "a = torch.ones(3, 4)\nassert count(lambda: a @ a.T).flops == 2 * 3 * 4 * 3\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert logging.getLogger("DeepSpeed").level == logging.ERROR


IMPORTS_ONCE = """
import sys
from bench.measure import count, import_witnesses
assert import_witnesses() > 0.05
before = set(sys.modules)
count(lambda: None)
assert set(sys.modules) == before, sorted(set(sys.modules) - before)
"""


def test_counting_imports_nothing_once_the_witnesses_are_imported():
    subprocess.run([sys.executable, "-c", IMPORTS_ONCE], check=True)


def test_a_witness_that_cannot_be_imported_is_left_to_count(monkeypatch):
    def missing(call):
        raise ImportError("no deepspeed")

    monkeypatch.setattr(deepspeed_witness, "profile", missing)
    assert import_witnesses() >= 0
