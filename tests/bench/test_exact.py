"""The order that exact similarities give."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.exact import best_first, exact, exact_pairs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_sorting_is_stable_and_descending_for_every_float(values: list[float]) -> None:
    similarity = np.array([values], np.float32)
    best, places = best_first(similarity, np.arange(len(values)))
    order = np.argsort(-similarity[0], kind="stable")
    np.testing.assert_array_equal(places[0], order)
    np.testing.assert_array_equal(best[0], similarity[0, order])


def test_pairs_and_products_round_alike() -> None:
    generator = np.random.default_rng(0)
    queries, gallery = (generator.normal(size=(count, 33)).astype(np.float32) for count in (3, 200))
    found = generator.integers(200, size=(3, 50))
    every = exact(queries, gallery)
    pairs = exact_pairs(queries, lambda ids: gallery[ids], found)
    np.testing.assert_array_equal(pairs, np.take_along_axis(every, found, axis=1))
    np.testing.assert_allclose(every, queries.astype(float) @ gallery.T.astype(float), atol=1e-6)
