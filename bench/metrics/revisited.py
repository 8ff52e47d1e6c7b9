"""Average precision and precision at k of Revisited Oxford and Paris.

Every gallery image is easy, hard, junk or negative for a query. A protocol takes some labels as positive and ignores
others: ignored images leave the list before ranks are counted. With r_j the 0-based rank of the j-th (0-based)
retrieved positive in what is left,

    AP = sum over j of (p0_j + p1_j) / (2 * divisor),   p0_j = j / r_j (1 at r_j = 0),   p1_j = (j + 1) / (r_j + 1)

which is the area under the precision-recall curve by the trapezoid rule; the finite-sum AP of other libraries is
another number. Precision at k looks at k' = min(k, 1-based rank of the last retrieved positive) entries, not always at
k. Source: Radenovic et al., Revisiting Oxford and Paris: Large-Scale Image Retrieval Benchmarking (CVPR 2018), and the
evaluation code published with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike

from bench.errors import BenchError, unknown_name
from bench.metrics.ranks import checked
from bench.metrics.scores import mean_defined

Divisor = Literal["revisitop", "shortlist"]
DIVISORS: tuple[Divisor, ...] = get_args(Divisor)

# A label is written as its place here plus one; 0 is no label.
_LABELS = ("easy", "hard", "junk")

# Entries that are looked at together, so that what is made of them stays in cache; and queries.
_STRETCH = 1 << 17
_GROUP = 128


class Labelled(Protocol):
    """The ground truth of one query: gallery indices by label, each image at most once."""

    @property
    def easy(self) -> ArrayLike: ...
    @property
    def hard(self) -> ArrayLike: ...
    @property
    def junk(self) -> ArrayLike: ...


@dataclass(frozen=True)
class Roles:
    """The labels that a protocol counts as positive, and those that it takes out of the lists."""

    positive: tuple[str, ...]
    ignored: tuple[str, ...]


# hard* takes the easy images out before re-ranking; what it evaluates afterwards is hard.
PROTOCOLS: Mapping[str, Roles] = MappingProxyType(
    {
        "easy": Roles(positive=("easy",), ignored=("hard", "junk")),
        "medium": Roles(positive=("easy", "hard"), ignored=("junk",)),
        "hard": Roles(positive=("hard",), ignored=("easy", "junk")),
        "hard*": Roles(positive=("hard",), ignored=("easy", "junk")),
    }
)


@dataclass(frozen=True, eq=False)
class RevisitedResult:
    """One protocol over all queries; fractions, and NaN for a query that has no positive: it leaves the means.

    per_query_ap: (queries,) float64. precision_at: mean for each kappa. per_query_precision: (queries, kappas) float64.
    """

    map: float
    per_query_ap: np.ndarray
    precision_at: dict[int, float]
    per_query_precision: np.ndarray
    divisor: Divisor


def evaluate(
    ranks: ArrayLike,
    ground_truth: Sequence[Labelled],
    *,
    protocols: Sequence[str] = ("easy", "medium", "hard"),
    divisor: Divisor = "revisitop",
    kappas: Sequence[int] = (1, 5, 10),
    beyond: Sequence[Tail] | None = None,
) -> dict[str, RevisitedResult]:
    """The metrics of each protocol for ranked lists (queries, depth) of gallery indices, best first.

    ranks: any integer type, any memory order, not copied; entries that are negative or outside the gallery are nothing.
    divisor: "revisitop" divides by all positives of a query, and raises BenchError for a list without any of them;
    "shortlist" (LOCORE, AMES, ELViS) divides by min(positives, depth), and such a list scores 0.
    beyond: one Tail for each query, where the lists are only the heads of whole ones. A labelled image that stands in
    neither was not retrieved, and a query without any retrieved positive then scores 0.
    """
    lists = checked(ranks)
    _check_options(protocols, divisor, kappas)
    if len(ground_truth) != len(lists):
        raise BenchError(
            f"{len(lists)} ranked lists with the ground truth of {len(ground_truth)} queries",
            wanted="one list for each query, queries first",
            cure="Evaluate the queries that were ranked, and transpose lists that lie depth first.",
        )
    truths = [_labelled(truth, query) for query, truth in enumerate(ground_truth)]
    hits, depth = _find(lists, truths), lists.shape[1]
    if beyond is not None:
        hits = [_prolonged(*each) for each in zip(hits, truths, beyond, strict=True)]
        depth = max((tail.depth for tail in beyond), default=depth)
    strict = beyond is None
    return {name: _evaluate_protocol(name, hits, truths, depth, divisor, kappas, strict) for name in protocols}


@dataclass(frozen=True, eq=False)
class Tail:
    """What one query's list has behind its head: where its labelled images stand, among `depth` images in all.

    images: (m,) gallery indices. places: (m,) ascending 0-based places in the whole list. With these alone, average
    precision over a million images needs no list of a million.
    """

    images: np.ndarray
    places: np.ndarray
    depth: int


@dataclass(frozen=True)
class _Images:
    """Gallery images with their labels: those of a query's ground truth, or where they stand in its list."""

    index: np.ndarray
    label: np.ndarray

    def having(self, labels: tuple[str, ...]) -> np.ndarray:
        """(images,) bool: whether the label is one of `labels`."""
        found: np.ndarray = np.array([False, *(label in labels for label in _LABELS)])[self.label]
        return found


