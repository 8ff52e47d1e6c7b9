"""Every re-ranker against a plain form of the same model, and against what the machine could do. `nox -s bench`.

The plain forms are those that the tests of the re-rankers take as their oracle: a copy of the query for every
candidate, attention spelt out under masks, every row of every layer. `conftest.py` prints both ratios, and the peak
memory over the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import pytest
import torch
from torch import Tensor

import rerankers
from bench.cells import Limits, isolated
from bench.cost import CostTask
from bench.features.synthetic import workload
from bench.measure import matmul_peak
from rerankers import Features, Reranker
from rerankers.registry import parse, variant_of
from tests.benchmarks.conftest import Aims, Race
from tests.rerankers.locore.naive_locore import naive_locore
from tests.rerankers.naive_ames import naive_ames
from tests.rerankers.naive_cvnet import naive_cvnet
from tests.rerankers.naive_elvis import naive_elvis
from tests.rerankers.naive_r2former import naive_r2former
from tests.rerankers.naive_rrt import naive_rrt
from tests.rerankers.naive_superglobal import naive_superglobal

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
    "sg-rerank": naive_superglobal,
    "locore": naive_locore,  # transformers' own Longformer
}


@dataclass(frozen=True)
class Case:
    """candidates: few where the plain form takes seconds a candidate or gigabytes in all."""

    candidates: int
    aims: Aims = field(default_factory=Aims)


CASES = {
    "ames:dinov2-50": Case(100, Aims(1.5, 80)),
    "ames:dinov2": Case(20, Aims(1.6, 250)),
    "ames:768": Case(20, Aims(1.15, 250)),
    "rrt:gld-50": Case(100, Aims(1.6, 80)),
    "rrt:gld": Case(10, Aims(1.8, 350)),
    "rrt:768": Case(20, Aims(1.2, 250)),
    "rrt:sop": Case(100),
    "r2former:deit-48": Case(100, Aims(4, 60)),
    "r2former:deit": Case(10, Aims(6, 400)),
    "cvnet:r50": Case(20, Aims(1.3, 400)),
    "elvis:dinov2-100": Case(100),
    "elvis:dinov2": Case(20),
    "sg-rerank": Case(400, Aims(3, 30)),
    "locore:tiny-sum": Case(100, Aims(1.5, 300)),
    "locore:small-sum": Case(100, Aims(1.3, 350)),
    "locore:base-sum": Case(100, Aims(1.3, 400)),
}


@pytest.mark.parametrize("form", ["ours", "plain"])
@pytest.mark.parametrize("name", CASES)
def test_scores(benchmark, races: dict[str, Race], name: str, form: str) -> None:
    case, spec = CASES[name], parse(name)
    benchmark.group = f"{name}, {case.candidates} candidates"
    reranker = rerankers.build(spec, allow_random=True)
    query, candidates, _ = workload(candidates=case.candidates, seed=0, **asdict(variant_of(spec).inputs))
    query, candidates = reranker.readable(query, candidates)
    run = type(reranker).score if form == "ours" else PLAIN[spec.family]

    def scores(reranker: Reranker) -> Tensor:
        with torch.inference_mode():
            return run(reranker, query, candidates)

    rounds = 5 if form == "ours" else 1
    before = matmul_rate() if form == "ours" else None
    found = benchmark.pedantic(scores, (reranker,), rounds=rounds, warmup_rounds=1)
    assert found.shape == (case.candidates,)
    race = races.setdefault(name, Race(benchmark.group, case.aims))
    setattr(race, f"{form}_s", benchmark.stats.stats.median)
    race.scores[form] = found
    if before is not None:
        race.needed = reranker.closed_form(query, candidates).algorithmic
        race.floor_s = race.needed * (1 / before + 1 / matmul_rate()) / 2
        race.memory_bytes = memory_over_baseline(name, candidates=max(100, case.candidates))
    if len(race.scores) == 2:
        torch.testing.assert_close(race.scores["ours"], race.scores["plain"], rtol=1e-3, atol=2e-3)


def matmul_rate() -> float:
    """FLOP/s of a large matrix product, now: shared machines change their pace within seconds, so before and after."""
    return matmul_peak("float32", runs=3, device="cpu")


def memory_over_baseline(name: str, *, candidates: int) -> int | None:
    """Bytes at the peak of a few calls, as the profile takes them; None where the system does not say."""
    task = CostTask(name, "cpu", "float32", candidates, seed=0, warmup=0, runs=1)
    payload = {"task": asdict(task), "passes": ["memory"]}
    host = isolated("bench.cost:run", payload, threads=torch.get_num_threads(), limits=Limits(600))["memory"]["host"]
    return None if host["peak_bytes"] is None else host["peak_bytes"] - host["baseline_bytes"]
