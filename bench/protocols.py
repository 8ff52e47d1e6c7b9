"""Which images of a first-stage list are candidates, and how the re-ranked list is put together again.

Revisited Oxford/Paris (CVPR 2018) evaluates easy, medium and hard on one re-ranked list, with the images that a
protocol ignores still in it. `hard*` takes the easy images out before re-ranking (LOCORE, CVPR 2025). CVNet
(CVPR 2022) chooses candidates for each protocol by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from bench.datasets.ground_truth import QueryTruth

#: The list that a protocol evaluates when no other bears its name.
STANDARD, HARD_STAR = "standard", "hard_star"


class Policy(StrEnum):
    """Which images of a query's list become candidates.

    Junk goes behind the list, or stays in it; or every protocol leaves out the images that it ignores, and the list
    keeps them where they stood (the official evaluator of CVNet).
    """

    JUNK_BEHIND = "junk behind"
    JUNK_STAYS = "junk stays"
    PER_PROTOCOL = "per protocol"


def behind(ids: np.ndarray, similarity: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One query's list (n,) and its similarities with the images `moved` put behind all others, order kept.

    Source: the official evaluators of AMES and LOCORE.
    """
    order = np.argsort(np.isin(ids, moved), kind="stable")
    return ids[order], similarity[order]


@dataclass(frozen=True)
class CandidateList:
    """One query's first-stage list as re-ranking sees it.

    ids, similarity: (n,), best first, junk placed according to the policy.
    easy: (n,) True where an image is easy, and so absent under hard*.
    lists: positions of the candidates, best first; by the protocol that they are for, or STANDARD.
    """

    ids: np.ndarray
    similarity: np.ndarray
    easy: np.ndarray
    lists: Mapping[str, np.ndarray]

    @classmethod
    def make(
        cls, ids: np.ndarray, similarity: np.ndarray, *, truth: QueryTruth, policy: Policy, length: int
    ) -> CandidateList:
        """The list of one query under a policy; a list shorter than `length` is used whole."""
        if policy is Policy.JUNK_BEHIND:
            ids, similarity = behind(ids, similarity, truth.junk)
        easy = np.isin(ids, truth.easy)
        chosen = {STANDARD: np.ones(len(ids), dtype=bool), HARD_STAR: ~easy}
        if policy is Policy.PER_PROTOCOL:
            judged = ~np.isin(ids, truth.junk)
            hard = judged & ~easy
            chosen = {"easy": judged & ~np.isin(ids, truth.hard), "medium": judged, "hard": hard, HARD_STAR: hard}
        return cls(ids, similarity, easy, {name: np.flatnonzero(one)[:length] for name, one in chosen.items()})

    def name_for(self, protocol: str) -> str:
        """The list that `protocol` (easy, medium, hard, hard_star) evaluates."""
        return protocol if protocol in self.lists else STANDARD

    @property
    def union(self) -> np.ndarray:
        """Positions of every candidate of any list: a pair-wise re-ranker needs to score each only once."""
        return np.unique(np.concatenate(list(self.lists.values())))

    def reordered(self, order: np.ndarray) -> np.ndarray:
        """Positions (n,) of the final list: candidates in their new `order` in the places that candidates held."""
        positions = np.arange(len(self.ids))
        positions[np.sort(order)] = order
        return positions

    def merged(self, order: np.ndarray, *, hard_star: bool) -> np.ndarray:
        """The final list of image ids."""
        positions = self.reordered(order)
        found: np.ndarray = self.ids[positions[~self.easy] if hard_star else positions]
        return found
