"""Checkpoints by name, with a hub made up in a folder: what is asked of the network is counted."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from rerankers import RerankError
from rerankers.hub import PIN, chosen_file, fetch

OLD, NEW = "0123456789abcdef" * 2 + "01234567", "fedcba9876543210" * 2 + "fedcba98"


class Hub:
    """Repository owner/name: commits, and what their files hold. Puts them into the cache as the real one does."""

    def __init__(self, cache) -> None:
        self.folder = cache / "models--owner--name"
        self.commits = {OLD: {"README.md": "", "locore_base.safetensors": "old weights"}}
        self.refs = {"main": OLD}
        self.fails: Exception | None = None
        self.asked = 0

    def model_info(self, _api, repository, *, revision=None, timeout=None):
        commit = self.resolve(repository, revision or "main")
        return SimpleNamespace(sha=commit, siblings=[SimpleNamespace(rfilename=name) for name in self.commits[commit]])

    def download(self, repository, file, *, revision):
        kept = self.folder / "snapshots" / revision / file
        if kept.exists():
            return str(kept)
        commit = self.resolve(repository, revision)
        kept = self.folder / "snapshots" / commit / file
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(self.commits[commit][file])
        if commit != revision:
            (self.folder / "refs").mkdir(exist_ok=True)
            (self.folder / "refs" / revision).write_text(commit)
        return str(kept)

    def resolve(self, repository, revision):
        self.asked += 1
        if self.fails:
            raise self.fails
        assert repository == "owner/name"
        return self.refs.get(revision, revision)

    @property
    def pin(self):
        return json.loads((self.folder / PIN).read_text())


@pytest.fixture
def real(tmp_path, monkeypatch):
    """The hub's own functions, without a network, on an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.fixture
def hub(real, monkeypatch):
    hub = Hub(real)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *given, **named: hub.model_info(*given, **named))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.download)
    return hub


def offline(monkeypatch, hub):
    """The real functions again: what was fetched must do."""
    monkeypatch.undo()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub.folder.parent))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    "files, chosen",
    [
        (["a.safetensors", "pytorch_model.bin", "model.safetensors"], "model.safetensors"),
        (["a.safetensors", "pytorch_model.bin"], "pytorch_model.bin"),
        (["README.md", "weights/locore_base.safetensors"], "weights/locore_base.safetensors"),
        (["a.safetensors", "b.safetensors"], None),
        (["README.md", "a.pt"], None),
        ([], None),
    ],
)
def test_which_file_is_the_checkpoint(files, chosen):
    assert chosen_file(files) == chosen


def test_the_first_use_pins_the_commit_and_the_second_keeps_it(hub, caplog):
    caplog.set_level(logging.INFO, "rerankers.hub")
    path = fetch("hf:owner/name")
    assert path.read_text() == "old weights"
    assert hub.pin == {"commit": OLD, "file": "locore_base.safetensors"}
    assert f"locore_base.safetensors of commit {OLD}" in caplog.text
    hub.commits[NEW], hub.refs["main"] = {"model.safetensors": "new weights"}, NEW
    asked = hub.asked
    assert fetch("hf:owner/name") == path
    assert hub.asked == asked
    assert [entry.name for entry in hub.folder.glob(".*")] == []


def test_a_deleted_pin_moves_on(hub):
    fetch("hf:owner/name")
    hub.commits[NEW], hub.refs["main"] = {"model.safetensors": "new weights"}, NEW
    (hub.folder / PIN).unlink()
    assert fetch("hf:owner/name").read_text() == "new weights"
    assert hub.pin["commit"] == NEW


def test_a_pinned_commit_that_was_cleared_is_fetched_again(hub):
    path = fetch("hf:owner/name")
    path.unlink()
    hub.commits[NEW], hub.refs["main"] = {"model.safetensors": "new weights"}, NEW
    assert fetch("hf:owner/name") == path
    assert path.read_text() == "old weights"


@pytest.mark.parametrize("damage", ["", "[]", '{"commit": "main", "file": "x"}', '{"commit": 1, "file": "x"}', "{}"])
def test_a_damaged_pin_is_replaced(hub, caplog, damage):
    fetch("hf:owner/name")
    (hub.folder / PIN).write_text(damage)
    fetch("hf:owner/name")
    assert "damaged" in caplog.text
    assert hub.pin["commit"] == OLD


def test_a_pin_that_cannot_be_written_stops_nothing(hub, caplog):
    (hub.folder / PIN).mkdir(parents=True)
    assert fetch("hf:owner/name").read_text() == "old weights"
    assert "cannot be written" in caplog.text


