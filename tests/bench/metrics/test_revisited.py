from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bench.errors import BenchError
from bench.metrics import revisited


def truth(easy=(), hard=(), junk=()):
    return SimpleNamespace(easy=list(easy), hard=list(hard), junk=list(junk))


def evaluate(ranks, truths, **options):
    return revisited.evaluate(np.array(ranks), truths, **options)


def slow(ranks, positives, ignored, divisor, kappas):
    """AP and precisions of one list, one entry at a time."""
    kept = [image for image in ranks if image not in ignored]
    at = [rank for rank, image in enumerate(kept) if image in positives]
    ap = 0.0
    for j, rank in enumerate(at):
        before = j / rank if rank else 1.0
        ap += (before + (j + 1) / (rank + 1)) / (2 * divisor)
    cuts = [min(kappa, at[-1] + 1) if at else 1 for kappa in kappas]
    return ap, [sum(rank < cut for rank in at) / cut for cut in cuts]


def test_ap_of_three_positives_with_junk_in_between():
    # P J N P J P N without the junk: P N P P N. Precision at the three, just before and with them:
    # (1, 1), (1/2, 2/3), (2/3, 3/4); AP = (2 + 7/6 + 17/12) / 6 = 55/72.
    found = evaluate([[0, 10, 20, 1, 11, 2, 21]], [truth(easy=[0, 1, 2], junk=[10, 11])], protocols=("easy",))["easy"]
    assert found.map == pytest.approx(55 / 72, abs=1e-15)
    assert_allclose(found.per_query_ap, [55 / 72], atol=1e-15)


def test_precision_stops_at_the_last_positive():
    found = evaluate([[0, 10, 20, 1, 11, 2, 21]], [truth(easy=[0, 1, 2], junk=[10, 11])], kappas=(1, 3, 5, 100))["easy"]
    assert_allclose(found.per_query_precision, [[1, 2 / 3, 3 / 4, 3 / 4]])
    assert list(found.precision_at) == [1, 3, 5, 100]
    single = evaluate([[5, 0, 1, 2]], [truth(easy=[5])], kappas=(10,))["easy"]
    assert single.precision_at == {10: 1.0}


def test_each_protocol_has_its_own_positives_and_ignored_images():
    # 0 easy, 1 hard, 2 junk, 3 nothing; the list is nothing, easy, junk, hard.
    found = evaluate(
        [[3, 0, 2, 1]], [truth(easy=[0], hard=[1], junk=[2])], protocols=("easy", "medium", "hard", "hard*")
    )
    # easy: N P -> (0 + 1/2) / 2; medium: N P P -> (0 + 1/2 + 1/2 + 2/3) / 4; hard: N P again.
    assert {name: result.map for name, result in found.items()} == pytest.approx(
        {"easy": 1 / 4, "medium": 5 / 12, "hard": 1 / 4, "hard*": 1 / 4}
    )


def test_divisors_differ_on_a_short_list():
    ranks, truths = [[0, 9]], [truth(easy=[0, 1, 2, 3])]
    assert evaluate(ranks, truths, protocols=("easy",))["easy"].map == pytest.approx(1 / 4)
    shortlist = evaluate(ranks, truths, protocols=("easy",), divisor="shortlist")["easy"]
    assert (shortlist.map, shortlist.divisor) == (pytest.approx(1 / 2), "shortlist")


def test_the_shortlist_divisor_takes_the_length_before_junk_leaves():
    found = evaluate([[8, 9, 0]], [truth(easy=[0, 1, 2, 3], junk=[8, 9])], protocols=("easy",), divisor="shortlist")
    assert found["easy"].map == pytest.approx(1 / 3)


def test_a_list_without_a_positive_raises_or_scores_zero():
    ranks, truths = [[7, 8]], [truth(easy=[0])]
    with pytest.raises(BenchError, match="no easy positive of query 0"):
        evaluate(ranks, truths, protocols=("easy",))
    found = evaluate(ranks, truths, protocols=("easy",), divisor="shortlist")["easy"]
    assert (found.map, found.precision_at[1]) == (0.0, 0.0)
    empty = evaluate(np.empty((1, 0), dtype=np.int64), truths, protocols=("easy",), divisor="shortlist")["easy"]
    assert empty.map == 0.0


