"""Scatter plots: which panels, what they say, and the same bytes twice."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from matplotlib.image import imread

from bench.reporting import accuracy, scatter
from bench.reporting.queries import PairedAP
from bench.results import Record
from tests.bench.reporting.examples import accuracy_record, comparison

PROTOCOLS = ("easy", "medium", "hard", "hard_star")


def group_of(records: list[Record]) -> accuracy.Group:
    (group,) = accuracy.groups(records)
    return group


def record(name: str, values: list[float | None], **changes: object) -> Record:
    return accuracy_record(name, dict.fromkeys(PROTOCOLS, values), **changes)


def panel(positives: list[int] | None = None) -> scatter.Panel:
    counts = np.array(positives or [0, 3, 40])
    return scatter.Panel("none", "a", PairedAP(np.array([0.1, 0.5, 0.9]), np.array([0.3, 0.5, 0.8]), counts), "→")


def chunks(png: bytes) -> list[bytes]:
    """Names of a PNG's parts."""
    found, place = [], 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        found.append(png[place + 4 : place + 8])
        place += 12 + length
    return found


def test_a_title_gives_map_and_sides_of_the_diagonal() -> None:
    assert panel().title == "mAP 50.00 → 53.33 (+3.33)\n1 above, 1 below, 1 equal"


def test_a_picture_is_the_same_twice_and_carries_no_date() -> None:
    first, second = (scatter.draw([panel()], "medium", "where it comes from") for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert not {b"tIME", b"tEXt", b"iTXt", b"zTXt"} & set(chunks(first))
    pixels = imread(io.BytesIO(first))
    assert pixels.shape[0] > 300 and pixels.shape[1] > 300
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50


def test_points_positives_and_footer_reach_the_picture() -> None:
    plain = scatter.draw([panel()], "medium", "here")
    assert scatter.draw([panel([40, 3, 0])], "medium", "here") != plain
    assert scatter.draw([panel()], "hard", "here") != plain
    assert scatter.draw([panel()], "medium", "there") != plain


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_small_multiples_of_any_number(count: int) -> None:
    height, width = imread(io.BytesIO(scatter.draw([panel()] * count, "medium", ""))).shape[:2]
    columns = {1: 1, 2: 2, 4: 2, 5: 3}[count]
    assert 400 * columns < width < 650 * columns
    rows = -(-count // columns)
    assert 400 * rows < height < 650 * rows


@pytest.mark.parametrize("positives", [[0, 0, 0], [1, 1, 1], [0, 5, 3_000_000]])
def test_any_number_of_positives_has_a_colour(positives: list[int]) -> None:
    assert scatter.draw([panel(positives)], "hard", "")


def test_names_are_text_and_not_formulas() -> None:
    strange = scatter.Panel("$\\frac{$", "a_$b^", panel().pairs)
    assert scatter.draw([strange], "hard", "$\\nonsense{$")


def test_before_and_after_takes_every_reranker_and_says_what_it_leaves_out() -> None:
    panels, left_out = scatter.before_after(group_of(comparison()), "medium")
    assert [(one.first, one.second) for one in panels] == [
        ("none:first-stage", "ransac:homography"),
        ("none:first-stage", "sg-rerank:published"),
        ("none:first-stage", "ames:rootsift (random weights)"),
    ]
    assert left_out == ["ransac:affine: timeout: not done after 3,600 s"]


def test_methods_meet_each_other_but_for_untrained_and_failed_ones() -> None:
    panels, left_out = scatter.method_against_method(group_of(comparison()), "hard")
    assert [(one.first, one.second) for one in panels] == [("ransac:homography", "sg-rerank:published")]
    assert left_out == []


def test_many_methods_meet_the_best_one() -> None:
    records = [record(f"m{n}", [0.1 * n, 0.2, 0.3]) for n in (1, 2, 5, 3, 4)]
    panels, _ = scatter.method_against_method(group_of(records), "medium")
    assert [(one.first, one.second) for one in panels] == [(f"m{n}", "m5") for n in (1, 2, 3, 4)]


def test_without_a_baseline_nothing_is_before() -> None:
    panels, left_out = scatter.before_after(group_of([record("a", [0.1, 0.2])]), "medium")
    assert (panels, left_out) == ([], ["no finished record of 'none' to compare with"])


def test_the_footer_says_where_the_picture_comes_from() -> None:
    group = group_of(comparison())
    text = scatter.footer(group, group.records)
    for words in ("facades (sha256 eeeeeeeeeeee)", "shortlist of 400", "Commit 0123456, fffffff+dirty", "2025-03-02"):
        assert words in text
