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
        "616 ± 14",
        "612",
        "76.1",
        "42.50",
        "504",
        "204",
        "–²",
        "0123456",
    ]


def test_footnotes_give_the_notes_and_the_reasons() -> None:
    text = cost_table([cost_record(), failed_cost_record("rrt:gld", "oom: killed at 23.1 GiB")]).markdown()
    assert "- ¹ random weights, seed 0\n- ² no CUDA device\n- ³ oom: killed at 23.1 GiB\n" in text
    assert rows_of(text)[1][4:14] == ["–³"] * 10


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
    assert row[4:] == ["3", "1,204", "601", "612", "616", "13.7", "640"]


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
    assert row[4:] == ["300", "504", "204", "200", "4.00", "–²", "–²"]


def test_the_sheet_reads_back_in_full_precision() -> None:
    records = comparison()
    rows = list(csv.DictReader(io.StringIO(cost.sheet(records).csv())))
    assert len(rows) == sum(record.key.kind == "cost" for record in records) == 5
    ames = next(row for row in rows if row["dtype"] == "bfloat16")
    assert float(ames["latency_mean_ms"]) == 616.4
    assert int(ames["parameters"]) == 2_079_745
    assert ames["device_allocated_bytes"] == ""
    assert json.loads(ames["reasons"]) == {NO_CUDA: ["device_allocated_bytes", "device_reserved_bytes"]}
    assert (ames["commit"], ames["dirty"], ames["threads"]) == ("f" * 40, "true", "2")
    failed = next(row for row in rows if row["reranker"] == "rrt:gld")
    assert failed["status"] == "failed"
    assert set(cost.FIGURES) < set(json.loads(failed["reasons"])["oom: killed at 23.1 GiB"])


def test_a_figure_that_is_new_to_us_reaches_the_sheet() -> None:
    (row,) = csv.DictReader(io.StringIO(cost.sheet([cost_record(figures={"energy_j": 3.5})]).csv()))
    assert row["energy_j"] == "3.5"
