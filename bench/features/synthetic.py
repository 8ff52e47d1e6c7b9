"""Inputs of any size for measuring cost: random, but with the structure that the re-rankers look for."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import BenchError
from rerankers.interface import Features

NOISE = 0.5  # norm of what is added to a copied unit descriptor: a cosine of about 0.9
LOG_SCALES = (math.log(2), math.log(32))  # of the smallest and the largest scale of a descriptor, in pixels
JITTER = 0.5  # pixels of noise in the position of a copied descriptor
CORNER = 0.15  # how far a corner of the view may move inwards, as a share of the image's side


def workload(
    *,
    candidates: int,
    query_locals: int | None,
    candidate_locals: int | None,
    local_dim: int | None,
    global_dim: int | None,
    seed: int,
    dense: tuple[int, int, int] | None = None,
    scales: int | None = None,
    inlier_share: float = 0.3,
    image_size: tuple[int, int] = (640, 480),
) -> tuple[Features, Features, Tensor]:
    """A query, its k candidates and their first-stage similarities (k,), descending; the same for the same seed.

    Local descriptors have unit length and are all valid, strongest first. In each candidate a share of them are
    noisy copies of the query's, seen through a random mild homography, as many as the query's number allows; the
    rest are random, as are their places in the image (width, height) in pixels. Global descriptors have unit
    length. dense: (C, H, W) of feature maps; a candidate's is part the query's and part noise. scales: how many
    indices stand for scales, evenly in their logarithm; None leaves pixels. Fields are None where their dimension is.
    """
    if candidates < 1 or not 0 <= inlier_share <= 1:
        raise BenchError(
            f"{candidates} candidates, inlier share {inlier_share}",
            wanted="at least one candidate and a share from 0 to 1",
            cure="Correct the workload.",
        )
    generator = np.random.default_rng(seed)
    query, others, similarity = _globals(generator, candidates, global_dim)
    fields: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    if local_dim is not None and query_locals is not None and candidate_locals is not None:
        first = _locals(generator, query_locals, local_dim, image_size)
        copies = min(round(inlier_share * candidate_locals), query_locals)
        views = [_view(generator, first, candidate_locals, copies, image_size) for _ in range(candidates)]
        fields = _tensors([first], image_size), _tensors(views, image_size)
        if scales is not None:
            for side in fields:
                side["scale"] = _indices(side["scale"], scales)
    if dense is not None:
        maps = _maps(generator, candidates, dense, inlier_share)
        fields[0]["dense"], fields[1]["dense"] = maps[:1], maps[1:]
    return Features(global_=query, **fields[0]), Features(global_=others, **fields[1]), similarity


Locals = dict[str, NDArray[np.float32]]


def _globals(generator: np.random.Generator, candidates: int, dim: int | None) -> tuple[Any, Any, Tensor]:
    """Global descriptors of query and candidates, None without a dimension, and their similarities."""
    similarity = np.sort(generator.uniform(0.1, 0.9, candidates))[::-1].astype(np.float32)
    if dim is None:
        return None, None, torch.from_numpy(similarity.copy())
    query = _unit(generator, 1, dim)
    across = _unit(generator, candidates, dim)
    across = _normalised(across - (across @ query.T) * query)
    others = _normalised(similarity[:, None] * query + np.sqrt(1 - similarity[:, None] ** 2) * across)
    seen = (others @ query.T)[:, 0]
    order = np.argsort(-seen, kind="stable")
    return torch.from_numpy(query), torch.from_numpy(others[order]), torch.from_numpy(seen[order])


def _locals(generator: np.random.Generator, count: int, dim: int, size: tuple[int, int]) -> Locals:
    return {
        "local": _unit(generator, count, dim),
        "xy": generator.uniform(0, size, (count, 2)).astype(np.float32),
        "scale": np.exp(generator.uniform(*LOG_SCALES, count)).astype(np.float32),
        "weight": np.sort(generator.uniform(0.02, 0.2, count))[::-1].astype(np.float32),
    }


def _view(generator: np.random.Generator, query: Locals, count: int, copies: int, size: tuple[int, int]) -> Locals:
    """Another image, `copies` of whose descriptors belong to the query's, scattered over all strengths."""
    view = _locals(generator, count, query["local"].shape[1], size)
    source = generator.permutation(len(query["local"]))[:copies]
    place = generator.permutation(count)[:copies]
    noise = NOISE * _unit(generator, copies, query["local"].shape[1])
    view["local"][place] = _normalised(query["local"][source] + noise)
    mapped = cv2.perspectiveTransform(query["xy"][source][None], _homography(generator, size))[0] if copies else 0
    view["xy"][place] = mapped + generator.normal(0, JITTER, (copies, 2)).astype(np.float32)
    view["scale"][place] = query["scale"][source]
    return view


def _homography(generator: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:
    """One that takes the image's corners to places a little inside of it, so that all of it stays in view."""
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float32)
    moved = corners + (1 - 2 * corners) * generator.uniform(0, CORNER, (4, 2)).astype(np.float32)
    sides = np.array(size, dtype=np.float32)
    return np.asarray(cv2.getPerspectiveTransform(corners * sides, moved * sides), dtype=np.float64)


def _indices(scale: Tensor, count: int) -> Tensor:
    """Which of `count` equal parts of the range of scales each lies in, in its logarithm."""
    lowest, highest = LOG_SCALES
    return ((scale.log() - lowest) / (highest - lowest) * count).long().clamp(0, count - 1)


def _tensors(images: list[Locals], size: tuple[int, int]) -> dict[str, Tensor]:
    fields = {name: torch.from_numpy(np.stack([image[name] for image in images])) for name in images[0]}
    fields["size"] = torch.tensor(size, dtype=torch.float32).repeat(len(images), 1)
    return {**fields, "valid": torch.ones(fields["scale"].shape, dtype=torch.bool)}


def _maps(
    generator: np.random.Generator, candidates: int, shape: tuple[int, int, int], share: float
) -> tuple[Tensor, ...]:
    """The query's feature map, then the candidates'."""
    query, *others = (generator.standard_normal(shape, dtype=np.float32) for _ in range(candidates + 1))
    return tuple(map(torch.from_numpy, [query, *(share * query + (1 - share) * other for other in others)]))


def _unit(generator: np.random.Generator, count: int, dim: int) -> NDArray[np.float32]:
    return _normalised(generator.standard_normal((count, dim), dtype=np.float32))


def _normalised(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32, copy=False)
    return found
