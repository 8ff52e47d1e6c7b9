"""Lists of images made up, and the same ones changed in ways that should not matter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.features.synthetic import workload
from rerankers import Features, Reranker
from rerankers.interface import Given
from rerankers.registry import inputs_of, parse

LOCAL = ("local", "xy", "scale", "valid", "weight")
#: Local descriptors of an image at most, for there are many lists; and at least, since R2Former reads no fewer than 5.
MOST, FEWEST = 48, 8
#: Feature maps of full size take a second a pair. Below 9 cells a side, the last maps have a single cell, which torch
#: convolves otherwise when it is alone.
SMALL_MAP = (10, 11)


def drawn(request: str, rng: np.random.Generator, count: int, *, most: int = MOST) -> Given:
    """A query, `count` candidates and their similarities, of the sizes that a re-ranker reads, but few descriptors.

    Some images have all of `most` local descriptors, others fewer and padding.
    """
    inputs = inputs_of(parse(request))
    if inputs.query_locals is not None and inputs.candidate_locals is not None:
        queries, candidates = min(most, inputs.query_locals), min(most, inputs.candidate_locals)
        inputs = replace(inputs, query_locals=queries, candidate_locals=candidates)
    if inputs.dense is not None and inputs.dense[1] > max(SMALL_MAP):
        inputs = replace(inputs, dense=(inputs.dense[0], *SMALL_MAP))
    query, others, similarity = workload(candidates=count, seed=int(rng.integers(1 << 31)), **asdict(inputs))
    return _shortened(query, rng), _shortened(others, rng), similarity


def _shortened(images: Features, rng: np.random.Generator) -> Features:
    """The images with fewer descriptors in about half of them."""
    if images.valid is None:
        return images
    length = images.valid.shape[1]
    counts = np.where(rng.random(len(images)) < 0.5, length, rng.integers(FEWEST, length + 1, len(images)))
    valid = torch.arange(length) < torch.from_numpy(counts)[:, None]
    kept = {name: getattr(images, name).masked_fill(~valid, 0) for name in ("scale", "weight")}
    kept |= {name: getattr(images, name).masked_fill(~valid[:, :, None], 0) for name in ("local", "xy")}
    return replace(images, valid=valid, **kept)


def taken(given: Given, chosen: Tensor) -> Given:
    """The list with these candidates, in this order."""
    query, candidates, similarity = given
    return query, candidates[chosen], similarity[chosen]


def padded(images: Features, count: int) -> Features:
    """The images with so many descriptors more that are none."""
    local = {name: value for name in LOCAL if (value := getattr(images, name)) is not None}
    return replace(images, **{name: pad(one, (0, 0) * (one.ndim - 2) + (0, count)) for name, one in local.items()})


def mixed(images: Features, rng: np.random.Generator) -> Features:
    """The images with their real descriptors in another order, each with its place, scale and weight."""
    length = images.valid.shape[1]
    orders = [np.r_[rng.permutation(real), real:length] for real in images.valid.sum(dim=1).tolist()]
    order, rows = torch.from_numpy(np.stack(orders)), torch.arange(len(images))[:, None]
    return replace(images, **{name: one[rows, order] for name in LOCAL if (one := getattr(images, name)) is not None})


def scaled(images: Features, rng: np.random.Generator, field: str) -> Features:
    """The images with this field of each times a factor of its own."""
    factors = torch.from_numpy(rng.uniform(0.25, 4, len(images)).astype(np.float32))
    value: Any = getattr(images, field)
    if isinstance(value, tuple):
        return replace(images, **{field: tuple(one * factor for one, factor in zip(value, factors, strict=True))})
    return replace(images, **{field: value * factors.view(-1, *[1] * (value.ndim - 1))})


def as_double(given: Given) -> Given:
    """All numbers of a list in float64."""

    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(one, value))
        return value.double() if value is not None and value.is_floating_point() else value

    query, candidates = (
        Features(**{field.name: one(getattr(side, field.name)) for field in fields(side)}) for side in given[:2]
    )
    return query, candidates, given[2].double()


@contextmanager
def in_double(reranker: Reranker) -> Iterator[None]:
    """The re-ranker computes in float64 throughout: it offers no such type, so `Tensor.float` gives doubles here."""
    usual, network = torch.Tensor.float, reranker.module()
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    try:
        if network is not None:
            network.double()
        yield
    finally:
        torch.Tensor.float = usual  # type: ignore[method-assign]
        torch.set_default_dtype(torch.float32)
        if network is not None:
            network.float()
