"""Names -> re-rankers.

A re-ranker is asked for as `family[:variant]`, then, if wanted,

- `+blend[=W/T]` or `+sum[=R]`: the first-stage similarity joins in, with these weights;
- `+slide[=N/K/S[/schedule]]`: windows of K slide over the first N candidates, S apart (list-wise re-rankers only).

Numbers that are left out are the published ones: `none`, `ransac:homography`, `ames:dinov2+blend`, `cvnet+sum`,
`ransac+blend=0.5/0.02`, `sg-rerank+slide=400/100/50/start-to-end`. `A+then+B` is a chain: B re-ranks the order that A
gives, as in `sg-rerank+then+ransac`; chains may be longer.

Another package adds a family by an entry point in the group `rerankers`, whose name is the family and whose
value is a module with a `VARIANTS` dictionary, the default variant first.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, reduce
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch

from rerankers.compose import Blend, Chain, Slide, Sum, Windows
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
    "locore": "rerankers.locore",
}


#: Weights that come along, as `FAMILY-VARIANT.safetensors`, each with its card and its curve.
OWN_WEIGHTS = Path(__file__).parent / "weights"
#: Source of the `micro` variants, and how many local descriptors of an image each of them reads: the same for all, so
#: that they can be compared.
MICRO, MICRO_LOCALS = "this project; trained by bench.train", 48

#: How names of variants end that read descriptors as bits; without it, they read numbers.
BINARIZED = "-binarized"

#: How a re-ranker is asked for, in one line of help.
SYNTAX = (
    "family[:variant], then nothing, +blend[=W/T] or +sum[=R], then nothing or +slide[=N/K/S]; A+then+B for a chain"
)

_NUMBER = r"[\d.]+(?:e[+-]?\d+)?"
_PART = re.compile(
    r"(?P<family>[\w-]+)(?::(?P<variant>[\w.-]+))?"
    rf"(?:(?P<blend>\+blend(?:=(?P<weight>{_NUMBER})/(?P<temperature>{_NUMBER}))?)"
    rf"|(?P<sum>\+sum(?:=(?P<ratio>{_NUMBER}))?))?"
    r"(?P<slide>\+slide(?:=(?P<length>\d+)/(?P<window>\d+)/(?P<stride>\d+)(?:/(?P<schedule>[a-z-]+))?)?)?"
)
_THEN = "+then+"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Sizes of one query's inputs in the published setting; None for what is not read.

    dense: (C, H, W) of a feature map. scales: how many indices the field `scale` holds; None when it holds pixels.
    """

    query_locals: int | None = None
    candidate_locals: int | None = None
    local_dim: int | None = None
    global_dim: int | None = None
    dense: tuple[int, int, int] | None = None
    scales: int | None = None


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One configuration of a re-ranker.

    about: one line for tables. source: where the configuration is published.
    make: builds it, with random weights if it is learned.
    load: reads an official checkpoint into it; None for a method without weights.
    blend: published (weight of the global similarity, temperature), if any.
    sum: published share of the score that is added to the global similarity, if any.
    slide: published (length, window, stride) of sliding windows, if any.
    backbone: whose feature maps of an image it reads: "cvnet-r50", ...; None when it reads none.
    """

    about: str
    source: str
    make: Callable[[], Reranker]
    inputs: Inputs
    load: Callable[[Reranker, Path], None] | None = None
    blend: tuple[float, float] | None = None
    sum: float | None = None
    slide: tuple[int, int, int] | None = None
    backbone: str | None = None

    @property
    def learned(self) -> bool:
        return self.load is not None


@dataclass(frozen=True)
class Spec:
    """A parsed request for a re-ranker. then: what re-ranks its order, in a chain."""

    family: str
    variant: str
    blend: tuple[float, float] | None = None
    sum: float | None = None
    slide: Windows | None = None
    then: Spec | None = None

    def __str__(self) -> str:
        """The request with every number, which parses to this Spec again."""
        text = f"{self.family}:{self.variant}"
        if self.blend is not None:
            text += f"+blend={'/'.join(map(_text, self.blend))}"
        if self.sum is not None:
            text += f"+sum={_text(self.sum)}"
        if self.slide is not None:
            text += f"+slide={self.slide}"
        return text if self.then is None else f"{text}{_THEN}{self.then}"

    @property
    def parts(self) -> tuple[Spec, ...]:
        """The links of a chain, each by itself; a re-ranker that is no chain is its only part."""
        return (replace(self, then=None), *(self.then.parts if self.then else ()))

    @property
    def families(self) -> tuple[str, ...]:
        """Of all parts, each once."""
        return tuple(dict.fromkeys(part.family for part in self.parts))


def names() -> list[str]:
    """Families that can be built, built-in ones first."""
    return list(_modules())


def variants(family: str) -> Mapping[str, Variant]:
    """The variants of a family, the default first; RerankError for an unknown family."""
    modules = _modules()
    if family not in modules:
        raise _unknown("re-ranker", family, modules)
    found: Mapping[str, Variant] = import_module(modules[family]).VARIANTS
    return found


def parse(request: str) -> Spec:
    """The Spec of a request such as `ames:dinov2+blend=0.55/0.3`; RerankError when it names nothing that exists."""
    *parts, last = (_part(request, text) for text in request.strip().split(_THEN))
    return reduce(lambda chain, part: replace(part, then=chain), reversed(parts), last)


def _part(request: str, text: str) -> Spec:
    """One link of the request."""
    found = _PART.fullmatch(text)
    if not found:
        raise RerankError(f"re-ranker {request!r}", wanted=SYNTAX, cure=f"Families are {', '.join(names())}.")
    family, variant = found["family"], found["variant"]
    known = variants(family)
    variant = variant or next(iter(known))
    if variant not in known:
        raise _unknown(f"variant of {family}", variant, known)
    published = {"blend": known[variant].blend, "sum": known[variant].sum, "slide": known[variant].slide}
    given = {
        "blend": found["weight"] and (_number(request, found["weight"]), _number(request, found["temperature"])),
        "sum": found["ratio"] and _number(request, found["ratio"]),
        "slide": found["length"] and tuple(int(found[name]) for name in ("length", "window", "stride")),
    }
    settings: dict[str, Any] = {
        name: published[name] if value is None else value for name, value in given.items() if found[name]
    }
    for name, value in settings.items():
        if value is None:
            example = {"blend": "+blend=0.5/0.1", "sum": "+sum=0.5", "slide": "+slide=400/100/50"}[name]
            raise RerankError(
                f"{request!r} without numbers",
                wanted=f"those of the {name}, for none are published for this variant",
                cure=f"Write them: {family}:{variant}{example}.",
            )
    if "slide" in settings:
        length, window, stride = settings["slide"]
        settings["slide"] = Windows(length, window, stride, found["schedule"] or Windows.schedule)
    return Spec(family, variant, **settings)


def variant_of(spec: Spec) -> Variant:
    """The Variant that a Spec names; that of its first part, for a chain."""
    return variants(spec.family)[spec.variant]


def inputs_of(spec: Spec) -> Inputs:
    """What a whole Spec reads: the most local descriptors that a part reads, and the one size of all else.

    What is not learned reads descriptors of any size, so learned parts decide. RerankError for a chain whose parts
    read descriptors of different sizes.
    """
    found: dict[str, Any] = {}
    known = [variant_of(part) for part in spec.parts]
    for field in fields(Inputs):
        sizes = {getattr(one.inputs, field.name) for one in known if one.learned} - {None}
        sizes = sizes or {getattr(one.inputs, field.name) for one in known} - {None}
        if len(sizes) > 1 and not field.name.endswith("_locals"):
            raise RerankError(
                f"{spec}, whose parts read {field.name.replace('_', ' ')} {' and '.join(map(str, sorted(sizes)))}",
                wanted="one size of descriptors",
                cure="Choose variants for the same descriptors.",
            )
        found[field.name] = max(sizes, default=None)
    return Inputs(**found)


def build(
    request: str | Spec,
    *,
    checkpoint: Path | Mapping[str, Path] | None = None,
    allow_random: bool = False,
    seed: int = 0,
    dtype: str = "float32",
    at_once: int | None = None,
) -> Reranker:
    """A re-ranker ready to score, in evaluation mode.

    checkpoint: official or own weights; by family, for a chain of several. Without, a `micro` variant has the weights
    that come along, and any other that learns raises RerankError, unless `allow_random` says that random weights drawn
    from `seed` will do (for measuring cost).
    dtype: one of DTYPES; what matrix products are computed in. at_once: pairs scored at once.
    """
    if dtype not in DTYPES:
        raise _unknown("dtype", dtype, DTYPES)
    spec = parse(request) if isinstance(request, str) else request
    checkpoints = _by_family(spec, checkpoint)

    def built(part: Spec) -> Reranker:
        reranker = _single(part, weights_of(part, checkpoints), allow_random=allow_random, seed=seed)
        reranker.dtype, reranker.at_once = DTYPES[dtype], at_once
        return _composed(part, reranker)

    return reduce(Chain, map(built, spec.parts))


def weights_of(part: Spec, checkpoints: Mapping[str, Path]) -> Path | None:
    """The weights of one part: a checkpoint of its family, or those that come along, or None."""
    own = OWN_WEIGHTS / f"{part.family}-{part.variant}.safetensors"
    return checkpoints.get(part.family, own if own.is_file() else None)


def learned_weights(spec: Spec, checkpoints: Mapping[str, Path]) -> list[Path | None]:
    """The weights of all parts that learn; None for one that has none but random ones."""
    return [weights_of(part, checkpoints) for part in spec.parts if variant_of(part).learned]


def _by_family(spec: Spec, checkpoint: Path | Mapping[str, Path] | None) -> Mapping[str, Path]:
    """Checkpoints by family; RerankError for those that no part of the Spec takes, or that several might."""
    learned = list(dict.fromkeys(part.family for part in spec.parts if variant_of(part).learned))
    if checkpoint is None or isinstance(checkpoint, Mapping):
        given = checkpoint or {}
    elif len(learned) > 1:
        raise RerankError(
            f"one checkpoint for {spec}",
            wanted=f"those of {' and '.join(learned)}",
            cure="Pass a mapping from families to checkpoints.",
        )
    else:
        given = {learned[0] if learned else spec.family: checkpoint}
    for family in given:
        if family not in learned:
            reason = "it has no weights" if family in spec.families else f"{family} is no part of it"
            raise RerankError(f"a checkpoint for {spec}", wanted=f"none: {reason}", cure="Leave the checkpoint out.")
    return given


def _single(part: Spec, checkpoint: Path | None, *, allow_random: bool, seed: int) -> Reranker:
    """The re-ranker of one part, with its weights, before anything is composed."""
    variant = variant_of(part)
    if variant.learned and checkpoint is None and not allow_random:
        raise RerankError(
            f"no trained weights for {part}",
            wanted="a checkpoint, or leave to use random weights",
            cure="Pass --checkpoint FAMILY=PATH, or --allow-random to run it all the same.",
        )
    reranker = drawn(variant, seed=seed)
    if checkpoint is not None and variant.load is not None:
        variant.load(reranker, checkpoint)
    if (network := reranker.module()) is not None:
        network.eval().requires_grad_(False)
    return reranker


def drawn(variant: Variant, *, seed: int = 0) -> Reranker:
    """The re-ranker as training begins, with random weights if it learns: none that come along are loaded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return variant.make()


