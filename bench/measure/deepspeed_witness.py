"""DeepSpeed's FLOPs profiler, held to its word: a second count that shares no code with torch's dispatcher.

It replaces functions of torch by ones that count, and counts only inside Module.forward. Its "flops" mix in norms and
activations; its MACs are of matrix products and convolutions only, so twice its MACs is what is compared.
Its formulas are used as they are. What is mended is how they are called (seen in 0.19.8): einsum reports its count as
flops with 0 MACs, and fails on operands in a tuple; attention and products fail on keyword arguments; a product with
a vector, or broadcast on the left, is counted by the wrong shapes; some spellings of a product are not hooked at all.
Names bound early (`from torch.nn.functional import linear`), tensordot, inner and torch.linalg stay unseen.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")
#: DeepSpeed's own: arguments of a function of torch -> (flops, macs).
Formula = Callable[..., tuple[int, int]]


def profile(call: Callable[[], Any]) -> int:
    """FLOPs of `call`, twice the MACs that DeepSpeed counts. Every function it replaces is put back.

    Raises ImportError without DeepSpeed, and whatever its hooks raise on a signature that they do not know.
    """
    import torch

    profiler = _imported()

    class Called(torch.nn.Module):
        """All that `call` does happens in this forward, where it is counted."""

        def forward(self) -> None:
            call()

    counting = profiler.FlopsProfiler(Called())
    with _restored(), _mended(profiler):
        try:
            counting.start_profile()
            _hook_the_rest(profiler)
            counting.model()
            return 2 * int(counting.get_total_macs())
        finally:
            counting.end_profile()
            profiler.module_flop_count.clear()
            profiler.module_mac_count.clear()


def _imported() -> ModuleType:
    """DeepSpeed's profiler. Importing it probes for accelerators and writes to stdout; here it does neither."""
    before = os.environ.get("DS_ACCELERATOR")
    os.environ["DS_ACCELERATOR"] = "cpu"  # it only decides how the profiler synchronises its own clock
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from deepspeed.profiling.flops_profiler import profiler
    finally:
        if before is None:
            del os.environ["DS_ACCELERATOR"]
        else:
            os.environ["DS_ACCELERATOR"] = before
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    found: ModuleType = profiler
    return found


@contextmanager
def _mended(profiler: ModuleType) -> Iterator[None]:
    """Its formulas, called with the arguments that they can read."""
    menders = {
        "_matmul_flops_compute": _product,
        "_attn_flops_compute": _attention,
        "_einsum_flops_compute": _einsum,
    }
    formulas = {name: getattr(profiler, name) for name in menders}
    for name, mend in menders.items():
        setattr(profiler, name, mend(formulas[name]))
    try:
        yield
    finally:
        for name, formula in formulas.items():
            setattr(profiler, name, formula)


def _product(formula: Formula) -> Formula:
    def compute(*args: Any, out: Any = None, **named: Any) -> tuple[int, int]:
        """Vectors as the matrices they stand for, and batches as broadcasting leaves them."""
        import torch

        left, right = (*args, *named.values())[:2]
        left = left.unsqueeze(0) if left.ndim == 1 else left
        right = right.unsqueeze(-1) if right.ndim == 1 else right
        batch = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        return formula(left.expand(*batch, *left.shape[-2:]), right)

    return compute


def _attention(formula: Formula) -> Formula:
    def compute(query: Any, key: Any, value: Any, *args: Any, **named: Any) -> tuple[int, int]:
        return formula(query, key, value)

    return compute


def _einsum(formula: Formula) -> Formula:
    def compute(equation: str, *operands: Any) -> tuple[int, int]:
        """Its count (numpy's einsum_path, four digits) is 2 a multiply-add where an index is summed away."""
        if len(operands) == 1 and isinstance(operands[0], list | tuple):
            operands = tuple(operands[0])
        flops, _ = formula(equation, *operands)
        inputs, arrow, output = equation.replace(" ", "").partition("->")
        letters = {letter for letter in inputs if letter.isalpha()}
        kept = set(output) if arrow else {letter for letter in letters if inputs.count(letter) == 1}
        contracts = len(operands) > 1 and not letters <= kept
        return flops, flops // 2 if contracts else 0

    return compute


def _hook_the_rest(profiler: ModuleType) -> None:
    """Counts spellings that DeepSpeed leaves alone, with its formulas for their better known names."""
    import torch

    product, convolution = profiler._matmul_flops_compute, profiler._conv_flops_compute
    added, transposed = profiler._tensor_addmm_flops_compute, profiler._conv_trans_flops_compute
    for name in ("mv", "dot", "vdot"):
        _count(profiler, torch, name, product)
        _count(profiler, torch.Tensor, name, product)
    for name in ("addmm_", "baddbmm", "baddbmm_"):
        _count(profiler, torch.Tensor, name, added)
    for dimensions in (1, 2, 3):
        _count(profiler, torch, f"conv{dimensions}d", convolution)
        _count(profiler, torch, f"conv_transpose{dimensions}d", transposed)


def _count(profiler: ModuleType, owner: Any, name: str, formula: Formula) -> None:
    setattr(owner, name, profiler.wrapFunc(getattr(owner, name), formula))


@contextmanager
def _restored() -> Iterator[None]:
    """Takes back every function that still counts afterwards, and every copy put over an inherited one."""
    import einops
    import torch

    owners = (torch, torch.Tensor, torch.nn.functional, einops)
    before = [dict(vars(owner)) for owner in owners]
    try:
        yield
    finally:
        for owner, attributes in zip(owners, before, strict=True):
            for name, value in list(vars(owner).items()):
                counts = getattr(value, "__qualname__", "") == "wrapFunc.<locals>.newFunc"
                if name in attributes and counts:
                    setattr(owner, name, attributes[name])
                elif name not in attributes and (counts or _inherited(owner, name) is value):
                    delattr(owner, name)


def _inherited(owner: Any, name: str) -> Any:
    return getattr(owner.__base__, name, None) if isinstance(owner, type) else None
