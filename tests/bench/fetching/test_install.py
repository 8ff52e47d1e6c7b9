from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import pytest
from huggingface_hub import constants

from bench.console import silent
from bench.errors import BenchError
from bench.fetching import Entry, File, fetch, left_to_do
from bench.fetching.members import ArchiveError
from tests.bench.fetching.web import HASTY, nowhere, tar, tree
from tests.support import ROOT

INSTALLED = {"jpg/1.jpg": b"one", "jpg/2.jpg": b"two", "jpg/3.jpg": b"three", "gnd.pkl": b"truth"}


def entry_of(*files, name="demo", **more):
    return Entry(name=name, kind="data set", note="", licence="", home="", folder="demo", files=files, **more)


@pytest.fixture
def demo(web, tmp_path):
    """Two archives that become one folder, and a file."""
    first = tar(tmp_path / "a.tgz", {"set/x/1.jpg": b"one", "set/x/2.jpg": b"two"})
    second = tar(tmp_path / "b.tar", {"set/3.jpg": b"three"})
    web.files |= {"a.tgz": first.read_bytes(), "b.tar": second.read_bytes(), "gnd.pkl": b"truth"}
    first.unlink(), second.unlink()
    return entry_of(
        File(url=web.url("a.tgz"), name="a.tgz", unpack_to="jpg", flat=True),
        File(url=web.url("b.tar"), name="b.tar", unpack_to="jpg", take="set"),
        File(url=web.url("gnd.pkl"), name="gnd.pkl"),
    )


@pytest.fixture
def get(tmp_path):
    def call(entry, progress=silent):
        return fetch(entry, tmp_path / "data", progress=progress, patience=HASTY)

    return call


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "demo"


def records(folder):
    return json.loads((folder / "fetched.json").read_text())


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def held(folder):
    """What is in the folder, without the records."""
    return {name: content for name, content in tree(folder).items() if name != "fetched.json"}


def test_everything_is_in_place_and_recorded(get, demo, web, folder):
    assert get(demo) is True
    assert held(folder) == INSTALLED and names(folder) == ["fetched.json", "gnd.pkl", "jpg"]
    record = records(folder)["a.tgz"]
    assert (record["url"], record["bytes"]) == (web.url("a.tgz"), len(web.files["a.tgz"]))
    assert record["sha256"] == sha256(web.files["a.tgz"]) and record["date"][:2] == "20"
    assert list(records(folder)) == ["a.tgz", "b.tar", "gnd.pkl"]


