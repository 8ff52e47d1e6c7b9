"""Rules for what is the same at every run of one code: weights, counts, kernels, scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.gate.words import NOTHING, RENEW, Status, Verdict, not_compared, percent, plain, renewal

if TYPE_CHECKING:
    from bench.gate.facts import Facts

#: Scores of one code on two machines lie within these of each other, and within this share of what they range over:
#: those of a sigmoid that is nearly 1 everywhere differ by less than 1e-5, whatever their order.
SCORES_RTOL, SCORES_ATOL, SCORES_SHARE = 1e-4, 1e-5, 0.1
GIGA = 1e9
#: What judges a re-ranker whose weights are not those of the base.
BY_AP = "the AP says whether they are better"
#: Names in a list before it says how many more there are.
NAMED = 3


def of_facts(reranker: str, base: Facts, head: Facts) -> list[Verdict]:
    """Another revision's facts against this one's: less work is better, more is worse; scores within rounding."""
    if base.weights == head.weights:
        scores = of_scores(reranker, base.scores, head.scores, (base.scores_sha256, head.scores_sha256))
    else:
        scores = not_compared(reranker, "scores", f"other weights: {BY_AP}")
    return [
        of_weights(reranker, base.weights, head.weights),
        of_amount(reranker, "parameters", base.parameters, head.parameters),
        of_amount(
            reranker,
            "FLOPs",
            None if base.flops is None else base.flops / GIGA,
            None if head.flops is None else head.flops / GIGA,
            unit=" GFLOP",
            reason=head.flops_reason or base.flops_reason,
        ),
        of_kernels(reranker, base.kernels, head.kernels),
        scores,
    ]


def of_weights(reranker: str, base: str, head: str, *, stored: bool = False) -> Verdict:
    """Names and hashes of weights. Other ones are a change; between revisions, scores and AP tell what it did."""
    status: Status = "same"
    detail = ""
    if base != head:
        status = "changed" if stored else "not compared"
        detail = f"other weights; {RENEW}" if stored else f"other weights: {BY_AP}"
    return Verdict(reranker=reranker, what="weights", status=status, base=base, head=head, detail=detail)


def of_amount(
    reranker: str,
    what: str,
    base: float | None,
    head: float | None,
    *,
    unit: str = "",
    reason: str = "",
    stored: bool = False,
) -> Verdict:
    """A count that no noise touches. stored: any difference is a change; else less is better.

    None: not counted, for `reason`. A count that was there and is gone is a change.
    """
    shown = tuple(NOTHING if value is None else f"{plain(value)}{unit}" for value in (base, head))

    def verdict(status: Status, detail: str = "") -> Verdict:
        return Verdict(reranker=reranker, what=what, status=status, base=shown[0], head=shown[1], detail=detail)

    if base is None and head is None:
        return verdict("not compared", reason or "neither side counts them")
    if head is None:
        return verdict("changed", f"no longer counted: {reason or 'no reason given'}")
    if base is None:
        return verdict("changed" if stored else "not compared", f"counted for the first time{renewal(stored)}")
    if math.isclose(base, head, rel_tol=1e-12):
        return verdict("same")
    share = "" if not base else f" by {percent(abs(head / base - 1))}"
    if stored:
        return verdict("changed", f"{'more' if head > base else 'fewer'}{share}{renewal(stored)}")
    return verdict("worse" if head > base else "better", f"{'more' if head > base else 'fewer'}{share}")


def of_kernels(reranker: str, base: Mapping[str, int], head: Mapping[str, int], *, stored: bool = False) -> Verdict:
    """Calls of each kernel. stored: any difference is a change; else more of them show in the latency or not at all."""
    before, after = sum(base.values()), sum(head.values())
    status: Status = "same"
    detail = ""
    if dict(base) != dict(head):
        detail = _differences(base, head)
        if stored:
            status, detail = "changed", f"{detail}{renewal(stored)}"
        else:
            status = "better" if after < before else "within noise"
            detail += "" if after < before else "; blocks only where the latency shows it"
    return Verdict(
        reranker=reranker,
        what="kernels",
        status=status,
        base=_calls(before),
        head=_calls(after),
        detail=detail,
    )


def of_scores(
    reranker: str,
    base: Sequence[float | None],
    head: Sequence[float | None],
    hashes: tuple[str | None, str | None],
    *,
    exact: bool = False,
    why: str = "",
    stored: bool = False,
) -> Verdict:
    """What the candidates were sorted by. None stands for a score that is no finite number.

    hashes: of either side's scores. exact: whether nothing but the same bits will do. why: said where rounding is
    forgiven.
    """
    status, detail = _scores(base, head, hashes, exact=exact)
    if status == "within noise" and why:
        detail = f"{detail} ({why})"
    if status == "changed":
        detail += renewal(stored)
    shown = [one[:12] if one else "no hash" for one in hashes]
    return Verdict(reranker=reranker, what="scores", status=status, base=shown[0], head=shown[1], detail=detail)


def _scores(
    base: Sequence[float | None],
    head: Sequence[float | None],
    hashes: tuple[str | None, str | None],
    *,
    exact: bool,
) -> tuple[Status, str]:
    if hashes[0] is not None and hashes[0] == hashes[1]:
        return "same", ""
    if len(base) != len(head):
        return "changed", f"{len(head)} scores where there were {len(base)}"
    before, after = (np.array([-np.inf if one is None else one for one in side]) for side in (base, head))
    if not np.array_equal(np.isfinite(before), np.isfinite(after)):
        return "changed", "other candidates have no score"
    finite = np.isfinite(before)
    moves, sizes = np.abs(after[finite] - before[finite]), np.abs(before[finite])
    move = float(moves.max(initial=0.0))
    apart = float(np.ptp(before[finite])) if finite.any() else 0.0
    widest = SCORES_SHARE * apart if apart else np.inf  # equal scores have no order to lose
    close = bool((moves <= np.minimum(SCORES_ATOL + SCORES_RTOL * sizes, widest)).all())
    largest = f"largest score change {move:.2g}"
    if close and not exact:
        return "within noise", f"the same scores within rounding: {largest}"
    same_order = np.array_equal(np.argsort(-before, kind="stable"), np.argsort(-after, kind="stable"))
    if close:
        return "changed", f"other bits on the same machine with the same libraries: {largest}"
    return "changed", f"{'other scores in the same order' if same_order else 'another ranking'}: {largest}"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"


def _differences(base: Mapping[str, int], head: Mapping[str, int]) -> str:
    """+2 aten.mm.default, -1 aten.add.Tensor and 4 more."""
    moved = Counter(head)
    moved.subtract(base)
    changes = sorted(((count, name) for name, count in moved.items() if count), key=lambda one: (-abs(one[0]), one[1]))
    text = ", ".join(f"{count:+d} {name}" for count, name in changes[:NAMED])
    return text + (f" and {len(changes) - NAMED} more" if len(changes) > NAMED else "")
