"""Which images of a first-stage list are candidates, and how the re-ranked list is put together again.

Revisited Oxford/Paris (CVPR 2018) evaluates easy, medium and hard on one re-ranked list, with the images that a
protocol ignores still in it. `hard*` takes the easy images out before re-ranking (LOCORE, CVPR 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Policy(StrEnum):
    """What happens to a query's junk images before re-ranking."""

    JUNK_BEHIND = "junk behind"
    JUNK_STAYS = "junk stays"


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
    length: how many of them are candidates.
    """

    ids: np.ndarray
    similarity: np.ndarray
    easy: np.ndarray
    length: int

    @classmethod
    def make(
        cls,
        ids: np.ndarray,
        similarity: np.ndarray,
        *,
        easy: np.ndarray,
        junk: np.ndarray,
        policy: Policy,
        length: int,
    ) -> CandidateList:
        """The list of one query under a policy; a list shorter than `length` is used whole."""
        if policy is Policy.JUNK_BEHIND:
            ids, similarity = behind(ids, similarity, junk)
        return cls(ids, similarity, np.isin(ids, easy), min(length, len(ids)))

    @property
    def standard(self) -> np.ndarray:
        """Positions of the candidates for easy, medium and hard."""
        return np.arange(self.length)

    @property
    def hard_star(self) -> np.ndarray:
        """Positions of the candidates when the easy images are taken out first."""
        return np.flatnonzero(~self.easy)[: self.length]

    @property
    def union(self) -> np.ndarray:
        """Positions of every candidate of either list: a pair-wise re-ranker needs to score each only once."""
        last = self.hard_star[-1] + 1 if len(self.hard_star) else 0
        return np.arange(max(self.length, last))

    def merged(self, positions: np.ndarray, *, hard_star: bool) -> np.ndarray:
        """The final list of image ids: the candidates in their new order, then the rest in first-stage order."""
        rest = np.ones(len(self.ids), dtype=bool)
        rest[positions] = False
        if hard_star:
            rest &= ~self.easy
        return np.concatenate([self.ids[positions], self.ids[rest]])
