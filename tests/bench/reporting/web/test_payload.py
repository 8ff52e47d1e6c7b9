"""What the page is told, held against what the tables say."""

from __future__ import annotations

import json

import pytest

from bench.reporting import accuracy
from bench.reporting.comparing import Comparison, comparisons
from bench.reporting.numbers import stars
from bench.reporting.tables import Cell, Column, Table, missing
from bench.reporting.web import Pictures, comparison_payload, payload, shown_images, thumbnails
from bench.results import ResultStore
from tests.bench.reporting.examples import comparison, provenance
from tests.bench.reporting.web.made_up import report


def test_every_record_is_there_with_all_its_figures_and_the_way_to_its_file() -> None:
    records = comparison()
    found = payload(records, {}, "evidence")
    for record, told in zip(records, found["records"], strict=True):
        assert told["figures"] | told["reasons"] == {
            name: one.reason if one.value is None else one.value for name, one in record.figures.items()
        }
        assert told["file"].removeprefix("evidence/") == ResultStore("").path(record.key).name
        where = found["provenances"][told["where"]]
        assert where["commit"] == record.provenance.commit and where["versions"] == record.provenance.versions
    assert len(found["provenances"]) == 3
    json.dumps(found, allow_nan=False)


def test_surroundings_that_differ_in_a_version_only_are_two() -> None:
    one = report(methods=0)[0]
    other = one.model_copy(update={"provenance": provenance(versions={"torch": "9"})})
    assert len(payload([one, other], {}, "")["provenances"]) == 2


def test_gains_are_those_of_the_tables() -> None:
    records = report(methods=3)
    (group,) = accuracy.groups(records)
    (told,) = payload(records, {}, "")["groups"]
    assert [row["name"] for row in told["rows"]][-1] == "zz-untrained:default (random weights)"
    for number, row in enumerate(told["rows"]):
        for measure in ("medium", "hard"):
            gain = group.gains[number, measure]
            if not isinstance(gain, str):
                mark = stars(group.corrected[number, measure])
                gain = {"mean": gain.mean, "low": gain.low, "high": gain.high, "p": gain.p_value, "mark": mark}
            assert row["gains"][measure] == gain


def test_values_of_queries_are_rounded_and_gaps_stay_gaps() -> None:
    records = [record for record in comparison() if record.key.kind == "accuracy"]
    (told,) = payload(records, {}, "")["groups"]
    values = told["rows"][0]["values"]["hard"]
    exact = records[0].series["ap_hard"]
    assert values[3] is None and len(values) == len(exact)
    assert [one for one in values if one is not None] == pytest.approx(
        [one for one in exact if one is not None], rel=1e-4
    )


def test_a_group_without_images_or_lists_says_why() -> None:
    records = comparison()
    sha256 = "e" * 64
    (told,) = payload(records, {sha256: Pictures(why="they are elsewhere")}, "")["groups"]
    assert told["no_pictures"] == "they are elsewhere" and "before the heads of lists were kept" in told["no_lists"]


def test_an_image_of_two_data_sets_is_kept_once() -> None:
    found = thumbnails(
        {
            "a": Pictures(queries=[b"q"], gallery={7: b"x"}),
            "b": Pictures(queries=[b"q"], gallery={1: b"x", 2: b"y"}),
            "c": Pictures(why="gone"),
        }
    )
    assert found == {
        "images": ["cQ==", "eA==", "eQ=="],
        "sets": {"a": {"queries": [0], "gallery": {7: 1}}, "b": {"queries": [0], "gallery": {1: 1, 2: 2}}},
    }


def test_images_that_are_shown_are_those_of_all_lists() -> None:
    records = report(methods=2, queries=3, pool=12)
    ((key, images),) = shown_images(records).values()
    assert key.dataset == "facades"
    assert images == {one for record in records if record.lists for row in record.lists.images for one in row}


def test_a_table_s_cells_keep_number_text_and_notes() -> None:
    table = Table(
        columns=(Column("name"), Column("ms", lambda value: f"{value:.1f}")),
        rows=((Cell("a"), Cell(1.26, ("noisy",))), (Cell("b"), missing("not run"))),
        caption="Milliseconds.",
    )
    one = Comparison(kind="cost", title="Cost", summary="1 differs", table=table)
    (told,) = comparison_payload([one], ("A", "B"), ("x", "y"))["comparisons"]
    assert told["rows"][0][1] == {"text": "1.3", "value": 1.26, "notes": ["noisy"]}
    assert told["rows"][1][1] == {"text": None, "value": None, "notes": ["not run"]}
    assert told["columns"][1] == {"title": "ms", "numeric": True} and told["summary"] == "1 differs"


def test_records_of_two_runs_are_told_apart() -> None:
    first, second = report(methods=1), report(methods=1)
    told = comparison_payload(comparisons(first, second, ("A", "B")), ("A", "B"), ("x", "y"))
    names = [record["id"] for record in told["records"]]
    assert len(set(names)) == len(names) == len(first) + len(second)
    for found in told["comparisons"]:
        for ours, theirs in found["records"]:
            one, two = told["records"][ours], told["records"][theirs]
            assert one["key"] == two["key"] and one["file"].startswith("x/") and two["file"].startswith("y/")