def _check_options(protocols: Sequence[str], divisor: str, kappas: Sequence[int]) -> None:
    for name in protocols:
        if name not in PROTOCOLS:
            raise unknown_name("protocol", name, PROTOCOLS)
    if divisor not in DIVISORS:
        raise unknown_name("divisor", divisor, DIVISORS)
    if min(kappas, default=1) < 1:
        raise BenchError(f"kappa {min(kappas)}", wanted="cuts from 1", cure="Pass the numbers of entries to look at.")


def _labelled(truth: Labelled, query: int) -> _Images:
    parts = [np.asarray(getattr(truth, label)).reshape(-1) for label in _LABELS]
    if any(part.size and part.dtype.kind not in "iu" for part in parts):
        raise BenchError(
            f"ground truth of query {query} of types {[str(part.dtype) for part in parts]}",
            wanted="gallery indices",
            cure="Give the images by their places in the gallery.",
        )
    index = np.concatenate(parts).astype(np.int64)
    once = np.unique(index)
    if once.size < index.size or (once.size and not 0 <= once[0] <= once[-1] < 2**31):
        raise BenchError(
            f"ground truth of query {query} with {index.size} labels for {once.size} images {once[:1]} to {once[-1:]}",
            wanted="each image under one label, as an index from 0 to 2^31",
            cure="Read the ground truth with bench.datasets.ground_truth.",
        )
    return _Images(index, np.repeat(np.arange(1, 1 + len(_LABELS)), [part.size for part in parts]))


def _find(lists: np.ndarray, truths: Sequence[_Images]) -> list[_Images]:
    """Where the labelled images of each query stand in its list: ascending 0-based places, with their labels.

    One pass over the lists serves all protocols. A cheap test drops the entries that have a label for no query of the
    group, which in a large gallery are nearly all; only what is left is looked up by query.
    """
    groups = [slice(start, start + _GROUP) for start in range(0, len(lists), _GROUP)]
    return [hits for group in groups for hits in _find_in_group(lists[group], truths[group])]


