"""Names -> re-rankers.

A re-ranker is asked for as `family[:variant][+blend[=W/T]]` or `family[:variant][+sum[=R]]`, e.g. `none`,
`ransac:homography`, `ames:dinov2+blend`, `cvnet+sum` (both with the published weights) or `ransac+blend=0.5/0.02`.
Another package adds a family by an entry point in the group `rerankers`, whose name is the family and whose
value is a module with a `VARIANTS` dictionary, the default variant first.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import torch

from rerankers.compose import Blend, Sum
from rerankers.errors import RerankError
from rerankers.interface import Reranker

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

BUILT_IN = {
    "none": "rerankers.none",
    "ransac": "rerankers.ransac",
    "sg-rerank": "rerankers.superglobal",
    "chamfer": "rerankers.chamfer",
    "ames": "rerankers.ames",
    "rrt": "rerankers.rrt",
    "r2former": "rerankers.r2former",
    "cvnet": "rerankers.cvnet",
    "elvis": "rerankers.elvis",
}


_REQUEST = re.compile(
    r"(?P<family>[\w-]+)(?::(?P<variant>[\w.-]+))?"
    r"(?:\+(?P<join>blend|sum)|\+blend=(?P<weight>[\d.]+)/(?P<temperature>[\d.]+)|\+sum=(?P<ratio>[\d.]+))?"
)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Sizes of one query's inputs in the published setting; None for what is not read.

    dense: (C, H, W) of a feature map.
    """

    query_locals: int | None = None
    candidate_locals: int | None = None
    local_dim: int | None = None
    global_dim: int | None = None
    dense: tuple[int, int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One configuration of a re-ranker.

    about: one line for tables. source: where the configuration is published.
    make: builds it, with random weights if it is learned.
    load: reads an official checkpoint into it; None for a method without weights.
    blend: published (weight of the global similarity, temperature), if any.
    sum: published share of the score that is added to the global similarity, if any.
    backbone: whose feature maps of an image it reads: "cvnet-r50", ...; None when it reads none.
    """

    about: str
    source: str
    make: Callable[[], Reranker]
    inputs: Inputs
    load: Callable[[Reranker, Path], None] | None = None
    blend: tuple[float, float] | None = None
    sum: float | None = None
    backbone: str | None = None

    @property
    def learned(self) -> bool:
        return self.load is not None


@dataclass(frozen=True)
class Spec:
    """A parsed request for a re-ranker."""

    family: str
    variant: str
    blend: tuple[float, float] | None = None
    sum: float | None = None

    def __str__(self) -> str:
        blended = "" if self.blend is None else f"+blend={self.blend[0]:g}/{self.blend[1]:g}"
        return f"{self.family}:{self.variant}{blended}" + ("" if self.sum is None else f"+sum={self.sum:g}")


def names() -> list[str]:
    """Families that can be built, built-in ones first."""
    return list(_modules())


def variants(family: str) -> Mapping[str, Variant]:
    """The variants of a family, the default first; RerankError for an unknown family."""
    modules = _modules()
    if family not in modules:
        raise _unknown("re-ranker", family, modules)
    return import_module(modules[family]).VARIANTS


def parse(request: str) -> Spec:
    """The Spec of a request such as `ames:dinov2+blend=0.55/0.3`; RerankError when it names nothing that exists."""
    found = _REQUEST.fullmatch(request.strip())
    if not found:
        raise RerankError(
            f"re-ranker {request!r}",
            wanted="family[:variant], then nothing, +blend, +blend=W/T, +sum or +sum=R",
            cure=f"Families are {', '.join(names())}.",
        )
    family, variant = found["family"], found["variant"]
    known = variants(family)
    variant = variant or next(iter(known))
    if variant not in known:
        raise _unknown(f"variant of {family}", variant, known)
    if found["ratio"]:
        return Spec(family, variant, sum=_number(request, found["ratio"]))
    if found["weight"]:
        return Spec(family, variant, (_number(request, found["weight"]), _number(request, found["temperature"])))
    join, blend, share = found["join"], known[variant].blend, known[variant].sum
    if join is None:
        return Spec(family, variant)
    if (blend if join == "blend" else share) is None:
        example = {"blend": "+blend=0.5/0.1", "sum": "+sum=0.5"}[join]
        raise RerankError(
            f"{request!r} without weights",
            wanted=f"weights of the {join}, for none are published for this variant",
            cure=f"Write them: {family}:{variant}{example}.",
        )
    return Spec(family, variant, blend=blend) if join == "blend" else Spec(family, variant, sum=share)


def variant_of(spec: Spec) -> Variant:
    """The Variant that a Spec names."""
    return variants(spec.family)[spec.variant]


def build(
    request: str | Spec,
    *,
    checkpoint: Path | None = None,
    allow_random: bool = False,
    seed: int = 0,
    dtype: str = "float32",
    at_once: int | None = None,
) -> Reranker:
    """A re-ranker ready to score, in evaluation mode.

    checkpoint: official or own weights. A learned re-ranker without them raises RerankError, unless
    `allow_random` says that random weights drawn from `seed` will do (for measuring cost).
    dtype: one of DTYPES; what matrix products are computed in. at_once: pairs scored at once.
    """
    if dtype not in DTYPES:
        raise _unknown("dtype", dtype, DTYPES)
    spec = parse(request) if isinstance(request, str) else request
    variant = variant_of(spec)
    if variant.learned and checkpoint is None and not allow_random:
        raise RerankError(
            f"no trained weights for {spec}",
            wanted="a checkpoint, or leave to use random weights",
            cure="Pass --checkpoint FAMILY=PATH, or --allow-random to run it all the same.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reranker = variant.make()
    if checkpoint is not None:
        if variant.load is None:
            raise RerankError(
                f"a checkpoint for {spec}", wanted="none: it has no weights", cure="Leave the checkpoint out."
            )
        variant.load(reranker, checkpoint)
    if (network := reranker.module()) is not None:
        network.eval().requires_grad_(False)
    reranker.dtype, reranker.at_once = DTYPES[dtype], at_once
    if spec.blend is not None:
        return Blend(reranker, weight=spec.blend[0], temperature=spec.blend[1])
    return reranker if spec.sum is None else Sum(reranker, ratio=spec.sum)


@cache
def _modules() -> dict[str, str]:
    added = {point.name: point.value for point in entry_points(group="rerankers")}
    return {**BUILT_IN, **{name: module for name, module in added.items() if name not in BUILT_IN}}


def _number(request: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise RerankError(f"{text!r} in {request!r}", wanted="a number", cure="Write e.g. +blend=0.55/0.3.") from error


def _unknown(kind: str, name: str, known: Iterable[str]) -> RerankError:
    listed = list(known)
    near = difflib.get_close_matches(name, listed, n=1, cutoff=0.4)
    return RerankError(
        f"unknown {kind} {name!r}",
        wanted=f"one of {', '.join(listed)}",
        cure=f"Did you mean {near[0]!r}?" if near else "Choose one of these.",
    )
