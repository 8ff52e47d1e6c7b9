"""Every table says what was run, when, on what, at which commit."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bench.errors import BenchError
from bench.reporting import provenance as origin
from bench.reporting.tables import Cell
from tests.bench.reporting.examples import accuracy_record, cost_record, provenance


def test_one_run_is_told_in_full() -> None:
    assert origin.block([cost_record()]) == (
        "Provenance:\n\n"
        "- **When**: 2025-03-01 10:00 UTC\n"
        "- **Commit**: `0123456789abcdef0123456789abcdef01234567`, version 0.1.0\n"
        "- **Code**: sha256 `cccccccccccc`\n"
        "- **Command**: `python -m bench.profile`\n"
        "- **Machine**: cpu Example CPU, cores 2, memory 24.0 GiB, fingerprint `aaaaaaaaaaaa`\n"
        "- **Threads**: 2\n"
        "- **Seed**: 0\n"
        "- **Versions**: python 3.11.9, torch 2.13.0\n"
    )


def test_what_differs_names_its_rows() -> None:
    later = provenance(
        commit="f" * 40,
        dirty=True,
        seed=1,
        started_at="2025-03-02T12:00:00+02:00",
        versions={"python": "3.11.9", "torch": "2.12.0"},
    )
    text = origin.block([cost_record("a"), cost_record("b", provenance=later)])
    assert "2025-03-01 10:00 to 2025-03-02 10:00 UTC" in text
    assert f"`{'f' * 40}` with uncommitted changes, version 0.1.0 (b)" in text
    assert "**Seed**: 0 (a); 1 (b)" in text
    assert "python 3.11.9, torch 2.13.0 (a); 2.12.0 (b)" in text


def test_names_that_stand_twice_are_told_apart() -> None:
    wide, narrow = cost_record("a"), cost_record("a", dtype="bfloat16")
    assert origin.labels([wide, narrow, cost_record("b")]) == [
        "a [cpu, float32, 600 x 50 locals of 768]",
        "a [cpu, bfloat16, 600 x 50 locals of 768]",
        "b",
    ]
    ap = {"medium": [0.1, 0.2]}
    assert origin.labels([accuracy_record("a", ap, weights="x.pt"), accuracy_record("a", ap, weights="y.pt")]) == [
        "a [x.pt]",
        "a [y.pt]",
    ]


def test_untrained_methods_say_so_wherever_they_are_named() -> None:
    assert origin.label(accuracy_record("ames:dinov2", {"hard": [0.1]}, weights="random")) == (
        "ames:dinov2 (random weights)"
    )
    assert origin.label(cost_record("ames:dinov2")) == "ames:dinov2"


def test_commits() -> None:
    assert origin.commit_cell(cost_record()).value == "0123456"
    assert origin.commit_cell(cost_record(provenance=provenance(dirty=True))).value == "0123456+dirty"
    outside = origin.commit_cell(cost_record(provenance=provenance(commit=None, dirty=None)))
    assert (outside.value, outside.notes) == (None, ("not run from a git checkout",))


def test_moments_are_utc_and_checked() -> None:
    def at(text: str) -> datetime:
        return origin.moment(cost_record(provenance=provenance(started_at=text)))

    assert at("2025-03-01T10:00:00") == datetime(2025, 3, 1, 10, tzinfo=UTC)
    assert at("2025-03-01T10:00:00+02:00") == datetime(2025, 3, 1, 8, tzinfo=UTC)
    with pytest.raises(BenchError, match=r"'yesterday'.*run the cell again"):
        at("yesterday")


def test_a_sheet_has_a_cell_for_every_column() -> None:
    table = origin.sheet(("reranker",), ("one",), [(cost_record(), [Cell(1.5)])], notes=lambda _: ["first", "second"])
    (row,) = table.rows
    found = dict(zip([column.title for column in table.columns], row, strict=True))
    assert (found["reranker"].value, found["status"].value, found["one"].value) == ("ames:dinov2", "ok", 1.5)
    assert found["notes"].value == "first; second" and [*found][-1] == "scores_sha256"
    assert found["commit"].value == "0123456789abcdef0123456789abcdef01234567"
    assert found["dirty"].value == "false"
    assert found["versions"].value == '{"python": "3.11.9", "torch": "2.13.0"}'
