"""`python -m bench.report`: from stored records to files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import report
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
    assert {name: text for name, text in written.items() if name != "index.html"} == render(comparison())
    assert b"<!doctype html>" in written["index.html"] and b"sg-rerank:published" in written["index.html"]
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


def test_two_runs_are_compared_on_a_page_in_text_and_as_a_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fill(tmp_path / "first", *comparison())
    second = fill(tmp_path / "second", *comparison()[:-2])
    assert call(monkeypatch, "--compare", first, second, "--out", tmp_path / "out") == 0
    written = contents(tmp_path / "out")
    assert set(written) == {"compare.html", "compare.md", "compare.csv"}
    assert f"A is {first}, B is {second}".encode() in written["compare.md"].replace(b"\\", b"")
    assert b"not in B" in written["compare.md"] and b"not in B" in written["compare.html"]
    assert "Accuracy on facades" in capsys.readouterr().out


def test_a_run_may_be_compared_with_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = fill(tmp_path / "records", *comparison())
    assert call(monkeypatch, "--compare", records, records, "--out", tmp_path / "out") == 0
    assert b"no difference" in contents(tmp_path / "out")["compare.md"]


def test_two_runs_need_two_folders_of_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = fill(tmp_path / "records", *comparison())
    assert call(monkeypatch, "--compare", records, tmp_path / "nothing", "--out", tmp_path / "out") == 2
    assert "no records in" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_own_images_are_a_name_and_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = fill(tmp_path / "records", *comparison())
    for given in ("mine", "mine=", f"mine={tmp_path / 'nothing'}", f"={tmp_path}"):
        assert call(monkeypatch, "--records", records, "--out", tmp_path / "out", "--images", given) == 2
        assert "wanted NAME=FOLDER" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


class Served:
    """In place of a server: remembers what it was for, and ends as Ctrl-C would end it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.server_port, self.closed = folder, port or 4711, False

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True

    def serve_forever(self) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Served], list[str]]:
    """What was served, and what the browser was sent to."""
    servers: list[Served] = []
    addresses: list[str] = []

    def start(folder: Path, port: int) -> Served:
        servers.append(Served(folder, port))
        return servers[-1]

    monkeypatch.setattr(report, "server", start)
    monkeypatch.setattr(report.webbrowser, "open", addresses.append)
    monkeypatch.setenv("DISPLAY", ":0")
    return servers, addresses


def test_a_report_is_served_once_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: tuple[list[Served], list[str]]
) -> None:
    records = fill(tmp_path / "records", *comparison())
    assert call(monkeypatch, "--records", records, "--out", tmp_path / "out", "--serve", "--port", "8123") == 0
    ((server,), addresses) = served
    assert server.folder == tmp_path / "out" and server.closed and (tmp_path / "out" / "index.html").exists()
    assert addresses == ["http://127.0.0.1:8123/index.html"]


def test_without_records_the_report_that_is_there_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: tuple[list[Served], list[str]]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("as it was")
    assert call(monkeypatch, "--records", tmp_path / "none", "--out", tmp_path / "out", "--serve") == 0
    assert served[1] == ["http://127.0.0.1:4711/index.html"]
    assert (tmp_path / "out" / "index.html").read_text() == "as it was"
    assert call(monkeypatch, "--records", tmp_path / "none", "--out", tmp_path / "elsewhere", "--serve") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there always is a screen")
def test_without_a_screen_no_browser_takes_the_terminal(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    served: tuple[list[Served], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    records = fill(tmp_path / "records", cost_record())
    assert call(monkeypatch, "--records", records, "--out", tmp_path / "out", "--serve") == 0
    assert served[1] == [] and "http://127.0.0.1:4711/index.html" in capsys.readouterr().err


def test_a_comparison_is_served_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: tuple[list[Served], list[str]]
) -> None:
    records = fill(tmp_path / "records", *comparison())
    assert call(monkeypatch, "--compare", records, records, "--out", tmp_path / "out", "--serve") == 0
    assert served[1] == ["http://127.0.0.1:4711/compare.html"]
