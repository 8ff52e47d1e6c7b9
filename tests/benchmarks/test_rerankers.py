"""Every re-ranker against a plain form of the same model, and against what the machine could do. `nox -s bench`.

The plain forms are those that the tests of the re-rankers take as their oracle: a copy of the query for every
candidate, attention spelt out under masks, every row of every layer. `conftest.py` prints both ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

import rerankers
from bench.features.synthetic import workload
from bench.measure import matmul_peak
from rerankers import Features, Reranker
from rerankers.registry import parse, variant_of
from tests.benchmarks.conftest import Race
from tests.rerankers.naive_ames import naive_ames
from tests.rerankers.naive_cvnet import naive_cvnet
from tests.rerankers.naive_elvis import naive_elvis
from tests.rerankers.naive_r2former import naive_r2former
from tests.rerankers.naive_rrt import naive_rrt

Plain = Callable[[Reranker, Features, Features], Tensor]


def plain_ames(reranker: Reranker, query: Features, candidates: Features) -> Tensor:
    k = len(candidates)
    return naive_ames(
        reranker.network.state_dict(),
        query.local.expand(k, -1, -1),
        candidates.local,
        query.valid.expand(k, -1),
        candidates.valid,
        heads=reranker.network.config.heads,
    )


PLAIN: Mapping[str, Plain] = {
    "ames": plain_ames,
    "rrt": naive_rrt,
    "r2former": naive_r2former,
    "cvnet": naive_cvnet,
    "elvis": naive_elvis,
}
#: Re-ranker -> how many candidates; few where the plain form takes seconds a candidate or gigabytes in all.
CASES = {
    "ames:dinov2-50": 100,
    "ames:dinov2": 20,
    "ames:768": 20,
    "rrt:gld-50": 100,
    "rrt:gld": 10,
    "rrt:768": 20,
    "rrt:sop": 100,
    "r2former:deit-48": 100,
    "r2former:deit": 10,
    "cvnet:r50": 10,
    "elvis:dinov2-100": 100,
    "elvis:dinov2": 20,
}


@pytest.fixture(scope="module")
def rate() -> float:
    """FLOP/s of a large matrix product, here and now."""
    return matmul_peak("float32", device="cpu")


@pytest.mark.parametrize("form", ["ours", "plain"])
@pytest.mark.parametrize("name", CASES)
def test_scores(benchmark, races: dict[str, Race], rate: float, name: str, form: str) -> None:
    k, spec = CASES[name], parse(name)
    benchmark.group = f"{name}, {k} candidates"
    reranker = rerankers.build(spec, allow_random=True)
    query, candidates, _ = workload(candidates=k, seed=0, **asdict(variant_of(spec).inputs))
    query, candidates = reranker.readable(query, candidates)
    run = type(reranker).score if form == "ours" else PLAIN[spec.family]

    def scores(reranker: Reranker) -> Tensor:
        with torch.inference_mode():
            return run(reranker, query, candidates)

    rounds = 3 if form == "ours" else 1
    found = benchmark.pedantic(scores, (reranker,), rounds=rounds, warmup_rounds=1)
    assert found.shape == (k,)
    needed = reranker.closed_form(query, candidates).algorithmic
    race = races.setdefault(name, Race(benchmark.group, needed, needed / rate))
    setattr(race, f"{form}_s", benchmark.stats.stats.median)
    race.scores[form] = found
    if len(race.scores) == 2:
        torch.testing.assert_close(race.scores["ours"], race.scores["plain"], rtol=1e-3, atol=2e-3)
