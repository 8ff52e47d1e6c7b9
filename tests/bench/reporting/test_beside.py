"""Published values beside measured ones, as tables."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from bench.reporting.beside import accuracy_beside, cost_beside, paper_table, published_table, sheet
from bench.results import Figure, Record
from tests.bench.reporting.examples import accuracy_record, comparison, cost_record, failed_cost_record
from tests.bench.reporting.test_cost import rows_of
from tests.bench.reporting.test_tables import check_latex

MEASURED: dict[str, list[float | None]] = {
    "easy": [0.9, 0.8],
    "medium": [0.8, 0.7],
    "hard": [0.6, 0.5],
    "hard_star": [0.7, 0.6],
}
TABLE_B = "LOCORE supplementary (CVPR 2025, arXiv 2503.21772) Table B"


def measured(reranker: str, dataset: str = "roxford5k+1m", **changes: Any) -> Record:
    return accuracy_record(reranker, MEASURED, dataset=dataset, **changes)


def rows(records: list[Record]) -> list[list[str]]:
    table = accuracy_beside(records)
    assert table is not None
    return rows_of(table.markdown())


def test_a_row_is_known_to_the_letter() -> None:
    found = rows([measured("sg-rerank:default+then+locore:base")])
    assert len(found) == 9
    setting = "SG-Rerank + LOCORE: global=SuperGlobal; local=DINOv2; base; SG first then LOCORE; re-rank top-400"
    name = "sg-rerank:default+then+locore:base"
    assert found[-2] == [name, "mAP hard*", "65.00", "73.7", "-8.70", setting, TABLE_B]


def test_the_caption_names_both_sides() -> None:
    table = accuracy_beside([measured("locore:base"), measured("none:first-stage", shortlist=100)])
    assert table is not None
    assert "measured minus published" in table.caption and "of the setting named in its row" in table.caption
    here = "roxford5k+1m, RootSIFT-500 + VLAD-256, shortlist of 400, junk behind or RootSIFT-500 + VLAD-256, "
    assert f"Measured: {here}shortlist of 100, junk behind." in table.caption


def test_a_doubtful_value_has_a_footnote() -> None:
    table = accuracy_beside([measured("none:first-stage")])
    assert table is not None and "61.9¹ |" in table.markdown()
    assert '- ¹ uncertain: merged cell split by OCR as "6 \\| 1.9"; read as 61.9 by sense' in table.markdown()


def test_what_is_not_measured_is_a_dash_with_its_reason() -> None:
    (row, *_) = rows([accuracy_record("locore:base", dataset="roxford5k+1m")])
    assert row[2:5] == ["–¹", "81.9", "–¹"]
    table = accuracy_beside([accuracy_record("locore:base", dataset="roxford5k+1m")])
    assert table is not None and "- ¹ timeout: not done after 3,600 s\n" in table.markdown()


def test_random_weights_are_compared_with_nothing() -> None:
    (row, *_) = rows([measured("locore:base", weights="random")])
    assert row[0] == "locore:base (random weights)" and row[2:5] == ["75.00", "81.9", "–¹"]


def test_a_value_that_is_not_printed_is_a_dash() -> None:
    found = [row for row in rows([measured("sg-rerank:default")]) if row[1] == "mAP hard*"]
    assert found[0][2:5] == ["65.00", "–¹", "–¹"] and found[1][2:5] == ["65.00", "63.9", "+1.10"]


def test_class_based_figures_of_locore_only() -> None:
    figures = {"recall_at_1": Figure(value=0.84), "map_at_r": Figure(value=0.5), "map_at_r_locore": Figure(value=0.72)}
    record = measured("locore:mamba", "sop").model_copy(update={"figures": figures})
    by_measure = {row[1]: row[2:5] for row in rows([record]) if "Table D" in row[6]}
    assert by_measure["R@1"] == ["84.00", "80.6", "+3.40"]
    assert by_measure["mAP@R as LOCORE sums it"] == ["72.00", "66.4", "+5.60"]
    assert by_measure["R@10"][0].startswith("–")


def test_nothing_published_no_table() -> None:
    assert accuracy_beside(comparison()) is None
    assert accuracy_beside([]) is None
    assert cost_beside([cost_record("locore:micro"), cost_record("none:first-stage")]) is None
    assert published_table("facades") is None and published_table("gldv2") is None


def test_two_data_sets_do_not_share_a_table() -> None:
    with pytest.raises(ValueError, match="one data set"):
        accuracy_beside([measured("none:first-stage"), measured("none:first-stage", "roxford5k")])


def test_costs_are_known_to_the_letter() -> None:
    table = cost_beside([cost_record("rrt:gld"), cost_record("locore:base", figures={"parameters": 110_257_154})])
    assert table is not None
    found = [row[:7] for row in rows_of(table.markdown())]
    a100 = "NVIDIA A100, DeepSpeed profiler, 10 warm-up + 10 runs"
    latency = "latency (ms per 100 candidates)"
    assert found == [
        ["rrt:gld", "cpu", "parameters (M)", "2.08", "2.23¹", "-6.82", "RRT: complexity"],
        ["rrt:gld", "cpu", latency, "616", "74.4", "–²", f"RRT: performance benchmark (Sec. 4.3); {a100}"],
        ["rrt:gld", "cpu", latency, "616", "65.6³", "–²", "RRT: complexity; hardware not stated"],
        ["locore:base", "cpu", "parameters (M)", "110", "111.8", "-1.38", "LOCORE: base; architecture"],
    ]
    for note in ("- ¹ printed as 2232 K", "- ² measured on another machine", "- ³ printed as 656 us/pair"):
        assert f"{note}\n" in table.markdown()


def test_a_failed_cost_cell_gives_its_reason() -> None:
    table = cost_beside([failed_cost_record("rrt:gld", "oom: killed at 23.1 GiB")])
    assert table is not None
    assert [row[3] for row in rows_of(table.markdown())] == ["–¹", "–¹", "–¹"]
    assert "- ¹ oom: killed at 23.1 GiB\n" in table.markdown()


def test_a_printed_table_has_what_was_measured_below_its_method() -> None:
    records = [measured("locore:base"), measured("locore:micro"), measured("none:first-stage", "roxford5k")]
    table = published_table("roxford5k+1m", records)
    assert table is not None
    titles = [column.title for column in table.columns]
    assert titles == ["method", "mAP easy", "mAP medium", "mAP hard", "mAP hard*", "source"]
    lines = rows_of(table.markdown())
    names = [line[0] for line in lines]
    ours = "locore:base: roxford5k+1m, RootSIFT-500 + VLAD-256, shortlist of 400, junk behind"
    assert lines[names.index(ours)] == [ours, "85.00", "75.00", "55.00", "65.00", "measured here"]
    assert names[names.index(ours) - 1].startswith("LOCORE: ")
    assert names[names.index(ours) + 1].startswith("SG-Rerank + LOCORE: ")
    assert names[-1].startswith("locore:micro: ")
    assert sum(line[-1] == "measured here" for line in lines) == 2


def test_a_printed_line_holds_all_its_measures() -> None:
    table = published_table("roxford5k+1m")
    assert table is not None
    (line,) = [
        line
        for line in rows_of(table.markdown())
        if line[0] == "LOCORE: global=SuperGlobal; local=DINOv2; base; re-rank top-400"
    ]
    assert line == [line[0], "–¹", "85.8", "75.8", "73.2", TABLE_B]


def test_the_sheet_reads_back_in_full_precision() -> None:
    record = measured("none:first-stage")
    found = list(csv.DictReader(io.StringIO(sheet([record, *comparison()]).csv())))
    assert len(found) == 24 and {row["reranker"] for row in found} == {"none:first-stage"}
    (row,) = [row for row in found if row["figure"] == "map_hard_star" and "dagger" in row["variant"]]
    assert (row["published_percent"], row["dataset"], row["protocol"]) == ("61.9", "roxford5k+1m", "Hard*")
    value = record.figures["map_hard_star"].value
    assert value is not None
    assert float(row["measured_percent"]) == pytest.approx(100 * value, abs=1e-12)
    assert float(row["difference_points"]) == float(row["measured_percent"]) - 61.9
    assert row["source"] == TABLE_B and row["uncertain"].endswith("read as 61.9 by sense")


def test_the_sheet_says_why_a_difference_is_missing() -> None:
    (row, *_) = csv.DictReader(io.StringIO(sheet([accuracy_record("locore:base", dataset="roxford5k")]).csv()))
    assert row["difference_points"] == row["measured_percent"] == "" and row["published_percent"] == "92.0"
    assert "difference_points" in json.loads(row["reasons"])["timeout: not done after 3,600 s"]


def test_the_best_of_a_printed_table_is_bold_unless_its_weights_are_random() -> None:
    random = accuracy_record(
        "locore:base", {name: [1.0, 1.0] for name in MEASURED}, dataset="roxford5k+1m", weights="random"
    )
    table = published_table("roxford5k+1m", [random, measured("none:first-stage")])
    assert table is not None
    lines = {row[0]: row for row in rows_of(table.markdown())}
    ours = next(row for name, row in lines.items() if name.startswith("locore:base (random weights)"))
    assert ours[1] == "100.00" and any("**" in row[2] for row in lines.values())


def test_papers_have_settings_and_sources_as_footnotes() -> None:
    record = measured("sg-rerank:default+then+locore:base")
    tables = [
        accuracy_beside([record]),
        published_table("roxford5k+1m", [record]),
        cost_beside([cost_record("rrt:gld")]),
    ]
    for table in tables:
        assert table is not None
        narrow = paper_table(table)
        assert not {"source", "published setting"} & {column.title for column in narrow.columns}
        assert check_latex(narrow.latex("tab:x")) == 1
    assert tables[0] is not None and TABLE_B in paper_table(tables[0]).markdown()