def _find_in_group(lists: np.ndarray, truths: Sequence[_Images]) -> list[_Images]:
    column, table = _label_table(truths)
    # The lists are read as they lie in memory: queries first, or, as the official codes have them, depth first.
    queries_first = abs(lists.strides[1]) <= abs(lists.strides[0])
    rows = lists if queries_first else lists.T
    # In the +1M sets labelled images are at the front of the gallery, and a comparison is cheaper than a look-up.
    in_front = 8 * column.size <= lists.shape[1]
    labelled = column != 0

    cells, places = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for start, entries in _stretches(rows):
        near = np.flatnonzero(entries < column.size if in_front else labelled.take(entries, mode="clip"))
        near = near[entries[near] >= 0]
        row, place = np.divmod(near + start, rows.shape[1])
        query, place = (row, place) if queries_first else (place, row)
        cell = query * table.shape[1] + column[entries[near]]
        hit = np.flatnonzero(table.reshape(-1)[cell])
        cells.append(cell[hit])
        places.append(place[hit])
    cell, place = np.concatenate(cells), np.concatenate(places)
    if np.unique(cell).size < cell.size:
        raise BenchError("a list with an image more than once", wanted="each image once", cure="Drop the later copies.")
    order = np.lexsort((place, cell // table.shape[1]))
    cell, place = cell[order], place[order]
    cuts = np.searchsorted(cell, np.arange(1, len(truths)) * table.shape[1])
    return [_Images(*hits) for hits in zip(np.split(place, cuts), np.split(table.reshape(-1)[cell], cuts), strict=True)]


def _prolonged(hits: _Images, truth: _Images, tail: Tail) -> _Images:
    """The hits of a list's head, and those behind it."""
    label = dict(zip(truth.index.tolist(), truth.label.tolist(), strict=True))
    images, places = np.asarray(tail.images, np.int64), np.asarray(tail.places, np.int64)
    known = np.array([image in label for image in images.tolist()], dtype=bool)
    whole = np.concatenate([hits.index, places])
    fits = known.all() and len(images) == len(places) and (np.diff(whole) > 0).all()
    if not fits or whole.max(initial=0) >= tail.depth:
        raise BenchError(
            f"{len(images)} images at places {places[:1]} to {places[-1:]} of {tail.depth}, behind a list",
            wanted="ascending places behind it, of images with a label",
            cure="Take list and places from one search.",
        )
    labels = np.array([label[image] for image in images.tolist()], dtype=hits.label.dtype)
    return _Images(whole, np.concatenate([hits.label, labels]))


def _label_table(truths: Sequence[_Images]) -> tuple[np.ndarray, np.ndarray]:
    """From image to column, and from query and column to label; 0 is the column of images without any label.

    The first ends with a 0, which stands for all images beyond.
    """
    index = np.concatenate([truth.index for truth in truths])
    images = np.unique(index)
    column = np.zeros(images.max(initial=0) + 2, dtype=np.int32)
    column[images] = np.arange(1, images.size + 1)
    table = np.zeros((len(truths), images.size + 1), dtype=np.uint8)
    owner = np.repeat(np.arange(len(truths)), [truth.index.size for truth in truths])
    table[owner, column[index]] = np.concatenate([truth.label for truth in truths])
    return column, table


def _stretches(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """`rows` end to end, in stretches: the number of entries before, and the entries."""
    at_once = max(1, _STRETCH // max(rows.shape[1], 1))
    for first in range(0, len(rows), at_once):
        flat = rows[first : first + at_once].reshape(-1)  # a copy only where the memory has gaps
        for start in range(0, flat.size, _STRETCH):
            yield first * rows.shape[1] + start, flat[start : start + _STRETCH]


def _evaluate_protocol(
    name: str,
    found: Sequence[_Images],
    truths: Sequence[_Images],
    depth: int,
    divisor: Divisor,
    kappas: Sequence[int],
    strict: bool,
) -> RevisitedResult:
    roles = PROTOCOLS[name]
    ap = np.full(len(truths), np.nan)
    precision = np.full((len(truths), len(kappas)), np.nan)
    for query, (hits, truth) in enumerate(zip(found, truths, strict=True)):
        positives = int(np.count_nonzero(truth.having(roles.positive)))
        if positives == 0:
            continue
        ranks = _cleaned_ranks(hits, roles)
        if strict and divisor == "revisitop" and ranks.size == 0:
            raise BenchError(
                f"no {name} positive of query {query} in its list of {depth}",
                wanted="at least one, where the divisor is all positives",
                cure="Rank the whole gallery, or use the shortlist divisor.",
            )
        ap[query] = _average_precision(ranks, positives if divisor == "revisitop" else min(positives, depth))
        precision[query] = _precision_at(ranks, kappas)
    means = {kappa: mean_defined(column) for kappa, column in zip(kappas, precision.T, strict=True)}
    return RevisitedResult(mean_defined(ap), ap, means, precision, divisor)


def _cleaned_ranks(hits: _Images, roles: Roles) -> np.ndarray:
    """Ascending 0-based ranks of the retrieved positives in the list without the ignored images."""
    ignored_ahead = np.cumsum(hits.having(roles.ignored))
    found: np.ndarray = (hits.index - ignored_ahead)[hits.having(roles.positive)]
    return found


def _average_precision(ranks: np.ndarray, divisor: int) -> float:
    j = np.arange(ranks.size)
    before = np.where(ranks == 0, 1.0, j / np.maximum(ranks, 1))
    after = (j + 1) / (ranks + 1)
    return float((before + after).sum()) / (2 * max(divisor, 1))


def _precision_at(ranks: np.ndarray, kappas: Sequence[int]) -> np.ndarray:
    if ranks.size == 0:
        return np.zeros(len(kappas))
    looked_at = np.minimum(kappas, ranks[-1] + 1)
    found: np.ndarray = np.searchsorted(ranks, looked_at) / looked_at
    return found
