"""Kernels that torch dispatches in one call, and the bytes that they touch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Operators that hand out memory or look at it, and move nothing.
_MOVE_NOTHING = (
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    *("set_", "resize_", "_unsafe_view", "_local_scalar_dense"),
)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """kernels: how often each overload of aten ran, as "aten.mm.default". bytes: what they read and wrote."""

    kernels: dict[str, int]
    bytes: int


def traffic(call: Callable[[], Any]) -> Traffic:
    """Calls `call` once, as it is, and notes every kernel with the bytes of its tensors, inputs and outputs.

    An upper bound on what moves from and to memory, since what stays in a cache counts too; the lower bound is inputs,
    weights and outputs once each. Views and what only asks for sizes move nothing, and are left out. What is not
    torch's (numpy, OpenCV, faiss) is not seen.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    kernels: Counter[str] = Counter()
    moved = 0

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal moved
            output = func(*args, **(kwargs or {}))
            if not func.is_view and func.overloadpacket.__name__ not in _MOVE_NOTHING:
                written_only = {one.name for one in func._schema.arguments if one.is_out}
                read = [value for name, value in (kwargs or {}).items() if name not in written_only]
                moved += _bytes(args) + _bytes(read) + _bytes(output)
                kernels[str(func)] += 1
            return output

    with Noted():
        call()
    return Traffic(kernels=dict(kernels), bytes=moved)


def _bytes(value: Any) -> int:
    """Of all tensors in a value of an operator, in lists too."""
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return value.numel() * value.element_size() if hasattr(value, "element_size") else 0
