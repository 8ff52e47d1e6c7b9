"""What the gate says: one sentence on one aspect of one re-ranker, and how its numbers are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["same", "within noise", "better", "changed", "worse", "not compared", "missing"]

#: Verdicts that a change does not get past.
BLOCKING: Final = ("worse", "changed")
MIB: Final = 1 << 20
#: In place of what a side has not shown.
NOTHING: Final = "–"
#: What to do about a difference from the stored baseline that is meant.
RENEW: Final = "if it is meant, store a new baseline: python -m bench.check --update"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One sentence on one aspect of one re-ranker. base, head: what either side showed, as people read it."""

    reranker: str
    what: str
    status: Status
    base: str = NOTHING
    head: str = NOTHING
    detail: str = ""

    @property
    def blocks(self) -> bool:
        return self.status in BLOCKING


def not_compared(reranker: str, what: str, reason: str) -> Verdict:
    return Verdict(reranker=reranker, what=what, status="not compared", detail=reason)


def lacking(reranker: str, what: str, reason: str) -> Verdict:
    """A cell that the head should have and has not."""
    return Verdict(reranker=reranker, what=what, status="missing", detail=reason)


def plain(value: float) -> str:
    """Whole numbers with every digit, others with three."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if digits < 8 else f"{value:.2e}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def mebibytes(size_bytes: float) -> str:
    return f"{size_bytes / MIB:.1f} MiB"


def change(ratio: float) -> str:
    """12.4 % slower: by how much longer the head takes; faster: by how much shorter."""
    return f"{percent(abs(ratio - 1))} {'slower' if ratio >= 1 else 'faster'}"


def renewal(stored: bool) -> str:
    return f"; {RENEW}" if stored else ""
