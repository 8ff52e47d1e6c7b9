"""A re-ranker of whoever writes one, on inputs that are made up: whether it keeps the contract of re-rankers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TypedDict

import torch
from torch import Tensor

import rerankers
from bench.errors import BenchError, unknown_name
from bench.features.synthetic import workload
from rerankers import Features, Ranking, Reranker
from rerankers.interface import best_first
from rerankers.registry import Inputs, inputs_of, parse

#: Local descriptors of an image where neither the caller nor the re-ranker says how many.
LOCALS = 100
#: Which size a field is drawn by that a re-ranker needs, and what to write.
DRAWN_BY = {
    "global_": "global_dim",
    "dense": "dense",
    **dict.fromkeys(("local", "xy", "size", "scale", "valid", "weight"), "local_dim"),
}
EXAMPLES = {"global_dim": "global_dim=512", "dense": "dense=(256, 32, 32)", "local_dim": "local_dim=128"}


class Sizes(TypedDict, total=False):
    """Sizes of one query's inputs, as `rerankers.registry.Inputs` has them."""

    query_locals: int
    candidate_locals: int
    local_dim: int
    global_dim: int
    dense: tuple[int, int, int]
    scales: int


@dataclass(frozen=True)
class Subject:
    """A re-ranker and one query's inputs."""

    name: str
    reranker: Reranker
    inputs: Inputs
    query: Features
    candidates: Features
    similarity: Tensor

    def call(self) -> Ranking:
        """What is measured."""
        return self.reranker.ranking(self.query, self.candidates, self.similarity)

    def copied(self) -> list[Tensor]:
        """The inputs as they are now."""
        return [one.clone() for one in self.tensors()]

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor of the inputs."""
        for side in (self.query, self.candidates):
            for field in fields(side):
                value = getattr(side, field.name)
                yield from value if isinstance(value, tuple) else () if value is None else (value,)
        yield self.similarity


def subject(
    reranker: Reranker | str, *, candidates: int, seed: int = 0, name: str | None = None, sizes: Sizes | None = None
) -> Subject:
    """A re-ranker, built or asked for by name, on the CPU, with synthetic inputs.

    sizes: go before those that the name stands for. seed: of the inputs, and of random weights where a name has none.
    Raises BenchError for inputs that cannot be made, or a network on a GPU.
    """
    sizes = sizes or {}
    for unknown in set(sizes) - set(Sizes.__annotations__):
        raise unknown_name("size of inputs", unknown, Sizes.__annotations__)
    if isinstance(reranker, str):
        name, inputs = name or reranker, inputs_of(parse(reranker))
        reranker = rerankers.build(reranker, allow_random=True, seed=seed)
    else:
        name = name or type(reranker).__name__
        inputs = Inputs(
            query_locals=reranker.query_locals or LOCALS, candidate_locals=reranker.candidate_locals or LOCALS
        )
    inputs = replace(inputs, **sizes)
    _check(name, reranker, inputs)
    return Subject(name, reranker, inputs, *workload(candidates=candidates, seed=seed, **asdict(inputs)))


def _check(name: str, reranker: Reranker, inputs: Inputs) -> None:
    for need in reranker.needs:
        if getattr(inputs, size := DRAWN_BY[need]) is None:
            cure = f"Pass the size of your descriptors, such as {EXAMPLES[size]}."
            raise BenchError(f"{name}, which needs {need.rstrip('_')!r}, without {size}", wanted=size, cure=cure)
    network = reranker.module()
    if network is not None and any(parameter.device.type != "cpu" for parameter in network.parameters()):
        cure = "Move it to the CPU, or measure it by python -m bench.profile --device cuda."
        raise BenchError(f"{name} on a GPU", wanted="a network on the CPU, where a call returns when done", cure=cure)


def breaches(subject: Subject, kept: Sequence[Tensor], first: Ranking, last: Ranking) -> list[str]:
    """Where a re-ranker breaks its contract, a sentence each.

    kept: copies of the inputs before any call. first, last: rankings before and after the measured calls.
    """
    count, key = len(subject.candidates), last.key
    if key.shape != (count,):
        return [f"scores of shape {tuple(key.shape)} for {count} candidates; wanted one score a candidate"]
    found, seen = [], key[: subject.reranker.window]
    if infinite := int((~torch.isfinite(seen)).sum()):
        found.append(f"{infinite} of {len(seen)} scores are NaN or infinite")
    if not torch.equal(last.order, best_first(key)):
        found.append("the order is not that of the scores, best first, a tie in first-stage order")
    if not (torch.equal(first.key, key) and torch.equal(first.order, last.order)):
        found.append("the same inputs gave another ranking: is its network in evaluation mode, or is something kept?")
    if not all(torch.equal(old, new) for old, new in zip(kept, subject.tensors(), strict=True)):
        found.append("a call changed its inputs, which others rank after it")
    elif not _ties_keep_order(subject):
        found.append("a list of one image, again and again, does not stay in first-stage order where scores tie")
    return found


def _ties_keep_order(subject: Subject) -> bool:
    same = torch.zeros(len(subject.candidates), dtype=torch.long)
    tied = subject.reranker.ranking(subject.query, subject.candidates[same], subject.similarity[same])
    return torch.equal(tied.order, best_first(tied.key))
