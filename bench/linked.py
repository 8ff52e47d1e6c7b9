"""Whether a transitive positive is found through its linking positive: the cell, as it runs in a process of its own.

Descriptors of the linking positive are replaced by those of negatives: in the part that it shows together with the
transitive positive, or as many elsewhere. Source: the analysis of LOCORE (CVPR 2025, supplement, Figure C).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.datasets.facades import Sights
from bench.datasets.facades.labels import BRIDGE_IMAGE_SHARE, BRIDGE_QUERY_SHARE
from bench.datasets.ground_truth import QueryTruth
from bench.errors import BenchError
from bench.ground import Ground, read
from bench.metrics.revisited import evaluate
from bench.protocols import Policy
from rerankers import Features, Reranker
from rerankers.interface import Given, Ranking

#: The protocol whose list is altered: transitive positives are hard.
PROTOCOL = "hard"
#: What belongs to a local descriptor and is replaced with it; its position stays.
REPLACED = ("local", "scale", "weight")
#: Ends of the names in a record: the list as it is, and with either part of the linking positive replaced.
PLAIN, COVISIBLE, ELSEWHERE = "", "_covisible", "_elsewhere"


@dataclass(frozen=True)
class LinkTask:
    """One linking cell, as JSON can carry it. ground: the fields of a Ground. draws: replacements of each case."""

    ground: dict[str, Any]
    policy: str
    draws: int


@dataclass(frozen=True)
class Case:
    """A transitive positive and its linking positive, by their places in the list.

    covisible, elsewhere: (c,) and (e,) places of the linking positive's descriptors that lie in the part which the
    transitive positive shows too, and of its others. donors: (m, 2) places of negatives and of their descriptors.
    """

    transitive: int
    link: int
    covisible: NDArray[np.int64]
    elsewhere: NDArray[np.int64]
    donors: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many descriptors are replaced: as many as either part has."""
        return min(len(self.covisible), len(self.elsewhere), len(self.donors))


@dataclass
class Counts:
    """cases: measured. unlinked: transitive positives without a linking positive in the list. skipped: those where
    either part has no descriptor. capped: cases with fewer descriptors elsewhere than in the co-visible part."""

    cases: int = 0
    unlinked: int = 0
    skipped: int = 0
    capped: int = 0


def run(payload: dict[str, Any], progress: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Counts, scores and ranks of every case, and a hash of all scores."""
    task = LinkTask(**payload)
    ground = Ground(**task.ground)
    reranker, dataset = local_reader(ground), ground.dataset()
    sights = Sights.read(Path(ground.dataset_folder))
    queries, gallery = ground.store("queries"), ground.store("gallery")
    lists = ground.candidates(dataset.truth.truths, Policy(task.policy))
    counts, series, digest = Counts(), dict[str, list[float]](), hashlib.sha256()
    best: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for number, truth in enumerate(dataset.truth.truths):
        candidates = lists[number]
        chosen = candidates.lists[candidates.name_for(PROTOCOL)][: reranker.window]
        images = candidates.ids[chosen]
        best.append(best_orders(truth, candidates.ids, chosen))
        if np.isin(images, _transitive(truth)).any():
            given = (
                read(queries, np.array([number]), reranker.query_locals, reranker),
                read(gallery, images, reranker.candidate_locals, reranker),
                torch.from_numpy(np.ascontiguousarray(candidates.similarity[chosen])),
            )
            for case in cases(sights, number, truth, images, given[1], counts):
                origin = {"query": number, "transitive": images[case.transitive], "link": images[case.link]}
                rng = np.random.default_rng((ground.seed, number, int(images[case.transitive])))
                rankings = reranker.rankings([given, *replacements(given, case, rng, draws=task.draws)])
                for ranking in rankings:
                    digest.update(ranking.key.to(torch.float32).numpy().astype("<f4").tobytes())
                for name, value in (origin | {"replaced": case.count} | measured(rankings, case)).items():
                    series.setdefault(name, []).append(float(value))
        progress(number + 1, len(dataset.truth.truths), "queries")
    if not counts.cases:
        raise BenchError(
            f"no transitive positive with a linking positive among the first {ground.shortlist} of {dataset.name}",
            wanted="at least one",
            cure="Pass a longer --shortlist, or another --dataset.",
        )
    figures = {field.name: getattr(counts, field.name) for field in fields(counts)}
    figures["at_stake"] = at_stake(best, dataset.truth.truths)
    return {"figures": figures, "series": series, "scores_sha256": digest.hexdigest()}


def best_orders(
    truth: QueryTruth, ids: NDArray[np.int64], chosen: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The list `ids` (n,) with its `chosen` places in the best order for hard positives, all of them first, and in the
    best one that leaves the transitive ones last."""
    images = ids[chosen]
    hard, transitive = np.isin(images, truth.hard), np.isin(images, _transitive(truth))
    rest = np.delete(ids, chosen)
    first = np.where(hard, 0, 1)
    last = np.where(transitive, 2, first)
    best, other = (np.concatenate([images[np.argsort(key, kind="stable")], rest]) for key in (first, last))
    return best, other


def at_stake(lists: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], truths: Sequence[QueryTruth]) -> float:
    """The most that transitive positives can add to mAP hard: of the best orders, less those that leave them last."""
    first, last = (
        evaluate(np.stack(orders), truths, protocols=(PROTOCOL,))[PROTOCOL].map for orders in zip(*lists, strict=True)
    )
    return first - last


