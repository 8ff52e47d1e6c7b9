"""The file of published values, and which of them stand beside which record."""

from __future__ import annotations

import pytest

from bench.reporting.published import (
    COUNTS,
    DATASETS,
    METHODS,
    PRINTED,
    Published,
    beside_accuracy,
    latencies_beside,
    method_of,
    of_dataset,
    parameters_beside,
    published,
)
from rerankers import names, variants
from rerankers.registry import parse
from tests.bench.reporting.examples import accuracy_record, cost_record

ROWS = 451
UNITS = {
    "%",
    "points",
    "M",
    "K",
    "count",
    "dim",
    "tokens",
    "px",
    "ms",
    "us/pair",
    "s/query",
    "hours",
    "GB",
    "x",
    "runs",
}
TABLE_B = "LOCORE supplementary (CVPR 2025, arXiv 2503.21772) Table B"
TABLE_D = "LOCORE supplementary (CVPR 2025, arXiv 2503.21772) Table D"


def beside(reranker: str, dataset: str, figure: str) -> list[tuple[str, str]]:
    """(value, setting) beside a figure, as they are printed."""
    record = accuracy_record(reranker, dataset=dataset)
    return [(row.value, row.setting) for name, row in beside_accuracy(record) if name == figure]


def one(**wanted: str) -> Published:
    (row,) = [row for row in published() if all(getattr(row, name) == text for name, text in wanted.items())]
    return row


def test_the_file_keeps_its_rules() -> None:
    rows = published()
    assert len(rows) == len(set(rows)) == ROWS
    for row in rows:
        assert row.method and row.metric and row.source, row
        assert row.unit in UNITS or row.metric in {"lambda", "temp", "iterations"} or row.number is None, row
        assert "UNCERTAIN" not in row.source and "CONFLICT" not in row.source, row
        assert all(text == text.strip() for text in vars(row).values()), row


def test_every_value_is_a_number_except_three() -> None:
    assert sorted(row.value for row in published() if row.number is None) == ["10/10", "N/A", "N/A"]


@pytest.mark.parametrize(
    ("source", "rows"),
    [("Table A", 21), ("Table B", 126), ("Table C", 12), ("Table D", 18)],
)
def test_the_supplement_is_whole(source: str, rows: int) -> None:
    assert sum(f"2503.21772) {source}" in row.source for row in published()) == rows


def test_values_are_as_printed() -> None:
    base = {"method": "LOCORE", "dataset": "ROxf+1M", "source": TABLE_B}
    assert one(**base, variant="global=SuperGlobal;local=DINOv2;base", protocol="Hard*").value == "73.2"
    assert one(method="LOCORE", variant="tiny", metric="Number of Parameters").number == 19.4
    assert one(method="RRT", variant="r101_gldv2_log", protocol="Medium").value == "79.888"
    assert one(method="LOCORE", variant="Mamba", metric="mAP@R").value == "66.4"


def test_a_doubtful_value_says_why() -> None:
    row = one(
        method="AMES*",
        dataset="RPar+1M",
        protocol="Hard",
        variant="global=DINOv2;local=DINOv2;* = trained with hidden size 768",
    )
    assert row.value == "64.7" and row.uncertain.startswith('merged cell split by OCR as "64 | 1.7"')
    assert sum("split by OCR" in row.uncertain for row in published()) == 6


def test_nothing_is_printed_twice_by_one_source_for_one_setting() -> None:
    places = [(dataset, figure, row.setting, row.source) for dataset in DATASETS for figure, row in of_dataset(dataset)]
    assert len(places) == len(set(places)) > 300


def test_the_tables_name_what_there_is() -> None:
    assert {row.dataset for row in published()} > set(DATASETS.values())
    methods = {row.method for row in published()}
    assert {method[0] for method in METHODS.values()} <= methods
    settings = {part for row in published() for part in row.variant.split(";")}
    assert {word for method in METHODS.values() for word in method[1:]} <= settings
    assert all(measure.metric in {row.metric for row in published()} for measure in PRINTED.values())


def test_every_re_ranker_has_its_place_or_is_of_this_project() -> None:
    for name in METHODS:
        assert str(parse(name)).startswith(name)
    ours = ("micro", "rootsift", "small-400")
    strangers = {"chamfer:dinov2", "elvis:dinov3", "elvis:siglip2"}
    for family in ("none", "ransac", "sg-rerank", "chamfer", "ames", "rrt", "r2former", "cvnet", "elvis", "locore"):
        assert family in names()
        for variant in variants(family):
            name = f"{family}:{variant}"
            assert (name in METHODS) != (name in strangers or any(word in variant for word in ours)), name


def test_locore_finds_table_b_and_its_own_row_of_table_c() -> None:
    assert beside("locore:base", "roxford5k+1m", "map_hard_star") == [
        ("64.9", "LOCORE: global=SuperGlobal; local=CVNet; base; re-rank top-400"),
        ("73.2", "LOCORE: global=SuperGlobal; local=DINOv2; base; re-rank top-400"),
        ("52.5", "LOCORE: global=DINOv2; local=DINOv2; base; re-rank top-400"),
        ("73.2", "LOCORE: base; global=SuperGlobal; local=DINOv2; L=50; K=100; N=400 candidates"),
    ]
    found = [value for value, setting in beside("locore:base-25x200", "roxford5k+1m", "map_medium") if "L=" in setting]
    assert found == ["84.5"]


