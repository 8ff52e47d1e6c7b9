"""`python -m bench.report`: from stored records to files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.console import run
from bench.report import main
from bench.reporting.pages import render
from bench.results import Record, ResultStore
from tests.bench.reporting.examples import comparison, cost_record


def fill(folder: Path, *records: Record) -> Path:
    store = ResultStore(folder)
    for record in records:
        store.put(record)
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The command's exit code."""
    monkeypatch.setattr(sys, "argv", ["report", *map(str, arguments)])
    try:
        run(main)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_a_store_becomes_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = fill(tmp_path / "records", *comparison())
    assert call(monkeypatch, "--records", records, "--out", tmp_path / "out") == 0
    assert f"wrote {tmp_path / 'out' / 'README.md'}" in capsys.readouterr().err
    written = contents(tmp_path / "out")
    assert written == render(comparison())
    assert {"README.md", "cost.md", "cost.csv", "accuracy.md", "accuracy.csv"} < set(written)
    assert sum(name.startswith("scatter_") and name.endswith(".png") for name in written) == 4


def test_a_report_takes_its_records_along_and_loses_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records, evidence = fill(tmp_path / "results", *comparison()), tmp_path / "out" / "records"
    other = ResultStore(evidence).put(cost_record("sg-rerank:of-another-report"))
    assert call(monkeypatch, "--records", records, "--out", tmp_path / "out") == 0
    assert contents(records).items() < contents(evidence).items()
    assert other.exists() and f"{other.name} is not of these records" in capsys.readouterr().err.replace("\n", "")


def test_the_report_may_lie_around_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = fill(tmp_path / "records", cost_record())
    before = contents(records)
    assert call(monkeypatch, "--records", records, "--out", tmp_path) == 0
    first = contents(tmp_path)
    assert call(monkeypatch, "--records", records, "--out", tmp_path) == 0
    assert contents(tmp_path) == first
    assert contents(records) == before


def test_a_picture_of_other_records_is_pointed_out_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "scatter_old_before_after_medium.png"
    old.write_bytes(b"old")
    records = fill(tmp_path / "records", cost_record())
    assert call(monkeypatch, "--records", records, "--out", tmp_path) == 0
    assert "scatter_old_before_after_medium.png is not of these records" in capsys.readouterr().err.replace("\n", "")
    assert old.exists()


@pytest.mark.parametrize("make", [True, False])
def test_an_empty_store_names_the_command_that_fills_it(
    make: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if make:
        (tmp_path / "records").mkdir()
    assert call(monkeypatch, "--records", tmp_path / "records", "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "no records in" in said and "python -m bench.profile" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["", "{", '{"schema_version": 2}'])
def test_a_damaged_record_is_named_and_nothing_is_written(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = fill(tmp_path / "records", cost_record())
    (records / "cost-broken.json").write_text(damage, encoding="utf8")
    assert call(monkeypatch, "--records", records, "--out", tmp_path / "out") == 2
    assert "cost-broken.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("in the way", encoding="utf8")
    assert call(monkeypatch, "--records", fill(tmp_path / "records", cost_record()), "--out", tmp_path / "out") == 2
    assert "cannot write" in capsys.readouterr().err
    assert (tmp_path / "out").read_text(encoding="utf8") == "in the way"
