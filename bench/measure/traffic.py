"""Kernels that torch dispatches in one call, and the bytes that they touch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Operators that hand out memory or look at it, and move nothing.
_MOVE_NOTHING = (
    *("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"),
    *("_unsafe_view", "_local_scalar_dense"),
)
#: Operators in place that do not read what they write over.
_WRITE_OVER = ("copy_", "fill_", "zero_", "normal_", "uniform_")


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """kernels: how often each overload of aten ran, as "aten.mm.default". bytes: what they read and wrote."""

    kernels: dict[str, int]
    bytes: int


def traffic(call: Callable[[], Any]) -> Traffic:
    """Calls `call` once, as it is, and notes every kernel with the bytes of its tensors, inputs and outputs.

    An upper bound on what moves from and to memory, since what stays in a cache between kernels counts too; the lower
    bound is inputs, weights and outputs once each. A kernel touches a byte once: expanded tensors count as stored.
    Views and what only asks for sizes move nothing, and are left out. What a fused kernel keeps to itself, and what is
    not torch's (numpy, OpenCV, faiss), is not seen.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    kernels: Counter[str] = Counter()
    moved = 0

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal moved
            kwargs = kwargs or {}
            if _is_made_of_others(func):
                with self:
                    return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
            output = func(*args, **kwargs)
            name = func.overloadpacket.__name__
            if not (func.is_view or torch.Tag.inplace_view in func.tags or name in _MOVE_NOTHING):
                written_only = {one.name for one in func._schema.arguments if one.is_out}
                read = [value for key, value in kwargs.items() if key not in written_only]
                moved += _bytes(args[name in _WRITE_OVER :]) + _bytes(read) + _bytes(output)
                kernels[str(func)] += 1
            return output

    with Noted():  # type: ignore[no-untyped-call]  # torch's mode has no types
        call()
    return Traffic(kernels=dict(kernels), bytes=moved)


def _is_made_of_others(func: Any) -> bool:
    """Whether an operator has no kernel of its own, but calls others.

    Autograd takes such operators apart before a mode sees them; under inference_mode they arrive whole, and a
    reshape that copies would pass for a view.
    """
    import torch

    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return bool(has_kernel(func.name(), torch._C.DispatchKey.CompositeImplicitAutograd))


def _bytes(value: Any) -> int:
    """Of all tensors in a value of an operator, in lists too."""
    import torch

    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    if not isinstance(value, torch.Tensor):
        return 0
    if value.layout is not torch.strided:
        return value.numel() * value.element_size()
    stored = (size for size, stride in zip(value.shape, value.stride(), strict=True) if stride)
    return math.prod(stored) * value.element_size()