def _composed(part: Spec, reranker: Reranker) -> Reranker:
    """The re-ranker with what the part asks for around it; RerankError for windows that change nothing."""
    if part.slide is not None and reranker.kind == "pair-wise":
        raise RerankError(
            f"sliding windows for {part.family}",
            wanted="a list-wise re-ranker: scores of a pair-wise one do not depend on the window",
            cure="Leave +slide out.",
        )
    if part.blend is not None:
        reranker = Blend(reranker, weight=part.blend[0], temperature=part.blend[1])
    if part.sum is not None:
        reranker = Sum(reranker, ratio=part.sum)
    return reranker if part.slide is None else Slide(reranker, **asdict(part.slide))


@cache
def _modules() -> dict[str, str]:
    added = {point.name: point.value for point in entry_points(group="rerankers")}
    return {**BUILT_IN, **{name: module for name, module in added.items() if name not in BUILT_IN}}


def _number(request: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise RerankError(f"{text!r} in {request!r}", wanted="a number", cure="Write e.g. +blend=0.55/0.3.") from error


def _text(number: float) -> str:
    """As short as it can be without becoming another number."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def _unknown(kind: str, name: str, known: Iterable[str]) -> RerankError:
    listed = list(known)
    near = difflib.get_close_matches(name, listed, n=1, cutoff=0.4)
    return RerankError(
        f"unknown {kind} {name!r}",
        wanted=f"one of {', '.join(listed)}",
        cure=f"Did you mean {near[0]!r}?" if near else "Choose one of these.",
    )
