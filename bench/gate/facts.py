"""What of a re-ranker does not depend on when and where it runs: weights, counts, kernels, scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.cost import Workload, scores_sha256
from bench.files import digest
from bench.measure import dispatched, traffic
from bench.measure.flops import TOLERANCE
from rerankers import Ranking
from rerankers.registry import learned_weights, parse


@dataclass(frozen=True, kw_only=True)
class Facts:
    """flops: executed, by torch's dispatcher and as the closed form says; None with the reason. kernels: aten overload
    -> how often it runs in one call. scores: what the candidates are sorted by. weights: name and hash, for each part.
    """

    parameters: int
    flops: int | None
    flops_reason: str
    kernels: dict[str, int]
    scores: tuple[float, ...]
    scores_sha256: str
    weights: str


def facts_of(load: Workload, call: Callable[[], Ranking]) -> Facts:
    """Of one workload, whose call may be one that was tampered with. ValueError when the counts disagree."""
    reranker = load.reranker
    network = reranker.module()
    ranking = call()
    flops, reason = None, reranker.uncounted or ""
    if reranker.uncounted is None:
        flops = dispatched(call)
        form = reranker.closed_form(*reranker.readable(load.query, load.candidates))
        if form is not None and abs(flops - form.executed) > TOLERANCE * form.executed:
            raise ValueError(f"torch dispatches {flops:,} FLOPs, the closed form says {form.executed:,}")
    return Facts(
        parameters=0 if network is None else sum(one.numel() for one in network.parameters()),
        flops=flops,
        flops_reason=reason,
        kernels=traffic(call).kernels,
        scores=tuple(ranking.key.float().tolist()),
        scores_sha256=scores_sha256(ranking),
        weights=weights_text(load.task.reranker),
    )


def weights_text(request: str) -> str:
    """What each learned part of a request has learned: "name sha256", or random; none, where nothing is learned."""
    found = learned_weights(parse(request), {})
    return " + ".join("random" if one is None else f"{one.stem} {digest(one)[:12]}" for one in found) or "none"