def test_sizes_do_not_stand_beside_one_another() -> None:
    def by_table_d(name: str) -> list[str]:
        rows = beside_accuracy(accuracy_record(name, dataset="sop"))
        return [row.value for figure, row in rows if figure == "map_at_r_locore" and row.source == TABLE_D]

    assert [by_table_d(f"locore:{size}") for size in ("tiny", "small", "base", "rwkv", "mamba")] == [
        ["68.0"],
        ["69.4"],
        ["71.0"],
        ["66.7"],
        ["66.4"],
    ]


def test_ablated_networks_and_other_definitions_stand_beside_nothing() -> None:
    record = accuracy_record("locore:tiny", dataset="sop")
    assert not any("w/o" in row.variant for _, row in beside_accuracy(record))
    assert "map_at_r" not in PRINTED


def test_other_descriptors_and_other_people_are_all_shown() -> None:
    found = beside("rrt:gld", "roxford5k", "map_hard")
    assert [value for value, _ in found] == ["56.4", "60.2", "62.5", "64.1", "57.05", "64.087"]
    assert len({setting for _, setting in found}) == 6


def test_a_network_finds_its_own_checkpoint() -> None:
    assert [value for value, _ in beside("ames:dinov2+blend=0.55/0.3", "roxford5k", "map_medium")] == ["92.7", "87.731"]
    assert [value for value, _ in beside("ames:cvnet-binarized", "roxford5k", "map_medium")] == ["88.8"]
    assert [value for value, _ in beside("ames:768", "rparis6k+1m", "map_hard")] == ["74.3", "64.7"]


def test_blends_and_windows_are_of_the_same_method() -> None:
    plain = beside("locore:base", "rparis6k+1m", "map_hard")
    assert plain and beside("locore:base+blend=0.5/0.1+slide=400/100/50", "rparis6k+1m", "map_hard") == plain


def test_a_chain_is_a_method_of_its_own() -> None:
    chain = "sg-rerank:default+then+locore:base+slide=400/100/50"
    assert [value for value, _ in beside(chain, "roxford5k+1m", "map_hard_star")] == ["65.6", "73.7", "48.7"]
    assert beside_accuracy(accuracy_record("sg-rerank:default+then+locore:tiny", dataset="roxford5k+1m")) == []
    assert beside_accuracy(accuracy_record("locore:base+then+sg-rerank:default", dataset="roxford5k+1m")) == []
    assert method_of("sg-rerank:default+then+locore:micro") is None


@pytest.mark.parametrize("name", ["none", "none:first-stage"])
def test_the_first_stage_finds_global_descriptors(name: str) -> None:
    found = beside(name, "rparis6k+1m", "map_hard_star")
    assert [value for value, _ in found] == ["69.1", "68.4", "58.9"]


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("none:first-stage", "facades"),
        ("locore:base", "facades+1m"),
        ("none:first-stage", "gldv2"),
        ("locore:micro", "roxford5k"),
        ("rrt:rootsift", "roxford5k"),
        ("elvis:dinov2", "roxford5k"),
        ("another:family", "sop"),
    ],
)
def test_nothing_is_made_up(name: str, dataset: str) -> None:
    assert beside_accuracy(accuracy_record(name, dataset=dataset)) == []


def test_a_re_ranker_that_was_told_what_to_read_is_no_published_one() -> None:
    assert beside_accuracy(accuracy_record("locore:base", dataset="roxford5k", read=24)) == []


def test_parameters_are_counts() -> None:
    def parameters(name: str) -> list[float]:
        return [count for count, _ in parameters_beside(cost_record(name))]

    assert parameters("locore:base-1024") == [pytest.approx(111.8e6)]
    assert parameters("rrt:gld") == [2_232_000]
    assert parameters("ames:768") == parameters("locore:micro") == parameters("none:first-stage") == []
    assert set(COUNTS) == {"M", "K"}


def test_latencies_are_of_as_many_candidates() -> None:
    def latencies(name: str, candidates: int) -> list[float]:
        return [ms for ms, _ in latencies_beside(cost_record(name, candidates=candidates))]

    assert latencies("locore:small", 100) == [24.7]
    assert latencies("locore:small", 400) == []
    assert latencies("rrt:gld", 100) == [74.4, pytest.approx(65.6)]
    assert latencies("elvis:dinov2", 400) == [pytest.approx(40.4)]
    assert latencies("ransac:affine", 100) == []


def test_records_of_other_kinds_have_nothing_beside_them() -> None:
    assert beside_accuracy(cost_record("locore:base")) == []
    assert list(parameters_beside(accuracy_record("locore:base", dataset="roxford5k"))) == []
