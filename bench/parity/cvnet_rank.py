"""Reference cases of CVNet's re-ranked lists: candidates chosen for each protocol, similarity + ratio * score."""

from __future__ import annotations

import numpy as np
import torch

from bench.datasets.ground_truth import QueryTruth
from bench.parity.case import Case, Verdict
from bench.parity.given import Known, images
from bench.protocols import CandidateList, Policy
from rerankers.compose import Sum

PROTOCOLS = {"E": "easy", "M": "medium", "H": "hard"}


def rank(case: Case) -> list[Verdict]:
    """Final lists of ids (n, queries) for every protocol and length of the shortlist."""
    ratio = case.config["mix_ratio"]
    truths = [
        QueryTruth(**{label: row[row >= 0] for label, row in labels.items()}, box=None)
        for labels in (
            {label: case.inputs[label][query] for label in ("easy", "hard", "junk")}
            for query in range(len(case.inputs["easy"]))
        )
    ]
    verdicts = []
    for length in case.config["topk"]:
        for letter, protocol in PROTOCOLS.items():
            lists = [_list(case, query, truth, protocol, length, ratio) for query, truth in enumerate(truths)]
            verdicts.append(case.compare(f"ranks_{letter}_top{length}", np.stack(lists, axis=1)))
    return verdicts


def _list(case: Case, query: int, truth: QueryTruth, protocol: str, length: int, ratio: float) -> np.ndarray:
    """One query's final list of ids (n,)."""
    ids = case.inputs["ranks"][:, query]
    similarity = case.inputs["sim_global"][ids, query]
    candidates = CandidateList.make(ids, similarity, truth=truth, policy=Policy.PER_PROTOCOL, length=length)
    chosen = candidates.lists[protocol]
    scores = torch.from_numpy(case.inputs["score_local"][ids[chosen], query])
    reranker = Sum(Known(scores), ratio=ratio)
    order = reranker.rank(images(1), images(len(chosen)), torch.from_numpy(similarity[chosen]))
    return candidates.merged(chosen[order.numpy()], hard_star=False)


RUNNERS = {"cvnet_rank": rank}