def test_a_revision_is_followed_and_not_pinned(hub):
    hub.commits[NEW] = {"model.safetensors": "new weights"}
    assert fetch(f"hf:owner/name@{OLD}").read_text() == "old weights"
    hub.refs["v1"] = OLD
    assert fetch("hf:owner/name@v1").read_text() == "old weights"
    hub.refs["v1"] = NEW
    assert fetch("hf:owner/name@v1").read_text() == "new weights"
    assert not (hub.folder / PIN).exists()
    assert fetch("hf:owner/name").read_text() == "old weights"


def test_pin_and_cache_do_without_a_network(hub, monkeypatch):
    path = fetch("hf:owner/name")
    offline(monkeypatch, hub)
    assert fetch("hf:owner/name") == path


@pytest.mark.parametrize("revision", ["v1", OLD])
def test_revisions_in_the_cache_do_without_a_network(hub, monkeypatch, revision, caplog):
    hub.refs["v1"] = OLD
    path = fetch(f"hf:owner/name@{revision}")
    offline(monkeypatch, hub)
    assert fetch(f"hf:owner/name@{revision}") == path
    assert "taken from the cache" in caplog.text


def test_what_others_fetched_is_used_and_pinned_offline(hub, monkeypatch):
    path = fetch("hf:owner/name@main")
    offline(monkeypatch, hub)
    assert str(fetch("hf:owner/name")) == str(path)
    assert hub.pin["commit"] == OLD


@pytest.mark.parametrize(
    "name",
    [
        "hf:",
        "hf:name",
        "hf:a/b/c",
        "hf:owner/name@",
        "hf:owner/../x",
        "hf:owner/name@../../x",
        "hf:owner/a--b",
        "hf:/owner/name",
        "hf:owner/name@a b",
        "hf:owner/na\nme",
        "owner/name",
        "hf:-x/y",
    ],
)
def test_bad_names_are_refused_before_anything_is_asked(hub, name):
    with pytest.raises(RerankError, match="wanted hf:OWNER/NAME, or hf:OWNER/NAME@REVISION"):
        fetch(name)
    assert hub.asked == 0
    assert not hub.folder.exists()


def test_no_network_says_what_to_do(real):
    with pytest.raises(RerankError) as caught:
        fetch("hf:vislang/locore_dinov2_base@v1")
    for words in (
        "hf:vislang/locore_dinov2_base@v1",
        "OfflineModeIsEnabled",
        "https://huggingface.co/vislang/locore_dinov2_base,",
        "download the file by hand and pass its path",
        "HF_HUB_CACHE",
    ):
        assert words in str(caught.value)
    assert list(real.iterdir()) == []


def made(kind):
    """An error as the hub raises it, whatever its constructor asks for in this version."""
    error = kind.__new__(kind)
    error.args = ("told so\nand more",)
    return error


@pytest.mark.parametrize(
    "kind, cure",
    [
        (GatedRepoError, "Ask for access"),
        (RepositoryNotFoundError, "Check the name"),
        (RevisionNotFoundError, "Check the revision"),
        (LocalEntryNotFoundError, "Try again with a network"),
        (OfflineModeIsEnabled, "Try again with a network"),
        (HFValidationError, "Try again with a network"),
        (TimeoutError, "Try again with a network"),
    ],
)
def test_what_went_wrong_decides_the_cure(hub, kind, cure):
    hub.fails = made(kind)
    with pytest.raises(
        RerankError, match=f"cannot fetch the list of files of hf:owner/name .{kind.__name__}"
    ) as caught:
        fetch("hf:owner/name")
    assert cure in caught.value.cure
    assert "and more" not in str(caught.value)
    assert not (hub.folder / PIN).exists()


def test_a_download_that_breaks_off_pins_nothing(hub, monkeypatch):
    def broken(*_, **__):
        raise ConnectionResetError("reset")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(RerankError, match=r"cannot fetch locore_base.safetensors of hf:owner/name \(Connection"):
        fetch("hf:owner/name")
    assert not (hub.folder / PIN).exists()


def test_a_repository_without_a_checkpoint_lists_its_files(hub):
    hub.commits[OLD] = {"README.md": "", "a.safetensors": "", "b.safetensors": ""}
    with pytest.raises(RerankError, match=r"with README.md, a.safetensors, b.safetensors; wanted model.safetensors"):
        fetch("hf:owner/name")
    hub.commits[OLD] = {}
    with pytest.raises(RerankError, match="with no files"):
        fetch("hf:owner/name")
