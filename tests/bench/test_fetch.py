from __future__ import annotations

import json

import pytest
import typer

from bench import fetch as command
from bench.console import run
from bench.errors import BenchError
from bench.fetching import ENTRIES, Entry, File, catalog
from tests.bench.fetching.web import nowhere, serving, tree


@pytest.fixture
def web(monkeypatch):
    """A catalog of what a server on this machine has: one by hand, one direct, one of both."""
    with serving() as site:
        site.files |= {"gnd.pkl": b"truth", "r50.pt": b"weights"}
        more = {"note": "what", "licence": "which", "home": "https://home", "kind": "data set"}
        truth = File(url=site.url("gnd.pkl"), name="gnd.pkl", size_bytes=5)
        weights = File(url=site.url("r50.pt"), name="r50.pt")
        lost = File(url=f"{nowhere()}/gnd.pkl", name="gnd.pkl")
        entries = [
            Entry(name="demo", folder="demo", files=(truth,), **more),
            Entry(name="lost", folder="lost", files=(lost,), **more),
            Entry(name="asked", folder="asked", by_hand="Sign the form.", needs=("img",), **more),
            Entry(
                name="net", folder="checkpoints/net", files=(weights,), by_hand="And r101.", needs=("r101.pt",), **more
            ),
        ]
        monkeypatch.setattr(catalog, "ENTRIES", {entry.name: entry for entry in entries})
        yield site


def exit_code(*names, data_root):
    try:
        command.main(list(names), data_root=data_root)
    except typer.Exit as end:
        return end.exit_code
    return 0


def test_what_is_fetched_lands_below_the_data_root(web, tmp_path, capsys):
    assert exit_code("demo", data_root=tmp_path) == 0
    assert (tmp_path / "demo" / "gnd.pkl").read_bytes() == b"truth"
    assert json.loads((tmp_path / "demo" / "fetched.json").read_text())["gnd.pkl"]["bytes"] == 5
    assert f"demo: ready in {tmp_path / 'demo'}" in capsys.readouterr().err


def test_by_hand_ends_with_2_and_says_what_to_put_where_until_it_is_there(web, tmp_path, capsys):
    assert exit_code("asked", data_root=tmp_path) == 2
    said = capsys.readouterr().err
    assert "asked: by hand. Sign the form." in said and str(tmp_path / "asked" / "img") in said
    (tmp_path / "asked" / "img").mkdir(parents=True)
    assert exit_code("asked", data_root=tmp_path) == 0


def test_several_and_one_of_them_partly_by_hand(web, tmp_path, capsys):
    assert exit_code("net", "demo", data_root=tmp_path) == 2
    assert tree(tmp_path).keys() >= {"checkpoints/net/r50.pt", "demo/gnd.pkl"}
    assert "And r101." in capsys.readouterr().err


def test_an_unknown_name_stops_it_before_anything_is_fetched(web, tmp_path):
    with pytest.raises(BenchError, match="unknown entry 'dem0'.*Did you mean 'demo'"):
        command.main(["demo", "dem0"], data_root=tmp_path)
    assert not web.asked and list(tmp_path.iterdir()) == []


def test_a_closed_network_ends_with_2_and_a_plain_message(web, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["fetch", "lost"])
    monkeypatch.setenv("RERANK_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        run(command.main)
    said = capsys.readouterr().err
    assert end.value.code == 2 and "Traceback" not in said
    assert "cannot reach 127.0.0.1" in said and str(tmp_path / "lost" / "gnd.pkl") in said


@pytest.mark.parametrize("arguments", [["--list"], [], ["--list", "demo"]])
def test_the_list(monkeypatch, capsys, arguments, tmp_path):
    monkeypatch.setattr("sys.argv", ["fetch", *arguments])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        run(command.main)
    rows = capsys.readouterr().out.splitlines()
    assert end.value.code == 0 and len(rows) == 2 + len(ENTRIES) and list(tmp_path.iterdir()) == []
    for entry, row in zip(ENTRIES.values(), rows[2:], strict=True):
        assert [cell.strip() for cell in row.split("|")][1:7] == [
            entry.name, entry.note, command.size(entry), entry.licence, entry.obtained, entry.home
        ]  # fmt: skip


def test_sizes_are_those_of_the_files_where_all_are_known():
    assert command.size(ENTRIES["cub"]) == "1.2 GB"
    assert command.size(ENTRIES["gldv2"]) == "about 95 GB"
    assert command.size(ENTRIES["inshop"]) == "not published"
