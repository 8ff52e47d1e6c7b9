"""What a re-ranker earns on landmarks that it did not learn from, while it learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.datasets.ground_truth import QueryTruth
from bench.features.store import DescriptorStore
from bench.ground import read
from bench.metrics import revisited
from bench.protocols import STANDARD, CandidateList, Policy
from rerankers import Reranker

PROTOCOLS = ("medium", "hard")


@dataclass(frozen=True)
class Validation:
    """Queries, and the first candidates of each."""

    name: str
    sha256: str
    queries: DescriptorStore
    gallery: DescriptorStore
    lists: list[CandidateList]
    truths: tuple[QueryTruth, ...]

    @classmethod
    def make(
        cls,
        name: str,
        sha256: str,
        stores: tuple[DescriptorStore, DescriptorStore],
        first_stage: tuple[np.ndarray, np.ndarray],
        truths: tuple[QueryTruth, ...],
        *,
        shortlist: int,
    ) -> Validation:
        """first_stage: image ids and similarities (queries, n). Junk goes behind the list."""
        ids, similarity = first_stage
        lists = [
            CandidateList.make(
                ids[number], similarity[number], truth=truth, policy=Policy.JUNK_BEHIND, length=shortlist
            )
            for number, truth in enumerate(truths)
        ]
        return cls(name, sha256, *stores, lists, truths)

    def maps(self, reranker: Reranker) -> dict[str, float]:
        """mAP of each of PROTOCOLS, from 0 to 1, with the network in evaluation mode."""
        network = reranker.module()
        assert network is not None
        device, rows = next(network.parameters()).device, []
        for number, candidates in enumerate(self.lists):
            positions = candidates.lists[STANDARD]
            query = read(self.queries, np.array([number]), reranker.query_locals, reranker).to(device)
            chosen = candidates.ids[positions]
            features = read(self.gallery, chosen, reranker.candidate_locals, reranker).to(device)
            similarity = torch.from_numpy(np.ascontiguousarray(candidates.similarity[positions])).to(device)
            order = reranker.rank(query, features, similarity).cpu().numpy()
            rows.append(candidates.merged(positions[order], hard_star=False))
        found = revisited.evaluate(np.stack(rows), self.truths, protocols=PROTOCOLS)
        return {protocol: float(found[protocol].map) for protocol in PROTOCOLS}