def test_a_second_call_does_nothing(get, demo, web, folder):
    def written():  # not when a file was read, which looking does
        found = {path: path.stat() for path in folder.rglob("*")}
        return {path: (one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for path, one in found.items()}

    get(demo)
    before, asked = written(), len(web.asked)
    assert get(demo) is False
    assert written() == before and len(web.asked) == asked


def test_nothing_is_in_place_before_everything_is_verified(get, demo, web, folder):
    del web.files["gnd.pkl"]
    with pytest.raises(BenchError, match="404"):
        get(demo)
    assert names(folder) == [".fetching"]
    web.files["gnd.pkl"] = b"truth"
    asked = len(web.asked)
    assert get(demo) is True and held(folder) == INSTALLED
    assert [name for name, _ in web.asked[asked:]] == ["gnd.pkl"]


def test_what_was_removed_is_fetched_again_and_only_that(get, demo, web, folder):
    get(demo)
    (folder / "gnd.pkl").unlink()
    assert get(demo) is True and held(folder) == INSTALLED and web.asked[-1] == ("gnd.pkl", None)
    assert len(web.asked) == 4


@pytest.mark.parametrize(
    ("known", "match"),
    [
        ({"sha256": "0" * 64}, "SHA-256 [0-9a-f]{64}; wanted SHA-256 0{64}"),
        ({"md5": "0" * 32}, "MD5 [0-9a-f]{32}; wanted MD5 0{32}"),
        ({"size_bytes": 4}, "5 bytes.*wanted 4"),
    ],
)
def test_wrong_bytes(get, web, folder, known, match):
    web.files["gnd.pkl"] = b"wrong"
    with pytest.raises(BenchError, match=match):
        get(entry_of(File(url=web.url("gnd.pkl"), name="gnd.pkl", **known)))
    assert held(folder / ".fetching").keys() <= {"lock", "demo/gnd.pkl.part", "demo/gnd.pkl.part.stamp"}


def test_right_bytes(get, web, folder):
    web.files["gnd.pkl"] = b"right"
    known = {"size_bytes": 5, "sha256": sha256(b"right"), "md5": hashlib.md5(b"right").hexdigest()}
    assert get(entry_of(File(url=web.url("gnd.pkl"), name="gnd.pkl", **known)))
    assert held(folder) == {"gnd.pkl": b"right"}


@pytest.mark.parametrize("right", [True, False])
def test_an_md5_that_the_server_has_beside_the_file(get, web, folder, right):
    web.files |= {"a.bin": b"right", "a.md5": hashlib.md5(b"right").hexdigest().upper().encode() + b"  a.bin\n"}
    web.files["a.bin"] = b"right" if right else b"wrong"
    entry = entry_of(File(url=web.url("a.bin"), name="a.bin", md5_url=web.url("a.md5")))
    if right:
        assert get(entry) and held(folder) == {"a.bin": b"right"}
    else:
        with pytest.raises(BenchError, match="MD5"):
            get(entry)


def test_without_a_published_hash_what_was_got_once_is_held_to(get, demo, web, folder, caplog):
    caplog.set_level("INFO")
    get(demo)
    assert "nobody publishes hashes of 3 files" in caplog.text
    (folder / "gnd.pkl").unlink()
    web.files["gnd.pkl"] = b"another"
    with pytest.raises(BenchError, match="gnd.pkl.*had another file on 20.*remove its entry in fetched.json"):
        get(demo)
    kept = records(folder)
    del kept["gnd.pkl"]
    (folder / "fetched.json").write_text(json.dumps(kept))
    assert get(demo) and (folder / "gnd.pkl").read_bytes() == b"another"


def test_an_archive_that_is_refused_leaves_nothing_and_is_fetched_again(get, demo, web, folder, tmp_path):
    good = web.files["b.tar"]
    web.files["b.tar"] = tar(tmp_path / "evil.tar", {"set/3.jpg": b"three", "../evil": b"evil"}).read_bytes()
    with pytest.raises(ArchiveError, match=r"b\.tar: member '\.\./evil'"):
        get(demo)
    assert names(folder) == [".fetching"] and not list(tmp_path.rglob("evil"))
    assert tree(folder / ".fetching" / "demo" / "ready") == {"jpg/1.jpg": b"one", "jpg/2.jpg": b"two"}
    web.files["b.tar"] = good
    assert get(demo) and held(folder) == INSTALLED
    assert [name for name, _ in web.asked] == ["a.tgz", "b.tar", "b.tar", "gnd.pkl"]


def test_a_closed_network_and_files_put_there_by_hand(get, demo, web, folder):
    closed = entry_of(*(File(**{**vars(file), "url": f"{nowhere()}/{file.name}"}) for file in demo.files))
    with pytest.raises(BenchError, match=f"cannot reach 127.0.0.1.*put it at {folder / 'a.tgz'}"):
        get(closed)
    assert names(folder) == []
    for name in ("a.tgz", "b.tar", "gnd.pkl"):
        (folder / name).write_bytes(web.files[name])
    assert get(closed) is True and not web.asked
    assert {name: content for name, content in held(folder).items() if name not in ("a.tgz", "b.tar")} == INSTALLED
    assert (folder / "a.tgz").read_bytes() == web.files["a.tgz"]
    assert get(closed) is False


def test_a_file_put_there_by_hand_is_verified(get, web, folder):
    entry = entry_of(File(url=web.url("gnd.pkl"), name="gnd.pkl", sha256=sha256(b"right")))
    folder.mkdir(parents=True)
    (folder / "gnd.pkl").write_bytes(b"wrong")
    with pytest.raises(BenchError, match="without the file if you have put it there"):
        get(entry)
    assert (folder / "gnd.pkl").read_bytes() == b"wrong"
    (folder / "gnd.pkl").write_bytes(b"right")
    assert get(entry) is False and records(folder)["gnd.pkl"]["sha256"] == sha256(b"right") and not web.asked


def test_images_that_are_there_already_stay(get, demo, web, folder):
    (folder / "jpg").mkdir(parents=True)
    (folder / "jpg" / "mine.jpg").write_bytes(b"mine")
    assert get(demo) is True
    assert held(folder) == {"jpg/mine.jpg": b"mine", "gnd.pkl": b"truth"}
    assert [name for name, _ in web.asked] == ["gnd.pkl"]


def test_two_entries_in_one_folder(get, demo, web, folder):
    get(demo)
    web.files["local.hdf5"] = b"descriptors"
    get(entry_of(File(url=web.url("local.hdf5"), name="local.hdf5"), name="descriptors"))
    assert held(folder) == {**INSTALLED, "local.hdf5": b"descriptors"} and len(records(folder)) == 4


def test_one_process_at_a_time(get, demo, folder):
    @contextmanager
    def meets(title):
        with pytest.raises(BenchError, match="another process is fetching into"):
            get(demo)
        yield lambda done, total: None

    assert get(demo, progress=meets) is True and held(folder) == INSTALLED


def test_records_that_are_damaged(get, demo, folder):
    get(demo)
    (folder / "fetched.json").write_text('{"gnd.pkl": {"url"')
    (folder / "gnd.pkl").unlink()
    with pytest.raises(BenchError, match=r"cannot read .*fetched\.json.*Remove it"):
        get(demo)


def test_a_data_root_that_cannot_be_written(get, demo, tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        get(demo)


def test_a_checkpoint_of_the_hub(get, folder, tmp_path, monkeypatch):
    """From the hub's own cache, for a hub is not there."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub" / "models--owner--name"
    (cache / "snapshots" / commit).mkdir(parents=True)
    (cache / "snapshots" / commit / "model.safetensors").write_bytes(b"weights")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert get(entry_of(File(url="hf:owner/name", name="base.safetensors"))) is True
    assert held(folder) == {"base.safetensors": b"weights"}
    assert records(folder)["base.safetensors"]["sha256"] == sha256(b"weights")


def test_a_hub_that_cannot_be_reached(get, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BenchError, match=f"of hf:owner/name.*Or put it at {folder / 'base.safetensors'}"):
        get(entry_of(File(url="hf:owner/name", name="base.safetensors")))
    assert names(folder) == []


def test_what_is_left_to_do_by_hand(tmp_path, get):
    entry = entry_of(by_hand="Ask.", needs=("Eval/list.txt", "img"))
    assert get(entry) is False and left_to_do(entry, tmp_path / "data")
    (tmp_path / "data" / "demo" / "Eval").mkdir(parents=True)
    (tmp_path / "data" / "demo" / "Eval" / "list.txt").write_text("")
    assert left_to_do(entry, tmp_path / "data")
    (tmp_path / "data" / "demo" / "img").mkdir()
    assert not left_to_do(entry, tmp_path / "data")


KILLED = """
    import os, signal, sys
    from contextlib import contextmanager
    from pathlib import Path
    from bench.fetching import Entry, File, fetch, install

    address, root, when = sys.argv[1:]

    def kill(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def progress(title):
        yield kill if when in title else lambda done, total: None

    if when == "records":
        install._write_records = kill
    files = (
        File(url=f"{address}/a.tgz", name="a.tgz", unpack_to="jpg", flat=True),
        File(url=f"{address}/b.tar", name="b.tar", unpack_to="jpg", take="set"),
        File(url=f"{address}/gnd.pkl", name="gnd.pkl"),
    )
    entry = Entry(name="demo", kind="data set", note="", licence="", home="", folder="demo", files=files)
    fetch(entry, Path(root), progress=progress)
"""


@pytest.mark.parametrize(
    ("when", "asked_again"),
    [
        ("demo: b.tar", [("b.tar", "bytes=4000-"), ("gnd.pkl", None)]),
        ("unpacking b.tar", [("gnd.pkl", None)]),
        ("records", []),
    ],
)
def test_a_kill_and_a_second_start(get, demo, web, folder, tmp_path, when, asked_again):
    web.cuts["b.tar"] = [4000] if when == "demo: b.tar" else []
    script = [sys.executable, "-c", textwrap.dedent(KILLED), web.address, str(tmp_path / "data"), when]
    assert subprocess.run(script, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    if when != "records":
        assert names(folder) == [".fetching"]
    before = len(web.asked)
    assert get(demo) is True and held(folder) == INSTALLED and len(records(folder)) == 3
    assert web.asked[before:] == asked_again and not (folder / ".fetching").exists()
