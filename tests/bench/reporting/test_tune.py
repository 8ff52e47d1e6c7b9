"""Blends as tables, the oracle apart."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from bench.reporting import oracle_table, tune_table
from bench.reporting.pages import render
from bench.reporting.tune import BY_ORACLE, CHOSEN, ORACLE, sheet
from bench.results import Figure, Record, TuneKey
from tests.bench.reporting.examples import accuracy_record, cost_record, provenance

VALUES = {
    "weight": 0.8,
    "temperature": 0.1,
    "map_medium": 0.71234,
    "map_hard": 0.5,
    "validation_map_medium": 0.69,
    "validation_map_hard": 0.49,
    "first_stage_map_medium": 0.6,
    "first_stage_map_hard": 0.3,
    "oracle_weight": 0.4,
    "oracle_temperature": 1.0,
    "oracle_map_medium": 0.987,
    "oracle_map_hard": 0.654,
}


def tune_record(reranker: str = "ransac:affine", *, weights: str = "none", **changes: Any) -> Record:
    """A finished tuning cell."""
    key = TuneKey(
        reranker=reranker,
        dataset=changes.pop("dataset", "facades"),
        dataset_sha256="e" * 64,
        descriptors="RootSIFT-500 + VLAD-256",
        shortlist=changes.pop("shortlist", 400),
        policy="junk behind",
        weights=weights,
        validation="facades-val",
        validation_sha256="f" * 64,
    )
    fields: dict[str, Any] = {
        "key": key,
        "status": "ok",
        "figures": {name: Figure(value=value) for name, value in VALUES.items()},
        "scores_sha256": "d" * 64,
        "provenance": provenance(command="python -m bench.tune"),
    }
    return Record(**(fields | changes))


def missing_record(reranker: str = "ames:rootsift") -> Record:
    return tune_record(reranker, weights="random", status="missing", reason="no trained weights", figures={})


def test_the_chosen_blend_stands_without_the_oracle() -> None:
    text = tune_table([tune_record()]).markdown()
    cells = [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]
    assert cells == ["ransac:affine", "0.8", "0.1", "69.00", "49.00", "60.00", "30.00", "71.23", "50.00"]
    assert "oracle" not in text and "98.70" not in text
    assert "chosen on facades-val (sha256 ffffffffffff)" in text and "on facades (sha256 eeeeeeeeeeee)" in text


def test_the_oracle_is_headed_as_what_it_is() -> None:
    table = oracle_table([tune_record()])
    assert table.columns[0].title == ORACLE == "oracle (tuned on the evaluated set)"
    cells = [cell.strip() for cell in table.markdown().splitlines()[2].strip("|").split("|")]
    assert cells == ["ransac:affine", "0.4", "1.0", "98.70", "65.40"]


def test_a_missing_cell_is_a_dash_and_random_weights_say_so() -> None:
    random = tune_record(
        "elvis:rootsift", weights="random", notes=["random weights: the blend of this row means nothing"]
    )
    text = tune_table([random, missing_record()]).markdown()
    assert "| elvis:rootsift (random weights)² |" in text and "¹ no trained weights" in text
    assert "–" in text and "the blend of this row means nothing" in text


def test_records_that_do_not_compare_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="2 kinds"):
        tune_table([tune_record(), tune_record(shortlist=100)])
    with pytest.raises(ValueError, match="0 kinds"):
        oracle_table([cost_record()])


def test_the_sheet_has_every_figure_in_full() -> None:
    rows = list(csv.DictReader(io.StringIO(sheet([tune_record(), missing_record(), cost_record()]).csv())))
    assert [row["reranker"] for row in rows] == ["ames:rootsift", "ransac:affine"]
    assert {name: float(rows[1][name]) for name in (*CHOSEN, *BY_ORACLE)} == VALUES
    assert rows[0]["weight"] == "" and "no trained weights" in rows[0]["reasons"]


def test_pages_are_written_where_there_are_such_records() -> None:
    others = [cost_record(), accuracy_record("none:first-stage", {"medium": [0.1, 0.2]})]
    assert not {"tune.md", "tune.csv"} & set(render(others))
    assert "tune.md" not in render(others)["README.md"].decode()
    files = render([*others, tune_record(), missing_record(), tune_record(shortlist=100)])
    page = files["tune.md"].decode()
    assert page.count("### Blends chosen on facades-val for facades") == 2
    assert page.count(f"#### O{ORACLE[1:]}\n") == 2 and page.count("\nProvenance:\n") == 2
    assert "[tune.md](tune.md)" in files["README.md"].decode()
    # blends are no rows of the other tables
    assert files["accuracy.csv"] == render(others)["accuracy.csv"]


def test_random_weights_are_never_the_best_blend() -> None:
    figures = {name: Figure(value=value) for name, value in (VALUES | {"map_hard": 0.4}).items()}
    table = tune_table([tune_record("a", figures=figures), tune_record("b"), tune_record("c", weights="random")])
    hard = [line.split("|")[-2].strip() for line in table.markdown().splitlines()[2:5]]
    assert hard == ["40.00", "**50.00**", "50.00"]
