"""How many FLOPs one call takes, by witnesses that must agree.

FLOPs are twice the multiply-adds of matrix products and convolutions; nothing element-wise counts. Three witnesses:
torch's dispatcher, DeepSpeed's profiler (`bench.measure.deepspeed_witness`) and the closed form that the caller brings.
No witness sees numpy, OpenCV, faiss or torch.cdist.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from bench.measure import deepspeed_witness

logger = logging.getLogger(__name__)

#: By how much two witnesses may differ, relative to the smaller.
TOLERANCE = 0.01

Verdict = Literal["agree", "disagree", "single", "none"]


@dataclass(frozen=True, kw_only=True)
class Witness:
    """One count; flops is None with the reason why."""

    name: str
    flops: int | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class FlopCount:
    """What each witness says of one call."""

    witnesses: tuple[Witness, ...]

    @property
    def verdict(self) -> Verdict:
        """agree: two or more, within `TOLERANCE`. disagree: the cell fails. single: one witness only. none: none."""
        counts = [witness.flops for witness in self.witnesses if witness.flops is not None]
        if len(counts) < 2:
            return "single" if counts else "none"
        return "agree" if max(counts) - min(counts) <= TOLERANCE * min(counts) else "disagree"

    @property
    def flops(self) -> int | None:
        """The count to believe: the first witness's, unless they disagree."""
        if self.verdict == "disagree":
            return None
        return next((witness.flops for witness in self.witnesses if witness.flops is not None), None)

    @property
    def explanation(self) -> str:
        """Every witness on one line."""
        said = (
            f"{one.name}: {f'{one.flops:,}' if one.flops is not None else f'- ({one.reason})'}"
            for one in self.witnesses
        )
        return f"witnesses {self.verdict}: " + "; ".join(said)


def count(call: Callable[[], Any], *, closed_form: int | None = None) -> FlopCount:
    """Counts `call` by the dispatcher, by DeepSpeed, and holds both against `closed_form` (FLOPs).

    Calls it twice, with fused attention spelt out in its matrix products, which changes the program: time it and
    measure its memory elsewhere, best in another process. An exception of `call` itself goes through to the caller.
    A count of 0 that no closed form confirms is no count: the work may lie outside torch.
    """
    with _spelt_out():
        dispatched = _dispatched(call)
        try:
            profiled = Witness(name="deepspeed", flops=deepspeed_witness.profile(call))
        except ImportError as error:
            profiled = Witness(name="deepspeed", reason=f"deepspeed cannot be imported ({error})")
        except Exception as error:  # the call has just run, so this is the profiler's: its hooks know fewer signatures
            logger.debug("deepspeed's profiler failed", exc_info=True)
            profiled = Witness(name="deepspeed", reason=f"its profiler failed: {type(error).__name__}: {error}")
    counted = Witness(name="dispatcher", flops=dispatched)
    if closed_form is None:
        formula = Witness(name="closed form", reason="the method brings none")
        counted, profiled = (_unless_zero(witness) for witness in (counted, profiled))
    else:
        formula = Witness(name="closed form", flops=closed_form)
    return FlopCount(witnesses=(counted, profiled, formula))


def dispatched(call: Callable[[], Any]) -> int:
    """FLOPs of `call` by torch's dispatcher alone, fused attention spelt out. Calls it once."""
    with _spelt_out():
        return _dispatched(call)


def import_witnesses() -> float:
    """Seconds that importing what `count` needs took, so that they fall into nobody's call; next to none once done."""
    import torch

    start = time.perf_counter()
    one = torch.ones(1, 1)
    _dispatched(lambda: one @ one)
    with suppress(Exception):  # `count` says why
        deepspeed_witness.profile(lambda: one @ one)
    return time.perf_counter() - start


def _unless_zero(witness: Witness) -> Witness:
    if witness.flops != 0:
        return witness
    return Witness(name=witness.name, reason="no matrix product or convolution of torch was seen")


@contextmanager
def _spelt_out() -> Iterator[None]:
    """Fused attention runs as the matrix products it stands for; otherwise the dispatcher counts it as 0."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _dispatched(call: Callable[[], Any]) -> int:
    """FLOPs of the kernels that torch dispatches: its own FlopCounterMode, and the products that it leaves out."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    aten = torch.ops.aten
    missing = {
        **dict.fromkeys((aten.mv, aten.dot, aten.vdot), _product),
        **dict.fromkeys((aten.addmv, aten.addmv_, aten.addmm_, aten.baddbmm_), _added_product),
    }
    with FlopCounterMode(display=False, custom_mapping=missing) as counter:
        call()
    return int(counter.get_total_flops())


def _product(left: Sequence[int], right: Sequence[int], **_: Any) -> int:
    """FLOPs of left @ right, from their shapes, batches not broadcast."""
    return 2 * math.prod(left) * (right[-1] if len(right) > 1 else 1)


def _added_product(_: Sequence[int], left: Sequence[int], right: Sequence[int], **__: Any) -> int:
    return _product(left, right)
