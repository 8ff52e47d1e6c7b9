"""Which blend of first-stage similarity and score ranks best: the tuning cell, as it runs in a process of its own.

Candidates are scored once; every weight and temperature of the grid is then a matter of sorting. The blend is chosen
on a validation set and frozen for the evaluated one. Source: the grid of AMES (ECCV 2024) and LOCORE (CVPR 2025).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.datasets.ground_truth import QueryTruth
from bench.errors import BenchError
from bench.features.store import DescriptorStore
from bench.ground import Ground, read
from bench.metrics import revisited
from bench.metrics.revisited import Tail
from bench.metrics.scores import mean_defined
from bench.protocols import CandidateList, Policy
from rerankers import Features, Reranker
from rerankers.compose import fuse
from rerankers.interface import best_first

STEPS = tuple(step / 10 for step in range(11))
#: Every (weight, temperature), earlier ones first in a tie: those that trust the first stage more.
GRID = tuple((weight, temperature) for weight in reversed(STEPS) for temperature in STEPS)
#: A blend is as good as the mean of its mAP under these.
PROTOCOLS = ("medium", "hard")
#: Means that agree to this many decimals are a tie: mAP itself is exact to no more.
DECIMALS = 12


@dataclass(frozen=True)
class TuneTask:
    """One tuning cell, as JSON can carry it. validation, evaluated: the fields of a Ground each."""

    validation: dict[str, Any]
    evaluated: dict[str, Any]
    policy: str


@dataclass(frozen=True)
class Scored:
    """One query's candidates, and the scores (k,) of each list that PROTOCOLS evaluate, by the list's name.

    tail: what its first-stage list has behind the head, None for a whole list.
    """

    candidates: CandidateList
    scores: Mapping[str, Tensor]
    tail: Tail | None = None

    def ranked(self, name: str, *, weight: float, temperature: float) -> np.ndarray:
        """The whole list of image ids with the candidates of one list in blended order."""
        chosen = self.candidates.lists[name]
        similarity = torch.from_numpy(np.ascontiguousarray(self.candidates.similarity[chosen]))
        # candidates that were not seen score -inf, which a temperature of 0 makes NaN: let them score as low as can be
        key = fuse(similarity, torch.nan_to_num(self.scores[name]), weight=weight, temperature=temperature)
        return self.candidates.merged(chosen[best_first(key).numpy()], hard_star=False)


@dataclass(frozen=True)
class Outcome:
    """What one blend earns: mAP by protocol, NaN where no query has a positive."""

    weight: float
    temperature: float
    maps: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Over the protocols that have a mAP; NaN when none has."""
        return mean_defined(np.array([self.maps[protocol] for protocol in PROTOCOLS]))

    def figures(self, prefix: str = "") -> dict[str, float]:
        return {f"{prefix}map_{protocol}": self.maps[protocol] for protocol in PROTOCOLS}

    def chosen(self, prefix: str = "") -> dict[str, float]:
        return {f"{prefix}weight": self.weight, f"{prefix}temperature": self.temperature} | self.figures(prefix)


def run(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Figures of the chosen blend, of the first stage and of the oracle, and a hash of all scores."""
    task = TuneTask(**payload)
    grounds = {"validation": Ground(**task.validation), "evaluated": Ground(**task.evaluated)}
    reranker, policy = grounds["evaluated"].build(), Policy(task.policy)
    truths = {side: ground.dataset().truth.truths for side, ground in grounds.items()}
    total, done = sum(map(len, truths.values())), 0
    digest, found = hashlib.sha256(), {}
    for side, ground in grounds.items():
        scored = []
        for one in score_set(ground, reranker, policy, truths[side]):
            scored.append(one)
            for score in one.scores.values():
                digest.update(score.numpy().astype("<f4").tobytes())
            done += 1
            progress(done, total, "queries")
        found[side] = outcomes(scored, truths[side])
    return {"figures": figures(**found), "scores_sha256": digest.hexdigest()}


def score_set(ground: Ground, reranker: Reranker, policy: Policy, truths: Sequence[QueryTruth]) -> Iterator[Scored]:
    """Every query of a data set, scored one after the other."""
    queries, gallery = ground.store("queries"), ground.store("gallery")
    lists = ground.candidates(truths, policy)
    tails = lists.stage.tails
    for number in range(len(truths)):
        query = read(queries, np.array([number]), reranker.query_locals, reranker)
        scored = score_query(reranker, query, gallery, lists[number])
        yield scored if tails is None else replace(scored, tail=tails[number])


def score_query(reranker: Reranker, query: Features, gallery: DescriptorStore, candidates: CandidateList) -> Scored:
    """One query's candidates. A pair-wise re-ranker scores each once; a list-wise one sees each list by itself."""
    lists = {name: candidates.lists[name] for name in map(candidates.name_for, PROTOCOLS)}

    def scores(positions: np.ndarray) -> Tensor:
        features = read(gallery, candidates.ids[positions], reranker.candidate_locals, reranker)
        similarity = torch.from_numpy(np.ascontiguousarray(candidates.similarity[positions]))
        return reranker.ranking(query, features, similarity).key.to(torch.float32)

    if reranker.kind == "list-wise":
        return Scored(candidates, {name: scores(chosen) for name, chosen in lists.items()})
    union = np.unique(np.concatenate(list(lists.values())))
    every = scores(union)
    return Scored(candidates, {name: every[np.searchsorted(union, chosen)] for name, chosen in lists.items()})


def outcomes(scored: Sequence[Scored], truths: Sequence[QueryTruth]) -> list[Outcome]:
    """What every blend of the GRID earns, in its order."""
    return [outcome(scored, truths, weight=weight, temperature=temperature) for weight, temperature in GRID]


def outcome(scored: Sequence[Scored], truths: Sequence[QueryTruth], *, weight: float, temperature: float) -> Outcome:
    """What one blend earns over all queries, of which there is at least one."""
    protocols: dict[str, list[str]] = {}
    for protocol in PROTOCOLS:
        protocols.setdefault(scored[0].candidates.name_for(protocol), []).append(protocol)
    maps: dict[str, float] = {}
    tails = [one.tail for one in scored if one.tail is not None]
    for name, judged in protocols.items():
        whole = np.stack([one.ranked(name, weight=weight, temperature=temperature) for one in scored])
        found = revisited.evaluate(whole, truths, protocols=judged, beyond=tails or None)
        maps |= {protocol: float(earned.map) for protocol, earned in found.items()}
    return Outcome(weight, temperature, maps)


def best(found: Sequence[Outcome]) -> Outcome:
    """The highest mean, the earliest in a tie; BenchError when no query has a positive to rank."""
    if any(math.isnan(one.mean) for one in found):
        raise BenchError(
            "a data set without easy and hard images",
            wanted="a query with at least one of them",
            cure="Tune and evaluate on data sets with labels.",
        )
    return max(found, key=lambda one: round(one.mean, DECIMALS))


def figures(validation: Sequence[Outcome], evaluated: Sequence[Outcome]) -> dict[str, float]:
    """The record's figures from what every blend earns on both sets, both in the order of the GRID."""
    place = validation.index(best(validation))
    return (
        evaluated[place].chosen()
        | validation[place].figures("validation_")
        | evaluated[GRID.index((1.0, 0.0))].figures("first_stage_")
        | best(evaluated).chosen("oracle_")
    )
