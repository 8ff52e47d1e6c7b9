"""The cost tables."""

from __future__ import annotations

import csv
import io
import json

import pytest

from bench.reporting import cost, cost_table
from tests.bench.reporting.examples import (
    MACHINE_A,
    MACHINE_B,
    NO_CUDA,
    comparison,
    cost_record,
    failed_cost_record,
    provenance,
)
from tests.bench.reporting.test_tables import check_latex


def rows_of(markdown: str) -> list[list[str]]:
    """The cells of the first table of a page, without its heading."""
    lines = [line for line in markdown.split("\n\n")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_a_row_is_known_to_the_letter() -> None:
    (row,) = rows_of(cost_table([cost_record()]).markdown())
    assert row == [
        "ames:dinov2¹",
        "600 x 50 locals of 768",
        "cpu",
        "float32",
        "2.08",
        "46.9",
        "35.9",
        "3",
        "616 ± 14",
        "612",
        "640",
        "1,204",
        "0.0761",
        "42.50",
        "447",
        "product",
        "504",
        "204",
        "–²",
        "no",
        "0123456",
    ]


def test_footnotes_give_the_notes_and_the_reasons() -> None:
    text = cost_table([cost_record(), failed_cost_record("rrt:gld", "oom: killed at 23.1 GiB")]).markdown()
    assert "- ¹ random weights, seed 0\n- ² no CUDA device\n- ³ oom: killed at 23.1 GiB\n" in text
    assert rows_of(text)[1][4:20] == ["–³"] * 16


def test_the_caption_says_how_many_candidates() -> None:
    assert "One query and 50 candidates." in cost_table([cost_record(candidates=50)]).markdown()


def test_machines_threads_and_candidates_never_share_a_table() -> None:
    records = [
        cost_record("a"),
        cost_record("b", provenance=provenance(fingerprint=MACHINE_B)),
        cost_record("c", provenance=provenance(threads=1)),
        cost_record("d", candidates=50),
        cost_record("e"),
    ]
    found = {
        (one.fingerprint, one.threads, one.candidates): [row.key.reranker for row in one.records]
        for one in cost.sections(records)
    }
    assert found == {
        (MACHINE_A, 2, 100): ["a", "e"],
        (MACHINE_A, 2, 50): ["d"],
        (MACHINE_A, 1, 100): ["c"],
        (MACHINE_B, 2, 100): ["b"],
    }
    with pytest.raises(ValueError, match="not of 4 kinds"):
        cost_table(records)


def test_section_titles_name_the_machine() -> None:
    titles = [one.title for one in cost.sections(comparison())]
    assert titles == [
        "Cost per 100 candidates: Example CPU, machine aaaaaaaaaaaa, 2 threads",
        "Cost per 100 candidates: Other CPU, machine bbbbbbbbbbbb, 16 threads",
    ]


def test_no_reranking_comes_first_and_order_of_records_does_not_matter() -> None:
    records = [cost_record("ames"), cost_record("none:first-stage"), cost_record("ames", dtype="bfloat16")]
    (section,) = cost.sections(records)
    assert [one.key.reranker for one in section.records] == ["none:first-stage", "ames", "ames"]
    assert cost_table(records[::-1]) == cost_table(records)


def test_commits_stand_in_the_row() -> None:
    other = cost_record("b", provenance=provenance(commit="f" * 40, dirty=True))
    assert [row[-1] for row in rows_of(cost_table([cost_record("a"), other]).markdown())] == [
        "0123456",
        "fffffff+dirty",
    ]


def test_latency_in_detail() -> None:
    (section,) = cost.sections([cost_record()])
    (row,) = rows_of(cost.latency_table(section).markdown())
    assert row[4:] == ["3", "1,204", "601", "612", "616", "13.7", "640", "–²", "3", "8.30", "31.5", "0.00", "–³"]


def test_the_roofline_says_what_binds_and_how_far_off_the_latency_is() -> None:
    fast = {"roofline_compute_ms": 2.0, "roofline_memory_ms": 306.125}
    (section,) = cost.sections([cost_record(), cost_record("b", figures=fast), failed_cost_record("c", "oom")])
    rows = rows_of(cost.roofline_table(section).markdown())
    assert [row[-2:] for row in rows] == [["product", "2.34"], ["memory", "2.00"], ["–²", "–²"]]


def test_pairs_have_a_table_only_where_a_re_ranker_stops_early() -> None:
    (section,) = cost.sections([cost_record()])
    assert cost.pairs_table(section) is None
    early = {"pairs_p50_ms": 0.7, "pairs_p95_ms": 1.9, "queries_p50_ms": 75.0, "queries_p95_ms": 81.0}
    (section,) = cost.sections([cost_record(), cost_record("ransac:affine", figures=early)])
    (row,) = rows_of(cost.pairs_table(section).markdown())
    assert row[4:] == ["0.700", "1.90", "75.0", "81.0"]


def test_more_than_the_peak_says_how_that_can_be() -> None:
    assert cost.BEYOND not in cost_table([cost_record(figures={"fraction_of_peak": 0.99})]).markdown()
    assert cost.BEYOND in cost_table([cost_record(figures={"fraction_of_peak": 1.3})]).markdown()


def test_the_share_of_the_harness_is_said_over_all_cells() -> None:
    text = cost_table([cost_record(), cost_record("b", figures={"calls_s": 79.0, "harness_s": 1.0})]).markdown()
    assert "The harness took 2.00 % of the time of these 2 cells" in text and "In no cell over 10%." in text
    short = cost_table([cost_record(), cost_record("b", figures={"calls_s": 0.04, "harness_s": 0.26})]).markdown()
    assert "Over 10% of a cell, its calls being short: b (0.3 s beside 0.0 s of calls)." in short


def test_counts_on_some_candidates_are_said_to_be_such() -> None:
    part = "counted on 10 candidates only: the witnesses agree"
    quick = {"gflops_dispatcher": part, "gflops_deepspeed": part}
    text = cost_table([cost_record(figures=quick)]).markdown()
    assert rows_of(text)[0][7].startswith("1") and part in text


def test_witnesses_and_how_far_they_lie_apart() -> None:
    (section,) = cost.sections([cost_record(), cost_record("x", figures={"gflops_deepspeed": "it crashed"})])
    both, crashed = rows_of(cost.flops_table(section).markdown())
    assert both[4:] == ["46.9", "35.9", "46.9", "46.8", "47.0", "0.43"]  # (47.0 - 46.8) / 47.0
    assert crashed[7:] == ["46.8", "–²", "0.21"]  # (46.9 - 46.8) / 46.9


def test_one_witness_agrees_with_nobody() -> None:
    lone = cost_record(figures={"gflops_deepspeed": "a", "gflops_closed_form": "b"})
    none = cost_record("none:first-stage", figures=dict.fromkeys(cost.FIGURES, 0))
    (section,) = cost.sections([lone, none])
    first, second = rows_of(cost.flops_table(section).markdown())
    assert first[4:] == ["0", "0", "0", "0", "0", "0.00"]
    assert second[-1].startswith("–")
    assert "fewer than two witnesses" in cost.flops_table(section).markdown()


def test_memory_in_detail() -> None:
    (section,) = cost.sections([cost_record()])
    (row,) = rows_of(cost.memory_table(section).markdown())
    assert row[4:] == ["300", "504", "204", "200", "4.00", "–²", "–²", "–²"]


def test_the_sheet_reads_back_in_full_precision() -> None:
    records = comparison()
    rows = list(csv.DictReader(io.StringIO(cost.sheet(records).csv())))
    assert len(rows) == sum(record.key.kind == "cost" for record in records) == 5
    ames = next(row for row in rows if row["dtype"] == "bfloat16")
    assert float(ames["latency_mean_ms"]) == 616.4
    assert int(ames["parameters"]) == 2_079_745
    assert ames["device_allocated_bytes"] == ""
    reasons = json.loads(ames["reasons"])
    assert reasons[NO_CUDA] == ["device_allocated_bytes", "device_reserved_bytes", "device_driver_bytes"]
    assert reasons["a CPU call is timed whole"] == ["launch_gap_ms"]
    assert (ames["commit"], ames["dirty"], ames["threads"]) == ("f" * 40, "true", "2")
    failed = next(row for row in rows if row["reranker"] == "rrt:gld")
    assert failed["status"] == "failed"
    assert set(cost.FIGURES) < set(json.loads(failed["reasons"])["oom: killed at 23.1 GiB"])


def test_a_figure_that_is_new_to_us_reaches_the_sheet() -> None:
    (row,) = csv.DictReader(io.StringIO(cost.sheet([cost_record(figures={"energy_j": 3.5})]).csv()))
    assert row["energy_j"] == "3.5"


def test_the_lowest_cost_is_bold_and_no_re_ranking_is_no_match() -> None:
    cheap = cost_record("cheap", figures={"gflops_executed": 1.5, "latency_mean_ms": 20.0, "latency_std_ms": 0.34})
    free = cost_record("none:first-stage", figures={"gflops_executed": 0, "latency_mean_ms": 0.01})
    first, _, third = rows_of(cost_table([cost_record(), cheap, free]).markdown())
    assert (first[5], first[8]) == ("0", "0 ± 14")
    assert (third[5], third[8], third[16]) == ("**1.50**", "**20.00 ± 0.34**", "**504**")


def test_papers_get_parameters_flops_latency_and_memory() -> None:
    cheap = cost_record("ames:dinov2", dtype="bfloat16", figures={"latency_mean_ms": 20.0, "latency_std_ms": 0.34})
    (section,) = cost.sections([cost_record(), cheap, failed_cost_record("rrt:gld", "oom")])
    table = cost.paper_table(section)
    titles = ["re-ranker", "params (M)", "GFLOP", "latency (ms)", "peak memory (MiB)"]
    assert [column.title for column in table.columns] == titles
    text = table.latex("tab:x")
    assert check_latex(text) == 1
    assert "ames:dinov2 [cpu, bfloat16, 600 x 50 locals of 768]" in text
    assert "$\\mathbf{20.00 \\pm 0.34}$" in text and "\\underline{$616 \\pm 14$}" in text
    assert "machine aaaaaaaaaaaa, 2 threads" in table.caption
