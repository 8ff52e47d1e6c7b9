"""The catalog as data: what every entry and every file of it must say."""

from __future__ import annotations

import csv
import re
from urllib.parse import urlsplit

import pytest

from bench.errors import BenchError
from bench.fetching import ENTRIES, find
from bench.fetching.archives import _UNSAFE
from bench.fetching.members import kind_of
from rerankers import hub
from tests.support import ROOT

DATASETS = {
    "roxford5k", "rparis6k", "revisitop1m", "gldv2", "sop", "cub", "inshop", "instre", "met", "product1m", "rp2k",
    "sop-1k",
}  # fmt: skip
PAGES = ROOT / "docs" / "datasets"


@pytest.fixture(params=ENTRIES.values(), ids=ENTRIES)
def entry(request):
    return request.param


def test_all_data_sets_of_the_papers_are_there():
    assert {name for name, entry in ENTRIES.items() if entry.kind == "data set"} == DATASETS
    assert {"ames", "elvis", "locore-base", "cvnet"} == {n for n, e in ENTRIES.items() if e.kind == "checkpoint"}
    assert {"ames-roxford5k", "ames-rparis6k"} == {n for n, e in ENTRIES.items() if e.kind == "descriptors"}


def test_it_says_what_it_is_and_under_what_licence(entry):
    assert all((entry.name, entry.note, entry.licence, entry.size))
    assert urlsplit(entry.home).scheme in ("http", "https")


def test_it_lands_where_loaders_look(entry):
    folder = {"data set": entry.name, "checkpoint": f"checkpoints/{entry.name}"}
    assert entry.folder == folder.get(entry.kind, entry.name.removeprefix("ames-"))
    assert entry.kind != "descriptors" or entry.folder in DATASETS


def test_there_is_something_to_fetch_or_to_do(entry):
    assert entry.files or entry.by_hand
    assert bool(entry.by_hand) == bool(entry.needs) == (entry.obtained != "direct")


def test_addresses_are_https_or_say_why_not(entry):
    schemes = {urlsplit(url).scheme for file in entry.files for url in (file.url, file.md5_url) if url}
    assert schemes <= {"https", "http", "hf"}
    assert ("http" in schemes) == bool(entry.plain_http)


def test_files_have_names_of_their_own_that_stay_in_the_folder(entry):
    names = [file.name for file in entry.files]
    assert len(set(names)) == len(names) == len({file.url for file in entry.files})
    for path in (*names, *(file.target for file in entry.files), *entry.needs):
        assert not _UNSAFE.search(path)
        assert not path.startswith((".fetching", "fetched.json"))


def test_archives_are_of_a_kind_that_can_be_unpacked(entry):
    for file in entry.files:
        assert (file.unpack_to is not None) == (kind_of(file.name) is not None)
        assert file.unpack_to is not None or not (file.take or file.flat)


def test_hashes_have_their_length(entry):
    for file in entry.files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256 or "0" * 64)
        assert re.fullmatch("[0-9a-f]{32}", file.md5 or "0" * 32)
        assert file.size_bytes is None or file.size_bytes > 0


def test_names_of_the_hub_are_well_formed(entry):
    assert all(hub._NAME.fullmatch(file.url) for file in entry.files if file.url.startswith(hub.PREFIX))


def test_a_data_set_has_a_page_with_its_hashes_and_a_place_in_the_table(entry):
    if entry.kind == "data set":
        page = (PAGES / f"{entry.name}.md").read_text(encoding="utf8")
        assert f"]({entry.name}.md)" in (PAGES / "README.md").read_text(encoding="utf8")
        assert entry.home in page
        for file in entry.files:
            assert all(known in page for known in (file.sha256, file.md5) if known)


def test_a_page_is_one_screen():
    assert all(len(page.read_text(encoding="utf8").splitlines()) <= 60 for page in PAGES.glob("*.md"))


def test_an_unknown_name():
    assert find("cub").name == "cub"
    with pytest.raises(BenchError, match="unknown entry 'roxford'; wanted one of .*Did you mean 'roxford5k'"):
        find("roxford")


def recipe(page, folder, monkeypatch):
    """Runs the Python that a page shows, in the data set's folder."""
    code = re.search(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf8"), re.DOTALL)
    monkeypatch.chdir(folder)
    exec(code[1], {})


def test_the_recipe_for_rp2k(tmp_path, monkeypatch):
    for name in ("all/test/茶,绿/1.jpg", "all/test/b/2.jpg", "all/test/b/3.jpg", "all/train/b/4.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    recipe("rp2k.md", tmp_path, monkeypatch)
    for side in ("gallery", "query"):
        rows = list(csv.reader((tmp_path / f"test_{side}.txt").read_text(encoding="utf8").splitlines()))
        assert rows == [
            ["images/all/test/b/2.jpg", "0"],
            ["images/all/test/b/3.jpg", "0"],
            ["images/all/test/茶,绿/1.jpg", "1"],
        ]
