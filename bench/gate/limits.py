"""Rules for what noise touches, latency and memory, and for the AP that is earned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from bench.gate.words import NOTHING, Status, Verdict, change, mebibytes, percent, plain, renewal

if TYPE_CHECKING:
    from bench.gate.noise import Estimate
    from bench.results import Record

#: AP of one query: on the same machine with the same libraries, and elsewhere.
SAME_AP, OTHER_AP = 1e-12, 1e-6
#: Memory that may always come or go.
LEAST_BYTES = 1 << 20


def of_timing(
    reranker: str,
    estimate: Estimate,
    threshold: float,
    *,
    medians_ms: tuple[float, float],
    calibrated: bool = True,
    first: Estimate | None = None,
) -> Verdict:
    """Head over base from duels on one machine.

    threshold: share that the same code stays within, over as many duels. first: what the first duels said, where they
    had to be repeated for lying over their threshold.
    """
    limit = f"{percent(threshold)}{'' if calibrated else ', as long as nothing is calibrated'}"
    interval = f"[{100 * (estimate.low - 1):+.1f}, {100 * (estimate.high - 1):+.1f}], turn against turn"
    status, sentence = _against_limit(estimate.ratio, threshold, limit, interval)
    count = f"; {estimate.duels} duels"
    if first is not None:
        outcome = "confirmed" if status == "worse" else "not confirmed"
        count += f", the first {first.duels} said {change(first.ratio)}: {outcome}"
    return _timed(reranker, status, medians_ms, sentence + count)


def of_stored_timing(
    reranker: str, base_ms: Sequence[float], head_ms: Sequence[float], threshold: float, *, note: str = ""
) -> Verdict:
    """Medians of processes, one value a process, against those of another day on the same machine."""
    medians_ms = median(base_ms), median(head_ms)
    status, sentence = _against_limit(medians_ms[1] / medians_ms[0], threshold, percent(threshold), "")
    count = f"; medians of {len(base_ms)} and {len(head_ms)} processes"
    return _timed(reranker, status, medians_ms, f"{sentence}{count}{f' ({note})' if note else ''}")


def of_memory(
    reranker: str,
    base_bytes: Sequence[int | None],
    head_bytes: Sequence[int | None],
    threshold: float,
    *,
    calibrated: bool = True,
) -> Verdict:
    """Peak over baseline of one call, one value a process; less than 1 MiB more is never worse."""
    known = [[value for value in side if value is not None] for side in (base_bytes, head_bytes)]
    if not all(known):
        reason = "the system does not say the peak of a process"
        return Verdict(reranker=reranker, what="memory", status="not compared", detail=reason)
    base, head = (median(side) for side in known)
    limit = f"{percent(threshold)}{'' if calibrated else ', as long as nothing is calibrated'}"
    grown = head - base
    status: Status = "within noise" if grown else "same"
    detail = "less than 1 MiB apart" if grown else ""
    if abs(grown) >= LEAST_BYTES:
        share = f"{percent(abs(grown) / base)} " if base > 0 else ""
        more = "more" if grown > 0 else "less"
        detail = f"{share}{more}, {mebibytes(abs(grown))}; the limit on this machine is {limit} and 1 MiB"
        if max(base, head) > (1 + threshold) * min(base, head):
            status = "worse" if grown > 0 else "better"
    sides = {"base": mebibytes(base), "head": mebibytes(head)}
    return Verdict(reranker=reranker, what="memory", status=status, **sides, detail=detail)


def of_earned(base: Record, head: Record, same_machine: bool, *, stored: bool = False) -> Verdict:
    """AP of every query under every protocol. same_machine: and the same libraries, so that nothing is forgiven.

    stored: better queries are a change too.
    """
    reranker = head.key.reranker
    names = [name for name in base.series if name.startswith("ap_")]
    shown = (_means(base, names), _means(head, names))

    def verdict(status: Status, detail: str = "") -> Verdict:
        return Verdict(reranker=reranker, what="AP", status=status, base=shown[0], head=shown[1], detail=detail)

    lacking = [name for name in names if len(head.series.get(name, ())) != len(base.series[name])]
    if not names or lacking:
        return verdict("changed", f"other queries or protocols: {', '.join(lacking) or 'none in the base'}")
    tolerance = SAME_AP if same_machine else OTHER_AP
    moves = [
        (after - before, name, query, before, after)
        for name in names
        for query, (before, after) in enumerate(zip(_values(base, name), _values(head, name), strict=True))
        if _counts(before) != _counts(after) or abs(after - before) > tolerance
    ]
    if any(not _counts(move[3]) or not _counts(move[4]) for move in moves):
        return verdict("changed", "a query counts under a protocol where it did not, or the other way round")
    if not moves:
        return verdict("same", "" if same_machine else f"every query within {tolerance:g}")
    worse, better = (sum(sign * move[0] > 0 for move in moves) for sign in (-1, 1))
    far = max(moves, key=lambda move: -move[0] if worse else move[0])
    detail = (
        f"{worse} of {sum(len(base.series[name]) for name in names)} APs worse, {better} better; "
        f"most: query {far[2]} under {far[1].removeprefix('ap_')}, {100 * far[3]:.2f} to {100 * far[4]:.2f}"
    )
    if worse:
        return verdict("worse", detail)
    return verdict("changed" if stored else "better", f"{detail}{renewal(stored)}")


def _against_limit(ratio: float, threshold: float, limit: str, interval: str) -> tuple[Status, str]:
    """Slower is worse beyond 1 + threshold, faster is better beyond its inverse."""
    status: Status = "within noise"
    if ratio > 1 + threshold:
        status = "worse"
    elif ratio < 1 / (1 + threshold):
        status = "better"
    sentence = f"{change(ratio)} {interval}".strip()
    return status, f"{sentence}; the limit on this machine is {limit}"


def _timed(reranker: str, status: Status, medians_ms: tuple[float, float], detail: str) -> Verdict:
    base, head = (f"{plain(value)} ms" for value in medians_ms)
    return Verdict(reranker=reranker, what="latency", status=status, base=base, head=head, detail=detail)


def _means(record: Record, names: Sequence[str]) -> str:
    """mAP in percent of the first two protocols."""
    means = []
    for name in names[:2]:
        values = [value for value in record.series.get(name, ()) if value is not None]
        if values:
            means.append(f"{name.removeprefix('ap_')} {100 * sum(values) / len(values):.2f}")
    return ", ".join(means) or NOTHING


def _values(record: Record, name: str) -> list[float]:
    return [math.nan if value is None else float(value) for value in record.series[name]]


def _counts(value: float) -> bool:
    return not math.isnan(value)
