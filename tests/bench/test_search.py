"""First stage: exact similarities, one order, whatever the route."""

from collections.abc import Callable
from fractions import Fraction

import faiss
import numpy as np
import pytest

from bench import search as room
from bench.errors import BenchError
from bench.search import places, search

Route = Callable[..., tuple[np.ndarray, np.ndarray]]


def unit(rows: int, width: int, seed: int = 0) -> np.ndarray:
    descriptors = np.random.default_rng(seed).normal(size=(rows, width))
    return (descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)).astype(np.float32)


def by_definition(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of the whole gallery and its order, from sums without rounding."""
    similarity = np.array(
        [[float(sum(map(Fraction, (q.astype(float) * g).tolist()))) for g in gallery] for q in queries], np.float32
    )
    order = np.array([np.lexsort((np.arange(len(gallery)), -row)) for row in similarity])
    return np.take_along_axis(similarity, order, axis=1), order


def test_similarities_and_order_by_hand() -> None:
    gallery = np.array([[0, 1], [3, 4], [1, 0], [-1, 0], [0, 2]], np.float32)
    found = search(np.array([[1, 2], [-1, 0]], np.float32), gallery)
    np.testing.assert_array_equal(found.indices, [[1, 4, 0, 2, 3], [3, 0, 4, 2, 1]])
    np.testing.assert_array_equal(found.similarity, [[11, 4, 2, 1, -1], [1, 0, 0, -1, -3]])
    assert found.similarity.dtype == np.float32 and found.indices.dtype == np.int64
    np.testing.assert_array_equal(search([[1, 2]], gallery, 2).indices, [[1, 4]])


def test_similarities_are_the_exact_sums_to_the_last_bits_of_float32() -> None:
    queries, gallery = unit(3, 65), unit(200, 65, seed=1)
    expected, order = by_definition(queries, gallery)
    found = search(queries, gallery)
    np.testing.assert_allclose(found.similarity, expected, atol=2**-24, rtol=0)
    assert (found.indices == order).mean() > 0.99


@pytest.fixture
def faiss_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The widths asked of faiss."""
    widths: list[int] = []
    retrieve = room._retrieve

    def counted(queries: np.ndarray, block: np.ndarray, width: int, resources: None) -> tuple[np.ndarray, np.ndarray]:
        widths.append(width)
        return retrieve(queries, block, width, resources)

    monkeypatch.setattr(room, "_retrieve", counted)
    return widths


def test_a_short_list_is_the_beginning_of_the_full_one(faiss_calls: list[int]) -> None:
    queries, gallery = unit(5, 32), unit(3000, 32, seed=1)
    full = search(queries, gallery)
    assert not faiss_calls
    for length in (1, 10, 400):
        short = search(queries, gallery, length)
        np.testing.assert_array_equal(short.indices, full.indices[:, :length])
        np.testing.assert_array_equal(short.similarity, full.similarity[:, :length])
    assert faiss_calls == [65, 74, 464]
    np.testing.assert_array_equal(np.sort(full.indices), np.tile(np.arange(3000), (5, 1)))


def test_duplicates_tie_exactly_wherever_they_stand() -> None:
    # The same images three times over, in other surroundings each time: BLAS may round them differently.
    generator = np.random.default_rng(0)
    base = unit(333, 61, seed=1)
    places = np.concatenate([generator.permutation(333) for _ in range(3)])
    queries = unit(4, 61, seed=2)
    for length in (30, 999):
        found = search(queries, base[places], length)
        for similarity, indices in zip(found.similarity, found.indices, strict=True):
            for value in np.unique(similarity)[1:]:  # the last group may be cut
                group = indices[similarity == value]
                assert len(group) == 3 and len(set(places[group])) == 1
                assert (np.diff(group) > 0).all()


def test_a_similarity_does_not_depend_on_the_rest() -> None:
    queries, gallery = unit(7, 50), unit(500, 50, seed=1)
    gallery[::7] *= 30  # some longer than others
    whole = search(queries, gallery)
    for query in range(7):
        alone = search(queries[query : query + 1], gallery[100:200])
        among = {int(i): s for i, s in zip(whole.indices[query], whole.similarity[query], strict=True)}
        assert [among[int(i) + 100] for i in alone.indices[0]] == alone.similarity[0].tolist()


def test_a_tie_across_the_cut_widens_the_search(faiss_calls: list[int]) -> None:
    gallery = unit(4000, 16)
    gallery[1000:1200] = gallery[0]  # 201 equal images: faiss returns any of them
    found = search(gallery[:1], gallery, 5)
    np.testing.assert_array_equal(found.indices, [[0, 1000, 1001, 1002, 1003]])
    assert faiss_calls == [69, 276]


def test_images_that_are_all_alike_come_in_their_order(faiss_calls: list[int]) -> None:
    gallery = np.tile(unit(1, 16), (3000, 1))
    found = search(np.concatenate([gallery[:1], -gallery[:1], 0 * gallery[:1]]), gallery, 9)
    np.testing.assert_array_equal(found.indices, np.tile(np.arange(9), (3, 1)))
    assert len(set(found.similarity[0])) == 1 and not found.similarity[2].any()
    assert faiss_calls == [73, 292]


@pytest.mark.parametrize("rounding", [0, 1e-5])
def test_the_order_does_not_hang_on_how_faiss_rounds(monkeypatch: pytest.MonkeyPatch, rounding: float) -> None:
    queries, gallery = unit(3, 256), unit(3000, 256, seed=1)
    generator = np.random.default_rng(2)

    def rough(queries: np.ndarray, gallery: np.ndarray, width: int, _: None) -> tuple[np.ndarray, np.ndarray]:
        similarity = queries @ gallery.T + generator.uniform(-rounding, rounding, (len(queries), len(gallery)))
        order = np.argsort(-similarity, axis=1)[:, :width]
        return np.take_along_axis(similarity, order, axis=1).astype(np.float32), order

    full = search(queries, gallery)
    monkeypatch.setattr(room, "_retrieve", rough)
    np.testing.assert_array_equal(search(queries, gallery, 100).indices, full.indices[:, :100])


def test_the_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []

    def on_gpu(resources: object, queries: np.ndarray, gallery: np.ndarray, width: int, *, metric: int) -> object:
        assert resources == "resources" and metric == faiss.METRIC_INNER_PRODUCT
        used.append(width)
        return faiss.knn(queries, gallery, width, metric=metric)

    queries, gallery = unit(2, 16), unit(3000, 16, seed=1)
    expected = search(queries, gallery, 10)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "resources", raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", on_gpu, raising=False)
    np.testing.assert_array_equal(search(queries, gallery, 10).indices, expected.indices)
    assert used == [74]


def test_settings_of_faiss_are_left_as_they_were() -> None:
    before = {name: getattr(faiss.cvar, name) for name in room.ON_CPU}
    assert before != room.ON_CPU
    search(unit(2, 16), unit(3000, 16), 10)
    assert {name: getattr(faiss.cvar, name) for name in room.ON_CPU} == before


class Recorded:
    """A stored gallery, and what was read of it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.largest = array, array.shape, 0

    def block(self, start: int, stop: int) -> np.ndarray:
        self.largest = max(self.largest, stop - start)
        return self.array[start:stop]

    def rows(self, ids: np.ndarray) -> np.ndarray:
        return self.array[ids]


@pytest.mark.parametrize("block", [1, 50, 700, 3000])
@pytest.mark.parametrize("length", [1, 10, 400, None])
def test_a_stored_gallery_gives_the_same_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch, length: int | None, block: int
) -> None:
    queries, gallery = unit(5, 32), unit(3000, 32, seed=1)
    gallery[1700:1900] = gallery[3]  # ties across blocks
    queries[0] = gallery[3]
    expected, stored = search(queries, gallery, length), Recorded(gallery)
    monkeypatch.setattr(room, "BLOCK_BYTES", block * 32 * 4)
    found = search(queries, stored, length)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.similarity, expected.similarity)
    assert stored.largest == block


@pytest.mark.parametrize("length", [5, None])
def test_numbers_that_are_not_finite_are_found_in_any_block(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr(room, "BLOCK_BYTES", 100 * 16 * 4)
    gallery = unit(3000, 16)
    gallery[777, 3] = np.nan
    for call in (lambda: search(unit(2, 16), gallery, length), lambda: places(unit(2, 16), gallery, [[0], [1]])):
        with pytest.raises(BenchError, match=r"1 gallery descriptors .* number 777 \(read so far: 800\)"):
            call()


@pytest.mark.parametrize("seed", range(8))
def test_places_are_those_in_the_whole_list(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    generator = np.random.default_rng(seed)
    gallery = unit(900, 12, seed=seed)
    gallery = np.concatenate([gallery, gallery[generator.permutation(900)[:500]], np.zeros((5, 12), np.float32)])
    gallery = gallery[generator.permutation(len(gallery))]
    queries = np.concatenate([unit(4, 12, seed=seed + 100), gallery[:2], np.zeros((1, 12), np.float32)])
    images = [generator.choice(len(gallery), count, replace=False) for count in (0, 1, 7, 300, 1405, 50, 200)]
    whole = search(queries, gallery).indices
    monkeypatch.setattr(room, "BLOCK_BYTES", 333 * 12 * 4)
    found = places(queries, Recorded(gallery), images)
    assert [one.dtype for one in found] == [np.int64] * 7
    for row, own, stand in zip(whole, images, found, strict=True):
        np.testing.assert_array_equal(row[stand], own)


def test_places_of_images_that_are_not_there() -> None:
    for ids, message in (([[0], [3]], "images 3 to 3; wanted images 0 to 2"), ([[0]], "images of 1 queries")):
        with pytest.raises(BenchError, match=message):
            places(unit(2, 4), unit(3, 4), ids)


def test_no_queries() -> None:
    found = search(np.empty((0, 4), np.float32), unit(3, 4))
    assert found.similarity.shape == found.indices.shape == (0, 3)


@pytest.mark.parametrize(
    ("queries", "gallery", "length", "message"),
    [
        (unit(2, 4), np.empty((0, 4)), None, "an empty gallery"),
        (unit(2, 4), unit(3, 4), 4, "a shortlist of 4 from a gallery of 3 images; wanted 1 to 3"),
        (unit(2, 4), unit(3, 4), 0, "a shortlist of 0"),
        (unit(2, 4), unit(3, 5), None, "query descriptors 4 wide and gallery descriptors 5 wide"),
        (unit(2, 4)[0], unit(3, 4), None, r"query descriptors of shape \(4,\)"),
        (unit(2, 4), np.empty((3, 0)), None, r"gallery descriptors of shape \(3, 0\)"),
        (unit(2, 4), [[0, 1, 2, 3], [0, np.nan, 0, 0], [0, 0, np.inf, 0]], None, "2 gallery descriptors .* number 1"),
        ([[0, -np.inf, 0, 0]], unit(3, 4), None, "1 query descriptors that are not finite"),
    ],
)
def test_bad_input(queries: object, gallery: object, length: int | None, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        search(queries, gallery, length)  # type: ignore[arg-type]
