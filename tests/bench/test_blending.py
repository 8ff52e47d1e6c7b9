from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from bench import blending
from bench.blending import GRID, Outcome, Scored, best, figures, outcome, outcomes, score_query
from bench.datasets.ground_truth import QueryTruth
from bench.errors import BenchError
from bench.protocols import CandidateList, Policy
from bench.reporting import tune as shown
from rerankers import Features, Reranker
from rerankers.compose import Blend

SIMILARITY = (0.9, 0.8, 0.3, 0.2)


def truth(easy=(), hard=(), junk=()):
    return QueryTruth(*(np.array(ids, dtype=np.int64) for ids in (easy, hard, junk)), box=None)


def candidates(labels, length=4, policy=Policy.JUNK_BEHIND, similarity=SIMILARITY):
    ids = np.arange(len(similarity))
    return CandidateList.make(ids, np.array(similarity, dtype=np.float32), truth=labels, policy=policy, length=length)


def scored(scores, labels, **options):
    return Scored(candidates(labels, **options), {"standard": torch.tensor(scores, dtype=torch.float32)})


def at(found, weight, temperature):
    return found[GRID.index((weight, temperature))]


def test_the_grid_is_the_published_one_and_starts_at_the_first_stage():
    tenths = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert sorted(GRID) == sorted(itertools.product(tenths, tenths))
    assert GRID[0] == (1, 0) and GRID[1] == (1, 0.1) and GRID[11] == (0.9, 0)


def test_every_blend_by_hand_and_the_best_of_them():
    """Two queries pull apart: one wants some trust in the scores, the other not too much of it."""
    hard = truth(hard=[1])
    up = scored([0, 10, 0, 0], hard)  # image 1 passes image 0
    down = scored([-100, 0, 2, 0], hard)  # image 0 falls behind image 1, and image 2 passes it
    found = outcomes([up, down], [hard, hard])
    for one in found:
        w, t = one.weight, one.temperature
        rises = 0.1 * w < (1 - w) * (1 / (1 + np.exp(-10 * t)) - 0.5)
        falls = 0.5 * w < (1 - w) * (1 / (1 + np.exp(-2 * t)) - 0.5)
        first_falls = 0.1 * w < (1 - w) * (0.5 - 1 / (1 + np.exp(min(100 * t, 500))))
        ranks = (0 if rises else 1, int(falls) + int(not first_falls))
        aps = [(1 if rank == 0 else (0 + 1 / (rank + 1)) / 2) for rank in ranks]
        assert one.maps["hard"] == pytest.approx(np.mean(aps), abs=1e-12), (w, t)
        assert one.maps["medium"] == one.maps["hard"]  # no easy image
    # both right: at weight 0.8 image 1 rises where sigmoid(10 t) > 0.9, at 0.9 nowhere
    assert (best(found).weight, best(found).temperature) == (0.8, 0.3)
    assert best(found).mean == 1


def test_order_equals_that_of_the_blend_itself():
    class Given(Reranker):
        needs = ("global_",)

        def score(self, query, candidates):
            return candidates.global_[:, 0]

    generator = torch.Generator().manual_seed(0)
    similarity = torch.sort(torch.rand(50, generator=generator), descending=True).values
    scores = torch.randn(50, generator=generator)
    one = scored(scores.tolist(), truth(hard=[3]), length=50, similarity=similarity.tolist())
    query, images = Features(global_=torch.zeros(1, 1)), Features(global_=scores[:, None])
    for weight, temperature in GRID:
        order = Blend(Given(), weight=weight, temperature=temperature).rank(query, images, similarity)
        assert one.ranked("standard", weight=weight, temperature=temperature).tolist() == order.tolist()


def test_a_tie_keeps_the_larger_weight_then_the_smaller_temperature():
    labels = truth(easy=[0], hard=[1])
    found = outcomes([scored([4, 3, 2, 1], labels)], [labels])  # every blend is right
    assert {one.mean for one in found} == {1}
    assert (best(found).weight, best(found).temperature) == (1, 0)
    noise = [Outcome(0.9, 0.1, {"medium": 0.5, "hard": 0.5}), Outcome(0.1, 0.1, {"medium": 0.5, "hard": 0.5 + 1e-15})]
    assert best(noise) is noise[0]