def test_a_query_without_positives_leaves_the_means():
    found = evaluate([[0, 1], [0, 1]], [truth(hard=[1]), truth(easy=[0], hard=[1])], kappas=(1,))
    assert_array_equal(np.isnan(found["easy"].per_query_ap), [True, False])
    assert_array_equal(np.isnan(found["easy"].per_query_precision), [[True], [False]])
    assert (found["easy"].map, found["easy"].precision_at[1]) == (1.0, 1.0)
    nobody = evaluate([[0, 1]], [truth(junk=[0])])["medium"]
    assert np.isnan(nobody.map) and np.isnan(nobody.precision_at[1])


def test_padding_is_nothing_also_where_image_0_is_labelled():
    truths = [truth(easy=[0, 3])]
    plain = evaluate([[5, 0, 3]], truths, divisor="shortlist", protocols=("easy",))["easy"]
    padded = evaluate([[5, 0, 3, -1, -1, -7]], truths, divisor="shortlist", protocols=("easy",))["easy"]
    beyond = evaluate([[10**6, 0, 3, 10**7]], truths, divisor="shortlist", protocols=("easy",))["easy"]
    assert plain.map == padded.map == beyond.map > 0


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize(
    "lay_out", [np.asarray, np.asfortranarray, lambda ranks: np.ascontiguousarray(ranks[:, ::-1])[:, ::-1]]
)
def test_type_and_memory_order_do_not_matter(kind, lay_out):
    rng = np.random.default_rng(0)
    ranks = np.stack([rng.permutation(120) for _ in range(4)])
    truths = [truth(easy=[0, 5], hard=[7, 119], junk=[3]) for _ in ranks]
    wanted, got = evaluate(ranks, truths), revisited.evaluate(lay_out(ranks.astype(kind)), truths)
    for protocol in wanted:
        assert_array_equal(got[protocol].per_query_ap, wanted[protocol].per_query_ap)


@pytest.mark.parametrize("front", [True, False], ids=["labels in front", "labels anywhere"])
def test_long_lists_agree_with_the_slow_way(front):
    rng = np.random.default_rng(1)
    gallery = 200_000  # several stretches of the scan
    ranks = np.stack([rng.permutation(gallery) for _ in range(3)])
    images = rng.permutation(1000 if front else gallery)[:90]
    truths = [truth(images[:20], images[20:60], images[60:90]), truth(images[5:9]), truth(hard=images[:50])]
    for lists in (ranks, np.asfortranarray(ranks)):
        found = revisited.evaluate(lists, truths, protocols=("medium",), kappas=(1, 1000))["medium"]
        for query, labels in enumerate(truths):
            positives, ignored = {*labels.easy, *labels.hard}, {*labels.junk}
            ap, precision = slow(ranks[query].tolist(), positives, ignored, len(positives), (1, 1000))
            assert found.per_query_ap[query] == pytest.approx(ap, abs=1e-12)
            assert_allclose(found.per_query_precision[query], precision, atol=1e-12)


def test_many_queries_are_evaluated_as_each_alone():
    rng = np.random.default_rng(2)
    ranks = np.stack([rng.permutation(40)[:30] for _ in range(300)])
    truths = [truth(*np.split(rng.permutation(40)[:20], [5, 12])) for _ in ranks]
    found = evaluate(ranks, truths, divisor="shortlist")
    for query in range(300):
        alone = evaluate(ranks[query : query + 1], truths[query : query + 1], divisor="shortlist")
        for protocol in found:
            assert found[protocol].per_query_ap[query] == alone[protocol].per_query_ap[0]
    assert evaluate(np.empty((0, 5), dtype=int), []).keys() == found.keys()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_agrees_with_the_slow_way(data):
    gallery = data.draw(st.integers(1, 25))
    ranks, truths = [], []
    depth = data.draw(st.integers(1, gallery))
    for _ in range(data.draw(st.integers(1, 4))):
        ranks.append(data.draw(st.permutations(range(gallery)))[:depth])
        labels = data.draw(
            st.lists(st.sampled_from(["easy", "hard", "junk", "none"]), min_size=gallery, max_size=gallery)
        )
        truths.append(
            truth(*([i for i, own in enumerate(labels) if own == label] for label in ("easy", "hard", "junk")))
        )
    kappas = (1, 2, 7)
    found = evaluate(ranks, truths, divisor="shortlist", kappas=kappas)
    for query, labels in enumerate(truths):
        easy, hard, junk = set(labels.easy), set(labels.hard), set(labels.junk)
        roles = {"easy": (easy, hard | junk), "medium": (easy | hard, junk), "hard": (hard, easy | junk)}
        for name, (positives, ignored) in roles.items():
            if not positives:
                assert np.isnan(found[name].per_query_ap[query])
                continue
            ap, precision = slow(ranks[query], positives, ignored, min(len(positives), depth), kappas)
            assert found[name].per_query_ap[query] == pytest.approx(ap, abs=1e-12)
            assert_allclose(found[name].per_query_precision[query], precision, atol=1e-12)