def local_reader(ground: Ground) -> Reranker:
    """The re-ranker; BenchError for one that reads no local descriptors."""
    reranker = ground.build()
    if "local" not in reranker.needs:
        raise unread(ground.reranker)
    return reranker


def unread(reranker: object) -> BenchError:
    """What is said of a re-ranker that reads no local descriptors."""
    return BenchError(
        f"{reranker}, which reads no local descriptors",
        wanted="one that does: they are what is looked at",
        cure="Choose another re-ranker, such as locore:micro.",
    )


def cases(
    sights: Sights, query: int, truth: QueryTruth, images: NDArray[np.int64], features: Features, counts: Counts
) -> list[Case]:
    """The cases of one query's list of images (k,), whose descriptors are `features`; all that is met is counted."""
    related = np.concatenate([truth.easy, truth.hard, truth.junk])
    valid = features.valid.numpy()
    donors = np.argwhere(valid & ~np.isin(images, related)[:, None])
    found = []
    for transitive in np.flatnonzero(np.isin(images, _transitive(truth))):
        link = linking(sights, query, truth, images, int(transitive))
        if link is None:
            counts.unlinked += 1
            continue
        pixels = features.xy[link].numpy().astype(np.float64)
        covisible = sights.shared(int(images[link]), int(images[transitive]), pixels)
        parts = [np.flatnonzero(valid[link] & part) for part in (covisible, ~covisible)]
        case = Case(int(transitive), link, parts[0], parts[1], donors)
        if not case.count:
            counts.skipped += 1
            continue
        counts.cases += 1
        counts.capped += len(case.covisible) > case.count
        found.append(case)
    return found


def linking(sights: Sights, query: int, truth: QueryTruth, images: NDArray[np.int64], positive: int) -> int | None:
    """The place of the strongest bridge between a query and a positive among `images` (k,), None where there is none.

    A bridge is an easy or hard image by the rule of docs/facades.md; it is as strong as the smaller of its two shares.
    """
    best, strongest = None, 0.0
    for place in np.flatnonzero(np.isin(images, np.concatenate([truth.easy, truth.hard]))):
        if place == positive:
            continue
        shown = sights.query_share(query, int(images[place]))
        bridged = sights.share(int(images[positive]), int(images[place]))
        if shown >= BRIDGE_QUERY_SHARE and bridged >= BRIDGE_IMAGE_SHARE and min(shown, bridged) > strongest:
            best, strongest = int(place), min(shown, bridged)
    return best


def replacements(given: Given, case: Case, rng: np.random.Generator, *, draws: int) -> list[Given]:
    """Altered lists, two for each draw: the same donors in the co-visible part, and elsewhere."""
    query, candidates, similarity = given
    lists: list[Given] = []
    for _ in range(draws):
        donors = rng.choice(case.donors, case.count, replace=False)
        for part in (case.covisible, case.elsewhere):
            places = rng.choice(part, case.count, replace=False)
            lists.append((query, altered(candidates, case.link, places, donors), similarity))
    return lists


def altered(candidates: Features, image: int, places: NDArray[np.int64], donors: NDArray[np.int64]) -> Features:
    """The candidates with the descriptors (n,) of one image replaced by `donors` (n, 2)."""
    images, theirs = torch.from_numpy(donors).unbind(1)
    found = {}
    for name in REPLACED:
        if (value := getattr(candidates, name)) is not None:
            found[name] = value.clone()
            found[name][image, torch.from_numpy(places)] = value[images, theirs]
    return replace(candidates, **found)


def measured(rankings: Sequence[Ranking], case: Case) -> dict[str, float]:
    """Of the list as it is, and means over all draws: the transitive positive's score and its rank (the first is 1)
    among all but the linking positive, and the linking positive's score; and the deviation of the scores of the list.
    """
    plain, *others = rankings
    found = {"deviation": float(plain.key.double().std())}
    for end, part in ((PLAIN, [plain]), (COVISIBLE, others[::2]), (ELSEWHERE, others[1::2])):
        keys = torch.stack([ranking.key for ranking in part]).double()
        places = torch.stack([torch.argsort(ranking.order) for ranking in part])
        passed = places[:, case.link] < places[:, case.transitive]
        found[f"score{end}"] = float(keys[:, case.transitive].mean())
        found[f"rank{end}"] = float((places[:, case.transitive] - passed.long() + 1).double().mean())
        found[f"link_score{end}"] = float(keys[:, case.link].mean())
    return found


def _transitive(truth: QueryTruth) -> NDArray[np.int64]:
    return np.array([], dtype=np.int64) if truth.transitive is None else truth.transitive