def test_what_was_not_seen_stays_behind():
    labels = truth(hard=[1])
    one = scored([-5, 5, -torch.inf, -torch.inf], labels)
    for weight, temperature in GRID:
        ids = one.ranked("standard", weight=weight, temperature=temperature).tolist()
        assert ids[2:] == [2, 3] and sorted(ids[:2]) == [0, 1]
    assert one.ranked("standard", weight=0, temperature=0).tolist() == [0, 1, 2, 3]
    assert one.ranked("standard", weight=0, temperature=0.1).tolist() == [1, 0, 2, 3]


def test_a_set_without_easy_images_counts_and_one_without_any_does_not():
    easy, hard, none = truth(easy=[1]), truth(hard=[1]), truth()
    one = [scored([0, 1, 0, 0], easy)]
    assert np.isnan(outcome(one, [easy], weight=0.0, temperature=1.0).maps["hard"])
    assert best(outcomes(one, [easy])).mean == 1
    assert best(outcomes(one, [hard])).maps == {"medium": 1, "hard": 1}
    with pytest.raises(BenchError, match="without easy and hard images"):
        best(outcomes(one, [none]))


@pytest.mark.parametrize("seed", range(5))
def test_the_first_stage_is_weight_1_and_the_oracle_is_no_worse_than_the_frozen_blend(seed):
    random = np.random.default_rng(seed)
    sides = []
    for _ in range(2):
        labels = [truth(easy=[a], hard=[b, c], junk=[d]) for a, b, c, d in (random.permutation(30)[:4] for _ in "123")]
        similarity = np.sort(random.random(30))[::-1].tolist()
        queries = [scored(random.normal(size=20).tolist(), one, length=20, similarity=similarity) for one in labels]
        sides.append((outcomes(queries, labels), queries, labels))
    (validation, *_), (evaluated, queries, labels) = sides
    found = figures(validation, evaluated)
    plain = [CandidateList.merged(one.candidates, np.arange(20), hard_star=False) for one in queries]
    by_hand = blending.revisited.evaluate(np.stack(plain), labels, protocols=("medium", "hard"))
    for protocol in ("medium", "hard"):
        first = found[f"first_stage_map_{protocol}"]
        assert first == by_hand[protocol].map
        assert all(first == at(evaluated, 1, step / 10).maps[protocol] for step in range(11))
        assert found[f"map_{protocol}"] == at(evaluated, found["weight"], found["temperature"]).maps[protocol]

    def mean(prefix):
        return (found[f"{prefix}map_medium"] + found[f"{prefix}map_hard"]) / 2

    assert mean("oracle_") >= mean("") - 1e-12 and mean("oracle_") >= mean("first_stage_") - 1e-12
    assert mean("validation_") == max(one.mean for one in validation)


def test_a_set_apart_decides():
    up, down = truth(hard=[1]), truth(hard=[0])
    queries = [scored([0, 10, 0, 0], up)]
    found = figures(outcomes(queries, [up]), outcomes(queries, [down]))
    assert (found["weight"], found["map_hard"], found["validation_map_hard"]) == (0.8, 0.25, 1)
    assert (found["oracle_weight"], found["oracle_temperature"], found["oracle_map_hard"]) == (1, 0, 1)
    assert found["first_stage_map_hard"] == 1
    assert set(found) == {*shown.CHOSEN, *shown.BY_ORACLE}


class Gallery:
    """Image i has the global descriptor [i]."""

    local = None

    def __init__(self):
        self.asked = []

    def features(self, indices, *, locals=None, needs=None):
        self.asked.append(list(indices))
        return Features(global_=torch.from_numpy(np.asarray(indices, dtype=np.float32))[:, None])


class PairWise(Reranker):
    needs = ("global_",)

    def score(self, query, candidates):
        return candidates.global_[:, 0]


class ListWise(PairWise):
    kind = "list-wise"

    def score(self, query, candidates):
        return candidates.global_[:, 0] + 100 * len(candidates)


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("kind", [PairWise, ListWise])
def test_each_list_gets_the_scores_of_its_candidates(kind, policy):
    chosen = candidates(truth(easy=[1], hard=[2], junk=[0]), length=3, policy=policy)
    gallery = Gallery()
    found = score_query(kind(), Features(global_=torch.zeros(1, 1)), gallery, chosen)
    lists = {"medium", "hard"} if policy is Policy.PER_PROTOCOL else {"standard"}
    assert set(found.scores) == lists
    for name in lists:
        ids = chosen.ids[chosen.lists[name]]
        assert found.scores[name].tolist() == [i + (100 * len(ids) if kind is ListWise else 0) for i in ids]
    assert len(gallery.asked) == (len(lists) if kind is ListWise else 1)
