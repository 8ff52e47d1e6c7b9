"""Two runs side by side: what is compared, what is not, and what both are told."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.reporting.accuracy import groups
from bench.reporting.comparing import (
    NO_DIFFERENCE,
    ONLY_CHECK,
    OTHER_LISTS,
    OUTSIDE,
    ROUNDING,
    UNJUDGED,
    UNKNOWN_LISTS,
    WITHIN,
    Comparison,
    comparisons,
    sheet,
)
from bench.reporting.tables import Cell, Table
from bench.results import Record
from tests.bench.reporting.examples import (
    MACHINE_B,
    accuracy_record,
    comparison,
    cost_record,
    failed_cost_record,
    provenance,
)

AB = ("A", "B")
BEFORE, AFTER = [0.1, 0.2, 0.3], [0.2, 0.4, 0.6]


def of_kind(kind: str, first: Sequence[Record], second: Sequence[Record]) -> list[Comparison]:
    return [one for one in comparisons(first, second, AB) if one.kind == kind]


def only(kind: str, first: Sequence[Record], second: Sequence[Record]) -> Comparison:
    (found,) = of_kind(kind, first, second)
    return found


def cells(table: Table, row: int = 0) -> dict[str, Cell]:
    return {column.title: cell for column, cell in zip(table.columns, table.rows[row], strict=True)}


def values(table: Table, row: int = 0) -> list[Any]:
    return [cell.value for cell in table.rows[row]]


def names(table: Table) -> list[Any]:
    return [row[0].value for row in table.rows]


def parsed(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def earned(
    ap: list[float | None], reranker: str = "ransac:affine", *, dataset_sha256: str | None = None, **changes: Any
) -> Record:
    record = accuracy_record(reranker, {"medium": ap}, **changes)
    if dataset_sha256 is None:
        return record
    return record.model_copy(update={"key": record.key.model_copy(update={"dataset_sha256": dataset_sha256})})


def listed(record: Record, sha256: str) -> Record:
    """With the hash of its first-stage lists, as records of later versions keep it."""
    return record.model_copy(update={"lists": SimpleNamespace(first_stage_sha256=sha256)})


def timed(latency: float, spread: float | str = 0.1, **changes: Any) -> Record:
    return cost_record(figures={"latency_median_ms": latency, "process_spread": spread}, **changes)


def judged(first: Record, second: Record) -> Cell:
    return cells(only("cost", [first], [second]).table)["median B / A"]


# Accuracy


def test_an_accuracy_row_is_known_to_the_letter() -> None:
    """Gains 10, 20, 30 points: of 8 ways to swap only all-plus and all-minus are as extreme."""
    table = only("accuracy", [earned(BEFORE)], [earned(AFTER)]).table
    assert [column.title for column in table.columns] == [
        *("re-ranker", "weights", "medium A", "medium B", "medium B − A [95%]", "medium p"),
        "medium better / worse / equal",
    ]
    (line,) = [line for line in table.markdown().splitlines() if "ransac:affine" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        *("ransac:affine", "none", "20.00", "40.00", "+20.00 [+10.00, +30.00]", "0.250", "3 / 0 / 0"),
    ]


def test_every_measure_that_the_report_compares_has_its_columns() -> None:
    ap = {"easy": BEFORE, "medium": BEFORE, "hard": BEFORE}
    first, second = accuracy_record("ransac:affine", ap), accuracy_record("ransac:affine", ap | {"hard": AFTER})
    row = cells(only("accuracy", [first], [second]).table)
    assert row["medium B − A [95%]"].value == NO_DIFFERENCE
    assert row["hard B − A [95%]"].value == "+20.00 [+10.00, +30.00]"
    assert not any(title.startswith("easy") for title in row)


def test_other_weights_stand_in_one_row_that_says_so() -> None:
    table = only("accuracy", [earned(BEFORE, weights="a sha256:1")], [earned(AFTER, weights="a sha256:2")]).table
    (row,) = table.rows
    assert row[1].notes == ("other weights: a sha256:1 in A, a sha256:2 in B",)
    assert row[4].value == "+20.00 [+10.00, +30.00]"


def test_the_same_weights_are_paired_before_others() -> None:
    first = [earned(BEFORE, weights="one"), earned(BEFORE, weights="two")]
    second = [earned(AFTER, weights="three"), earned(BEFORE, weights="two")]
    table = only("accuracy", first, second).table
    assert [(row[1].value, row[4].value) for row in table.rows] == [
        ("different", "+20.00 [+10.00, +30.00]"),
        ("two", NO_DIFFERENCE),
    ]


def test_nothing_is_paired_where_several_checkpoints_could_be_meant() -> None:
    second = [earned(AFTER, weights="two"), earned(AFTER, weights="three")]
    table = only("accuracy", [earned(BEFORE, weights="one")], second).table
    assert len(table.rows) == 3
    assert {row[4].notes[0] for row in table.rows} == {
        "B has 2 like it: which is meant is not known",
        "A has 1 like it: which is meant is not known",
    }


def test_a_reranker_of_one_run_has_a_dash_and_the_reason() -> None:
    first = [earned(BEFORE), earned(BEFORE, "ransac:homography")]
    found = only("accuracy", first, [earned(AFTER)])
    row = cells(found.table, 1)
    assert (row["re-ranker"].value, row["medium A"].value) == ("ransac:homography", pytest.approx(0.2))
    assert row["medium B"] == row["medium B − A [95%]"] == Cell(None, ("not in B",))
    assert found.summary.endswith("; 1 cannot be compared")


def test_a_failed_cell_gives_its_reason_and_its_run() -> None:
    row = cells(only("accuracy", [earned(BEFORE)], [accuracy_record("ransac:affine")]).table)
    assert row["medium B"].notes == ("timeout: not done after 3,600 s",)
    assert row["medium B − A [95%]"].notes == ("B: timeout: not done after 3,600 s",)


def test_a_reason_that_both_runs_share_is_told_once() -> None:
    failed = accuracy_record("ransac:affine")
    row = cells(only("accuracy", [failed], [failed]).table)
    assert row["medium B − A [95%]"].notes == ("timeout: not done after 3,600 s",)


def test_other_queries_are_not_compared() -> None:
    row = cells(only("accuracy", [earned([0.1, None, 0.3])], [earned([0.1, 0.2, None])]).table)
    assert row["medium B − A [95%]"].notes == ("not evaluated on the same queries",)
    row = cells(only("accuracy", [earned([0.1, None])], [earned([0.2, None])]).table)
    assert row["medium B − A [95%]"].notes == ("fewer than two queries have positives",)


def test_queries_without_positives_are_left_out_of_both() -> None:
    row = cells(only("accuracy", [earned([*BEFORE, None])], [earned([*AFTER, None])]).table)
    assert row["medium better / worse / equal"].value == "3 / 0 / 0"


def test_another_data_set_is_never_a_number() -> None:
    first = [earned(BEFORE, dataset_sha256="1" * 64), earned(BEFORE, "ransac:homography", dataset_sha256="1" * 64)]
    second = [earned(AFTER, dataset_sha256="2" * 64)]
    found = only("accuracy", first, second)
    reason = "another data set of this name: sha256 111111111111 in A, 222222222222 in B"
    assert found.summary == f"nothing can be compared: {reason}"
    assert {cell for row in found.table.rows for cell in row[2:]} == {Cell(None, (reason,))}
    assert len(found.table.rows) == 2
    for row in parsed(sheet(first, second, AB)):
        assert not any(row[name] for name in ("first", "second", "difference", "low", "high", "p_value", "better"))


def test_the_same_data_set_is_paired_before_another_one_of_its_name() -> None:
    old, new = (earned(BEFORE, dataset_sha256=digit * 64) for digit in "12")
    found = of_kind("accuracy", [new], [old, new])
    assert [one.summary for one in found] == ["nothing can be compared: not in A", "no difference in 1 re-ranker"]


def test_every_setting_that_either_run_has_is_there() -> None:
    first = [earned(BEFORE), earned(BEFORE, shortlist=100), earned(BEFORE, read=12)]
    second = [earned(BEFORE, policy="junk stays"), cost_record(), cost_record(candidates=400)]
    assert [(one.kind, one.title) for one in comparisons(first, second, AB)] == [
        ("provenance", "What the runs differ in"),
        ("accuracy", "Accuracy on facades, shortlist of 100, junk behind"),
        ("accuracy", "Accuracy on facades, shortlist of 400, junk behind"),
        ("accuracy", "Accuracy by number of local descriptors on facades, shortlist of 400, junk behind"),
        ("accuracy", "Accuracy on facades, shortlist of 400, junk stays"),
        ("cost", "Cost per 100 candidates"),
        ("cost", "Cost per 400 candidates"),
    ]


def test_rows_stand_in_the_order_of_the_report() -> None:
    records = [one for one in comparison() if one.key.kind == "accuracy"]
    (group,) = groups(records)
    found = only("accuracy", records[::2], records[::-1])
    assert [str(name).split(" ")[0] for name in names(found.table)] == [one.key.reranker for one in group.records]
    assert names(found.table)[-1] == "ames:rootsift (random weights)"


def test_an_ablation_counts_windows_and_descriptors_as_numbers() -> None:
    runs = [earned(BEFORE, f"locore:micro+slide=400/{k}/1", read=read) for read in (48, 12) for k in (100, 25)]
    found = only("accuracy", runs[:2], runs)
    assert [(row[0].value, row[2].value) for row in found.table.rows] == [
        (f"locore:micro+slide=400/{k}/1", read) for read in (12, 48) for k in (25, 100)
    ]


def test_the_first_stage_of_an_ablation_is_counted_once() -> None:
    records = [earned(BEFORE, "none:first-stage"), earned(AFTER, read=12)]
    rows = parsed(sheet(records, records, AB))
    assert [row["reranker"] for row in rows] == ["none:first-stage", "ransac:affine"]
    assert only("provenance", records, records).table.columns[-1].title == "cells that differ, of 2 in both"


@pytest.mark.parametrize("kind", ["accuracy", "hashes"])
def test_other_first_stage_lists_are_told(kind: str) -> None:
    none, other = earned(BEFORE, "none:first-stage"), earned(AFTER, "none:first-stage")
    if kind == "accuracy":
        found = only("accuracy", [none, earned(BEFORE)], [other, earned(AFTER)])
    else:
        found = only("accuracy", [none, listed(earned(BEFORE), "1")], [none, listed(earned(AFTER), "2")])
    assert found.table.notes == (OTHER_LISTS,)


def test_the_same_first_stage_lists_need_no_note() -> None:
    none = earned(BEFORE, "none:first-stage")
    assert not only("accuracy", [none, earned(BEFORE)], [none, earned(AFTER)]).table.notes
    first, second = listed(earned(BEFORE), "1"), listed(earned(AFTER), "1")
    assert not only("accuracy", [first], [second]).table.notes


def test_lists_that_nothing_tells_of_are_said_to_be_unknown() -> None:
    assert only("accuracy", [earned(BEFORE)], [listed(earned(AFTER), "1")]).table.notes == (UNKNOWN_LISTS,)


def test_the_summary_names_rerankers_whose_interval_leaves_0_out() -> None:
    still = [earned(BEFORE, "none:first-stage"), earned(BEFORE, "ransac:homography")]
    found = only("accuracy", [*still, earned(BEFORE)], [*still, earned(AFTER)])
    assert found.summary == "1 of 2 re-rankers differ by more than their interval: ransac:affine (medium +20.00)"
    mixed = only("accuracy", [earned([0.1, 0.9, 0.5])], [earned([0.9, 0.2, 0.6])])
    assert mixed.summary == "0 of 1 re-ranker differ by more than their interval"


def test_a_long_summary_says_how_many_more_there_are() -> None:
    first, second = ([earned(ap, f"ransac:{name}") for name in "abcdefg"] for ap in (BEFORE, AFTER))
    assert only("accuracy", first, second).summary.endswith("ransac:e (medium +20.00) and 2 more")


def test_a_first_stage_alone_is_no_reranker() -> None:
    none = [earned(BEFORE, "none:first-stage")]
    assert only("accuracy", none, none).summary == "no re-ranker to compare"


def test_random_weights_mean_nothing_in_the_run_that_has_them() -> None:
    row = cells(only("accuracy", [earned(BEFORE, weights="random")], [earned(AFTER, weights="x")]).table)
    assert row["re-ranker"] == Cell("ransac:affine", ("A: random weights: the accuracy of this row means nothing",))


# Cost


def test_a_cost_row_is_known_to_the_letter() -> None:
    second = cost_record(figures={"parameters": 2_100_000, "gflops_executed": 46.4, "latency_median_ms": 800.0})
    table = only("cost", [cost_record()], [second]).table
    (line,) = [line for line in table.markdown().splitlines() if "ames:dinov2" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        *("ames:dinov2¹", "600 x 50 locals of 768", "cpu", "float32", "2.08", "2.10", "+20,255"),
        *("46.9", "46.4", "-0.500", "612", "800", "1.31²", "204", "204", "equal"),
    ]
    assert ONLY_CHECK in table.markdown()


def test_what_is_counted_is_equal_or_off_by_the_last_unit() -> None:
    same = cells(only("cost", [cost_record()], [cost_record()]).table)
    assert same["params B − A"].value == same["GFLOP executed B − A"].value == "equal"
    one = only("cost", [cost_record()], [cost_record(figures={"parameters": 2_079_746})])
    assert cells(one.table)["params B − A"].value == 1
    assert "ames:dinov2 (parameters +1)" in one.summary


def test_a_figure_that_cannot_be_counted_gives_its_reason() -> None:
    uncounted = cost_record(figures={"gflops_executed": "OpenCV is seen by no counter"})
    row = cells(only("cost", [uncounted], [cost_record()]).table)
    assert row["GFLOP executed A"].notes == ("OpenCV is seen by no counter",)
    assert row["GFLOP executed B − A"].notes == ("A: OpenCV is seen by no counter",)


@pytest.mark.parametrize(
    ("spreads", "expected"),
    [((0.1, 0.3), WITHIN), ((0.3, 0.1), WITHIN), ((0.1, 0.1), OUTSIDE), (("x", 0.3), WITHIN), (("x", "x"), UNJUDGED)],
)
def test_a_ratio_is_held_against_the_larger_spread(spreads: tuple[float | str, float | str], expected: str) -> None:
    """A fifth more, or a sixth less seen from the other run: both are a ratio of 1.2."""
    first, second = timed(100.0, spreads[0]), timed(120.0, spreads[1])
    for found, ratio in ((judged(first, second), 1.2), (judged(second, first), 1 / 1.2)):
        if expected == WITHIN:
            assert found == Cell(WITHIN)
        else:
            assert found == Cell(pytest.approx(ratio), (f"{expected}; {ONLY_CHECK}",))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fingerprint": MACHINE_B}, "another machine"),
        ({"threads": 1}, "other threads"),
        ({"fingerprint": MACHINE_B, "threads": 1}, "another machine"),
    ],
)
def test_latencies_of_another_machine_or_other_threads_have_no_ratio(changes: dict[str, Any], reason: str) -> None:
    found = only("cost", [cost_record()], [cost_record(provenance=provenance(**changes))])
    row = cells(found.table)
    assert row["median B / A"] == Cell(None, (reason,))
    assert (row["median (ms) A"].value, row["median (ms) B"].value) == (612.25, 612.25)
    assert row["params B − A"].value == "equal"
    assert found.summary == f"no difference in 1 re-ranker; latencies not compared: {reason} (1)"


def test_a_latency_of_0_has_no_ratio() -> None:
    assert judged(timed(0.0), timed(1.0)).notes == ("a latency of 0 has no ratio",)


def test_a_run_of_two_machines_is_paired_machine_by_machine() -> None:
    there = {"provenance": provenance(fingerprint=MACHINE_B)}
    first, second = [timed(100.0), timed(10.0, **there)], [timed(20.0, **there), timed(200.0)]
    ratios = [row[12].value for row in only("cost", first, second).table.rows]
    assert ratios == [2.0, 2.0]


def test_a_failed_cost_cell_has_only_reasons() -> None:
    found = only("cost", [cost_record("rrt:gld")], [failed_cost_record("rrt:gld", "oom: killed")])
    row = cells(found.table)
    assert row["median B / A"].notes == row["scores"].notes == ("B: oom: killed",)
    assert found.summary == "nothing can be compared; latencies not compared: B: oom: killed (1)"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Cell("equal")),
        ({"scores_sha256": "1" * 64}, Cell("different")),
        ({"scores_sha256": "1" * 64, "provenance": provenance(versions={})}, Cell("different", (ROUNDING,))),
        ({"scores_sha256": "1" * 64, "provenance": provenance(threads=1)}, Cell("different", (ROUNDING,))),
        ({"provenance": provenance(seed=1)}, Cell(None, ("another seed",))),
        ({"scores_sha256": None}, Cell(None, ("B: no scores were kept",))),
    ],
)
def test_scores_are_equal_or_different_where_they_had_to_be_the_same(changes: dict[str, Any], expected: Cell) -> None:
    assert cells(only("cost", [cost_record()], [cost_record(**changes)]).table)["scores"] == expected


def test_other_scores_are_told_unless_rounding_explains_them() -> None:
    other = cost_record(scores_sha256="1" * 64)
    assert only("cost", [cost_record()], [other]).summary.endswith(": ames:dinov2 (scores)")
    elsewhere = cost_record(scores_sha256="1" * 64, provenance=provenance(fingerprint=MACHINE_B))
    assert only("cost", [cost_record()], [elsewhere]).summary.startswith("0 of 1 re-ranker differ")


def test_scores_of_other_weights_are_not_held_against_each_other() -> None:
    first, second = earned(BEFORE, weights="one", scores_sha256="1"), earned(AFTER, weights="two", scores_sha256="2")
    (row,) = parsed(sheet([first], [second], AB))
    assert row["scores"] == "" and "other weights" in json.loads(row["reasons"])


# Provenance


def test_only_what_differs_has_a_row() -> None:
    changed = provenance(commit="f" * 40, dirty=True, threads=4, versions={"python": "3.11.9", "numpy": "2"})
    table = only("provenance", [cost_record()], [cost_record(provenance=changed)]).table
    assert [values(table, row) for row in range(len(table.rows))] == [
        ["commit", "0123456789ab", "ffffffffffff+dirty", 1],
        ["threads", "2", "4", 1],
        ["version of torch", "2.13.0", "absent", 1],
        ["version of numpy", "absent", "2", 1],
    ]


def test_cells_that_swapped_their_threads_differ() -> None:
    one, two = provenance(threads=1), provenance(threads=2)
    first = [cost_record(provenance=one), cost_record("rrt:gld", provenance=two)]
    second = [cost_record(provenance=two), cost_record("rrt:gld", provenance=one)]
    found = only("provenance", first, second)
    assert values(found.table) == ["threads", "1 (1); 2 (1)", "1 (1); 2 (1)", 2]
    assert found.summary == "the runs differ in threads"


def test_runs_without_a_common_cell_still_tell_their_commits() -> None:
    second = [cost_record("rrt:gld", provenance=provenance(commit=None, dirty=None))]
    found = only("provenance", [cost_record()], second)
    assert values(found.table) == ["commit", "0123456789ab", "no git checkout", 0]
    assert found.table.columns[-1].title == "cells that differ, of 0 in both"


# Both runs


def test_identical_runs_show_no_difference_anywhere() -> None:
    records = [one for one in comparison() if one.status == "ok"]
    found = comparisons(records, records, AB)
    assert len(found) == 3
    assert all(one.summary.startswith(NO_DIFFERENCE) for one in found)
    assert not found[0].table.rows
    rows = parsed(sheet(records, records, AB))
    assert {row["difference"] for row in rows} <= {"0.0", "0", ""}
    assert {row["ratio"] for row in rows} == {"1.0", ""}
    assert {row["judgement"] for row in rows} == {NO_DIFFERENCE, ""}
    assert {(row["better"], row["worse"]) for row in rows} == {("0", "0"), ("", "")}


def test_every_empty_cell_of_the_sheet_has_its_reason() -> None:
    first, second = comparison(), comparison()[1:-2]
    rows = parsed(sheet(first, second, AB))
    assert len({row["figure"] for row in rows}) == 8
    for row in rows:
        told = [title for titles in json.loads(row["reasons"]).values() for title in titles]
        assert sorted(told) == sorted(title for title, text in row.items() if text == "" and title != "notes")


def test_the_sheet_keeps_every_digit() -> None:
    third = 1 / 3
    rows = parsed(sheet([earned([0.0, 0.0, 0.0]), timed(3.0)], [earned([third] * 3), timed(1.0)], AB))
    found = {row["figure"]: row for row in rows}
    assert float(found["map_medium"]["difference"]) == third
    assert float(found["latency_median_ms"]["ratio"]) == third
    assert found["latency_median_ms"]["judgement"] == OUTSIDE
    assert (found["map_medium"]["run_first"], found["map_medium"]["run_second"]) == AB


def test_two_runs_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'A'"):
        comparisons([], [], ("A", "A"))


def test_runs_without_records_make_no_tables() -> None:
    (found,) = comparisons([], [], AB)
    assert not found.table.rows and not sheet([], [], AB).rows


fractions = st.floats(0, 1).map(lambda value: round(value, 3))
latencies = st.floats(0.01, 1e4)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(fractions, fractions), min_size=2, max_size=8),
    st.tuples(latencies, latencies),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)),
)
def test_swapping_the_runs_negates_differences_and_inverts_ratios(
    ap: list[tuple[float, float]],
    medians: tuple[float, float],
    spreads: tuple[float, float],
    parameters: tuple[int, int],
) -> None:
    runs = [
        [
            earned([pair[side] for pair in ap]),
            timed(medians[side], spreads[side]),
            cost_record("rrt:gld", figures={"parameters": parameters[side]}),
        ]
        for side in (0, 1)
    ]
    forth, back = (parsed(sheet(*pair, AB)) for pair in (runs, runs[::-1]))

    def number(row: dict[str, str], name: str) -> float | None:
        return float(row[name]) if row[name] else None

    for one, other in zip(forth, back, strict=True):
        assert (one["first"], one["second"]) == (other["second"], other["first"])
        assert one["judgement"] == other["judgement"] and one["scores"] == other["scores"]
        assert (one["better"], one["worse"], one["equal"]) == (other["worse"], other["better"], other["equal"])
        if (difference := number(one, "difference")) is not None:
            assert difference == -float(other["difference"])
        if (ratio := number(one, "ratio")) is not None:
            assert ratio * float(other["ratio"]) == pytest.approx(1)
        if one["p_value"]:
            assert one["p_value"] == other["p_value"]
            assert float(one["low"]) == pytest.approx(-float(other["high"]), abs=1e-12)

    def lines(first: list[Record], second: list[Record]) -> list[tuple[str, list[Any]]]:
        found = comparisons(first, second, AB)
        return [(one.summary.split(":")[0], names(one.table)) for one in found]

    assert lines(runs[0], runs[1]) == lines(runs[1], runs[0])
