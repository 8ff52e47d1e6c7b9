"""Geometric verification: how many matches between two images agree on one transform."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rerankers.errors import RerankError
from rerankers.estimators import Method, Model, affine_trials, estimate
from rerankers.interface import Features, Reranker
from rerankers.matching import Matching, match
from rerankers.registry import Inputs, Variant

_MODELS: dict[Method, tuple[Model, ...]] = {
    "ransac": ("affine", "homography", "similarity", "fundamental"),
    "magsac": ("affine", "homography", "fundamental"),
    "delg": ("affine",),
}
#: (source, destination) positions of matched descriptors, (p, 2) float32 each.
Points = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How a pair of images is verified.

    max_descriptors: read an image, strongest first; None for all.
    source: the image whose points are moved onto the other's, where threshold_px is measured.
    minimum_matches: fewer of them score 0. seed: of the draws of method "delg"; OpenCV has its own.
    """

    matching: Matching
    model: Model
    threshold_px: float
    source: Literal["query", "candidate"]
    method: Method = "ransac"
    max_iterations: int = 1000
    confidence: float = 0.995
    minimum_matches: int = 4
    max_descriptors: int | None = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.threshold_px < float("inf") or self.max_iterations < 1 or not 0 < self.confidence < 1:
            raise RerankError(
                f"threshold {self.threshold_px} px, {self.max_iterations} iterations, confidence {self.confidence}",
                wanted="a positive threshold, at least one iteration, a confidence between 0 and 1",
                cure="Published: 10 to 24 px and 1,000 iterations.",
            )
        if self.model not in _MODELS.get(self.method, ()):
            raise RerankError(
                f"method {self.method!r} for model {self.model!r}",
                wanted="; ".join(f"{method} for {', '.join(models)}" for method, models in _MODELS.items()),
                cure="Method 'ransac' fits every model.",
            )


class Ransac(Reranker):
    """Scores a candidate by the inliers of one transform between its matches with the query."""

    needs = ("local", "xy", "valid")
    kind = "pair-wise"
    uncounted = "RANSAC runs in OpenCV and stops early: not countable"

    def __init__(self, verification: Verification, *, threads: int | None = None) -> None:
        """threads: how many verify; None for as many as torch uses."""
        self.verification, self.threads = verification, threads
        self.query_locals = self.candidate_locals = verification.max_descriptors
        if verification.method == "delg":
            self.uncounted = "RANSAC runs in numpy, which no witness sees: not countable"

    def score(self, query: Features, candidates: Features) -> Tensor:
        """Inliers (k,) of each candidate, 0 without a transform. Reads local, xy and valid."""
        real = query.valid[0]
        matches = match(query.local[0][real], candidates.local, candidates.valid, self.verification.matching)
        ours, theirs = query.xy[0][real].float().cpu().numpy(), candidates.xy.float().cpu().numpy()
        pairs = [(ours[found[:, 0]], xy[found[:, 1]]) for found, xy in zip(matches, theirs, strict=True)]
        if self.verification.source == "candidate":
            pairs = [(theirs, ours) for ours, theirs in pairs]
        counts = inlier_counts(pairs, self.verification, threads=self.threads or torch.get_num_threads())
        return torch.tensor(counts, dtype=torch.float32)


def inlier_counts(pairs: Sequence[Points], verification: Verification, *, threads: int) -> list[int]:
    """`inlier_count` of every pair, on `threads` threads: OpenCV runs outside the interpreter's lock."""
    # Hard pairs come last in a shortlist: dealing them out in turn keeps the threads equally busy.
    hands = min(len(pairs), 4 * threads)
    counts = [0] * len(pairs)

    def verify(hand: int) -> None:
        for i in range(hand, len(pairs), hands):
            counts[i] = inlier_count(*pairs[i], verification)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(verify, range(hands)))
    return counts


def inlier_count(src: np.ndarray, dst: np.ndarray, verification: Verification) -> int:
    """Matches (p, 2) that agree on one transform; 0 for too few, or where there is no finite transform.

    A match with a position that is NaN or infinite does not take part.
    """
    finite = np.isfinite(src).all(axis=1) & np.isfinite(dst).all(axis=1)
    if not finite.all():
        src, dst = src[finite], dst[finite]
    if len(src) < verification.minimum_matches:
        return 0
    if verification.method == "delg":
        return affine_trials(
            src,
            dst,
            threshold_px=verification.threshold_px,
            trials=verification.max_iterations,
            seed=verification.seed,
        ).inliers
    return estimate(
        src,
        dst,
        model=verification.model,
        method=verification.method,
        threshold_px=verification.threshold_px,
        max_iterations=verification.max_iterations,
        confidence=verification.confidence,
    ).inliers


#: The limit suits RootSIFT, of unit length; DELG's own descriptors have another. From 0.5 on, chance matches crowd in.
_DELG = Verification(matching=Matching(max_distance=0.45), model="affine", threshold_px=20, source="candidate")
_PATCH_NETVLAD = Verification(matching=Matching(mutual=True), model="homography", threshold_px=24, source="query")


def _variant(about: str, source: str, verification: Verification) -> Variant:
    length = verification.max_descriptors
    return Variant(
        about=about,
        source=source,
        make=lambda: Ransac(verification),
        inputs=Inputs(query_locals=length, candidate_locals=length, local_dim=128),
    )


VARIANTS = {
    "affine": _variant(
        "one-way nearest neighbours, affine, 20 px", "DELG (Cao et al., ECCV 2020), on OpenCV's estimator", _DELG
    ),
    "homography": _variant(
        "mutual nearest neighbours, homography, 24 px", "Patch-NetVLAD (Hausler et al., CVPR 2021)", _PATCH_NETVLAD
    ),
    "affine-1000": _variant(
        "as affine, with up to 1,000 descriptors an image",
        "DELG, whose images have 1,000",
        replace(_DELG, max_descriptors=1000),
    ),
    "delg": _variant(
        "as affine, all of 1,000 trials",
        "DELG (Cao et al., ECCV 2020), its own estimator",
        replace(_DELG, method="delg"),
    ),
}
