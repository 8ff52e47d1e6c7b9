"""What transitive positives owe to their linking positives, as tables."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from bench.reporting import linking_table
from bench.reporting.linking import MEASURES, difference, sheet
from bench.reporting.pages import render
from bench.results import Figure, LinkingKey, Record
from tests.bench.reporting.examples import cost_record, provenance

#: Two cases of query 3, one of query 8.
SERIES = {
    "query": [3.0, 3.0, 8.0],
    "transitive": [10.0, 11.0, 12.0],
    "link": [1.0, 1.0, 2.0],
    "replaced": [4.0, 6.0, 9.0],
    "deviation": [2.0, 2.0, 4.0],
    "score": [5.0, 7.0, 9.0],
    "score_covisible": [4.0, 4.0, 5.0],
    "score_elsewhere": [5.0, 7.0, 8.0],
    "rank": [10.0, 20.0, 30.0],
    "rank_covisible": [12.0, 24.0, 30.0],
    "rank_elsewhere": [10.0, 20.0, 30.0],
    "link_score": [8.0, 8.0, 8.0],
    "link_score_covisible": [8.0, 8.0, 8.0],
    "link_score_elsewhere": [6.0, 6.0, 4.0],
}


def linking_record(reranker: str = "locore:micro", **changes: Any) -> Record:
    """A finished linking cell."""
    key = LinkingKey(
        reranker=reranker,
        dataset="facades",
        dataset_sha256="e" * 64,
        descriptors="RootSIFT-500 + VLAD-256",
        shortlist=changes.pop("shortlist", 100),
        policy="junk behind",
        weights=changes.pop("weights", "locore-micro.safetensors sha256:0123"),
        draws=10,
    )
    counts = {"cases": 3, "unlinked": 1, "skipped": 0, "capped": 2, "at_stake": 0.033}
    fields: dict[str, Any] = {
        "key": key,
        "status": "ok",
        "figures": {name: Figure(value=value) for name, value in counts.items()},
        "series": SERIES,
        "scores_sha256": "d" * 64,
        "provenance": provenance(command="python -m bench.linking"),
    }
    return Record(**(fields | changes))


def missing_record() -> Record:
    return linking_record("ames:rootsift", status="missing", reason="no trained weights", figures={}, series={})


def test_means_are_over_queries_and_falls_in_deviations() -> None:
    record = linking_record()
    found = {name: difference(record, measure) for name, measure in MEASURES.items()}
    # query 3 falls by (1 + 3) / 2 points, a deviation; query 8 by 4, a deviation of its list
    assert {name: one.mean for name, one in found.items() if not isinstance(one, str)} == {
        "fall_covisible": 1.0,
        "fall_elsewhere": 0.125,
        "fall_difference": 0.875,
        "places_covisible": 1.5,
        "places_elsewhere": 0.0,
        "places_difference": 1.5,
        "link_fall_covisible": 0.0,
        "link_fall_elsewhere": 1.0,
    }
    assert all(not isinstance(one, str) and one.queries == 2 for one in found.values())


def test_a_row_says_how_many_cases_and_what_became_of_others() -> None:
    text = linking_table([linking_record(), missing_record()]).markdown()
    ames, locore = ([cell.strip() for cell in line.split("|")] for line in text.splitlines()[2:4])
    assert locore[1].startswith("locore:micro") and locore[2:6] == ["3", "2", "3.30", "7.0"]
    assert locore[7] == "+1.000 [+1.000, +1.000]"
    assert "1 transitive positive(s) without a linking positive in the list; 2 case(s) with fewer" in text
    assert ames[1] == "ames:rootsift" and ames[2].startswith("–") and "no trained weights" in text


def test_cases_of_one_query_have_no_interval() -> None:
    series = {name: values[:2] for name, values in SERIES.items()}
    assert "fewer than two queries have a case" in linking_table([linking_record(series=series)]).markdown()


def test_noise_is_not_shown_as_nothing() -> None:
    series = SERIES | {"score_elsewhere": [5.0, 7.0, 9.0], "score_covisible": [5.0, 7.0, 9.0 - 4e-6]}
    row = linking_table([linking_record(series=series)]).markdown().splitlines()[2].split("|")
    assert [row[7].strip(), row[8].strip()] == ["+5e-07 [0, +1e-06]", "0 [0, 0]"]


def test_records_that_do_not_compare_are_refused() -> None:
    with pytest.raises(ValueError, match="not of 2 kinds"):
        linking_table([linking_record(), linking_record(shortlist=50)])


def test_the_sheet_has_every_figure_in_full() -> None:
    first, second = csv.DictReader(io.StringIO(sheet([linking_record(), missing_record()]).csv()))
    assert (first["reranker"], second["fall_difference"]) == ("ames:rootsift", "0.875")
    assert first["fall_covisible"] == "" and "no trained weights" in first["reasons"]
    assert (second["cases"], second["queries"], second["replaced"]) == ("3", "2", "7.0")


def test_a_report_has_a_page_where_there_are_such_records() -> None:
    files = render([cost_record(), linking_record()])
    assert "### Linking positives on facades, shortlist of 100, junk behind" in files["linking.md"].decode()
    assert "[linking.csv](linking.csv)" in files["README.md"].decode()
    assert "linking.md" not in render([cost_record()])