def test_the_caller_s_lists_are_left_alone():
    ranks = np.array([[2, 0, 1]])
    ranks.setflags(write=False)
    revisited.evaluate(ranks, [truth(easy=[0], junk=[2])], protocols=("easy",))
    assert_array_equal(ranks, [[2, 0, 1]])


@pytest.mark.parametrize(
    ("ranks", "truths", "options", "message"),
    [
        ([[0.0, 1.0]], [truth([0])], {}, "float64"),
        ([0, 1], [truth([0])], {}, r"shape \(2,\)"),
        ([[0, 1]], [truth([0]), truth([1])], {}, "1 ranked lists with the ground truth of 2"),
        ([[0, 1]], [truth([0])], {"protocols": ("medum",)}, "Did you mean 'medium'"),
        ([[0, 1]], [truth([0])], {"divisor": "all"}, "revisitop, shortlist"),
        ([[0, 1]], [truth([0])], {"kappas": (0,)}, "kappa 0"),
        ([[0, 1]], [truth([0], [0])], {}, "query 0 with 2 labels for 1 images"),
        ([[0, 1]], [truth([-1])], {}, "query 0"),
        ([[0, 1]], [truth([0.5])], {}, "float64"),
        ([[0, 1, 0]], [truth([0])], {}, "more than once"),
    ],
)
def test_bad_input_is_refused(ranks, truths, options, message):
    with pytest.raises(BenchError, match=message):
        evaluate(ranks, truths, **options)


def tail(images, places, depth):
    return revisited.Tail(np.array(images, dtype=np.int64), np.array(places, dtype=np.int64), depth)


@pytest.mark.parametrize("divisor", revisited.DIVISORS)
@pytest.mark.parametrize("head", [1, 7, 30])
def test_a_head_and_the_places_behind_it_are_as_good_as_the_list(head, divisor):
    random = np.random.default_rng(head)
    lists = np.stack([random.permutation(30) for _ in range(5)])
    truths = [truth(*np.split(random.permutation(30)[:12], [3, 8])) for _ in range(5)]
    tails = []
    for row, one in zip(lists, truths, strict=True):
        where = [place for place in range(head, 30) if row[place] in (*one.easy, *one.hard, *one.junk)]
        tails.append(tail(row[where], where, 30))
    for name, whole in evaluate(lists, truths, divisor=divisor).items():
        found = evaluate(lists[:, :head], truths, divisor=divisor, beyond=tails)[name]
        assert_array_equal(found.per_query_ap, whole.per_query_ap)
        assert_array_equal(found.per_query_precision, whole.per_query_precision)


def test_a_positive_that_is_in_neither_head_nor_tail_was_not_retrieved():
    found = evaluate([[5, 0]], [truth(easy=[0, 1])], protocols=("easy",), beyond=[tail([], [], 2)])["easy"]
    assert found.map == pytest.approx((0 + 1 / 2) / 4)
    assert evaluate([[5]], [truth(easy=[1])], protocols=("easy",), beyond=[tail([], [], 1)])["easy"].map == 0


@pytest.mark.parametrize(
    "one", [tail([9], [3], 5), tail([1], [0], 5), tail([1], [5], 5), tail([1, 2], [3], 5), tail([1, 2], [4, 3], 5)]
)
def test_a_tail_that_does_not_belong_to_the_list(one):
    with pytest.raises(BenchError, match="ascending places behind it, of images with a label"):
        evaluate([[0, 5]], [truth(easy=[0, 1, 2])], beyond=[one])
