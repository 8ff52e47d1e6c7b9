"""Reference cases of LOCORE's evaluator: the schedule of its windows, its blend, and the whole protocol."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from bench.features.store import LocalStore
from bench.parity.case import Case, Verdict
from bench.parity.given import BEHIND, Known, blended, images, maps_in_percent, reordered, scores, shortlists
from bench.parity.locore import locore_of
from rerankers.compose import SCHEDULES, Blend, Slide, starts
from rerankers.interface import Features, Reranker
from rerankers.locore.config import Pooling

ONE_PASS: tuple[Pooling, ...] = ("max-sum", "max-start", "max-end")
#: Weight and temperature of the blends whose lists are stored after one pass.
WEIGHTS = ((0.5, 0.1), (0.3, 0.7))


class LookedUp(Reranker):
    """Scores (queries, n) that somebody else computed; an image bears its place there as its global descriptor."""

    needs = ("global_",)

    def __init__(self, known: Tensor) -> None:
        self.known = known

    def score(self, query: Features, candidates: Features) -> Tensor:
        return self.known[query.global_[:, 0].long(), candidates.global_[:, 0].long()]


class Recorded(Reranker):
    """The scores of another re-ranker, kept call by call: (lists, k)."""

    kind = "list-wise"

    def __init__(self, reranker: Reranker) -> None:
        self.reranker, self.needs = reranker, reranker.needs
        self.kept: list[Tensor] = []

    def score(self, query: Features, candidates: Features) -> Tensor:
        return self.scores([(query, candidates)])[0]

    def scores(self, lists: Sequence[tuple[Features, Features]]) -> list[Tensor]:
        found = self.reranker.scores(lists)
        self.kept.append(torch.stack(found))
        return found


def schedule(case: Case) -> list[Verdict]:
    """Windows and final orders of every setting that the official code can run, with all queries in step."""
    spec, verdicts = case.spec["protocol"], []
    known, similarity = (torch.from_numpy(case.inputs[f"{which}_sims"]) for which in ("local", "global"))
    blend = Blend(LookedUp(known), weight=spec["alpha"], temperature=spec["temp"])
    for (length, window, stride), name in product(spec["settings"], SCHEDULES):
        setting = f"t{length}_w{window}_s{stride}_{name}"
        if setting in spec["official_raises"]:
            continue
        slide = Slide(blend, length=length, window=window, stride=stride, schedule=name)
        lists = [(_places(row, 1), _places(0, length), known[:length]) for row, known in enumerate(similarity)]
        orders = [ranking.order.numpy() for ranking in slide.rankings(lists)]
        verdicts.append(case.compare(f"starts_{setting}", starts(length, window, stride, name)))
        verdicts.append(case.compare(f"order_{setting}", np.stack(orders)))
    return verdicts


def _places(first: int, count: int) -> Features:
    return Features(global_=torch.arange(float(first), float(first + count))[:, None])


def ensemble(case: Case) -> list[Verdict]:
    """Blends of known scores with the global similarity, and the lists that they give."""
    spec, known = case.spec["protocol"], torch.from_numpy(case.inputs["local_sims"])
    runs = [(Known(row), images(1), images(len(row))) for row in known]
    weights = product(spec["alpha"], spec["temp"])
    fused, ranks = blended(weights, case.inputs["shortlist_ids"], case.inputs["global_sims"], runs)
    return [case.compare("fused", fused), case.compare("ranks", ranks)]


def protocol(case: Case) -> list[Verdict]:
    """From descriptor files to mAP: one pass over the first window, then windows that slide."""
    verdicts = []
    for name, moved in BEHIND.items():
        ids, similarity = shortlists(case, moved)
        inputs = _images(case, ids)
        verdicts.append(case.compare(f"adjusted_ids_{name}", ids))
        verdicts.append(case.compare(f"adjusted_sims_{name}", similarity))
        verdicts += _one_pass(case, name, ids, similarity, inputs)
        verdicts += _sliding(case, name, ids, similarity, inputs)
    return verdicts


def _images(case: Case, ids: np.ndarray) -> list[tuple[Features, Features]]:
    """Every query and all images of its list, with the descriptors that the case reads."""
    queries, gallery = (LocalStore(case.folder, case.inputs[f"{side}_file"]) for side in ("query", "gallery"))
    count = case.spec["protocol"]["num_descriptors"]
    return [
        (queries.features([query], locals=count), gallery.features(row, locals=count)) for query, row in enumerate(ids)
    ]


def _one_pass(
    case: Case, name: str, ids: np.ndarray, similarity: np.ndarray, inputs: Sequence[tuple[Features, Features]]
) -> list[Verdict]:
    spec, verdicts = case.spec["protocol"], []
    for pooling in ONE_PASS:
        reranker = locore_of(case, pooling=pooling)
        runs = [(reranker, query, candidates[: spec["window"]]) for query, candidates in inputs]
        _, ranks = blended(WEIGHTS, ids, similarity, runs)
        found = {
            "local": torch.stack([scores(*run) for run in runs]).numpy(),
            "ranks": ranks,
            "map": [maps_in_percent(lists, spec["gnd"]) for lists in ranks],
        }
        verdicts += [case.compare(f"onepass_{what}_{name}_{pooling}", value) for what, value in found.items()]
    return verdicts


def _sliding(
    case: Case, name: str, ids: np.ndarray, similarity: np.ndarray, inputs: Sequence[tuple[Features, Features]]
) -> list[Verdict]:
    """All queries in step. Windows and their scores are stored once, for medium."""
    spec, reranker, verdicts = case.spec["protocol"], locore_of(case, pooling="max-end"), []
    given = [(*one, row) for one, row in zip(inputs, torch.from_numpy(similarity), strict=True)]
    for setting in spec["sliding"]:
        length, window, stride = (setting[size] for size in ("topk", "window", "stride"))
        for order in setting["schedules"]:
            recorded = Recorded(reranker)
            blend = Blend(recorded, weight=spec["alpha"], temperature=spec["temp"])
            slide = Slide(blend, length=length, window=window, stride=stride, schedule=order)
            rankings = slide.rankings(given)
            ranks = [reordered(row, ranking.order) for row, ranking in zip(ids, rankings, strict=True)]
            label = f"t{length}_w{window}_s{stride}_{order}"
            verdicts.append(case.compare(f"ranks_{name}_{label}", np.stack(ranks)))
            if name == "medium":
                local = torch.stack(recorded.kept, dim=1).numpy()
                verdicts.append(case.compare(f"local_{name}_{label}", local))
                verdicts.append(case.compare(f"starts_{label}", starts(length, window, stride, order)))
    return verdicts


RUNNERS = {"locore_schedule": schedule, "locore_ensemble": ensemble, "locore_protocol": protocol}
