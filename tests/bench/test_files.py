from __future__ import annotations

import errno
import os
import pickle
import platform
import subprocess

import pytest

from bench.errors import BenchError, unknown_name
from bench.files import clear, replacing, write_text


def test_write_text_replaces_the_whole_file(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "first")
    write_text(path, "second")
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_has_left_goes_with_the_next_writing(tmp_path):
    def left(name, process):
        path = tmp_path / f".{name}.{platform.node()}-{process}.part"
        path.write_text("half")
        return path

    gone = subprocess.Popen(["true"])
    gone.wait()
    killed, alive, other = left("file[1]", gone.pid), left("file[1]", os.getppid()), left("other", gone.pid)
    elsewhere = tmp_path / f".file[1].elsewhere-{gone.pid}.part"  # whether it is alive there, nobody knows here
    elsewhere.write_text("half")
    write_text(tmp_path / "file[1]", "whole")
    assert {path.name for path in (killed, alive, other, elsewhere) if path.exists()} == {
        path.name for path in (alive, other, elsewhere)
    }
    clear(tmp_path)
    assert not other.exists() and alive.exists() and elsewhere.exists()


@pytest.mark.parametrize(("code", "cure"), [(errno.ENOSPC, "Free some space"), (errno.EROFS, "Choose another folder")])
def test_a_full_disk_and_a_read_only_one_are_told_apart(tmp_path, monkeypatch, code, cure):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BenchError, match=cure):
        write_text(tmp_path / "file.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        write_text(tmp_path / "file" / "inside.txt", "text")


def test_unknown_name_lists_what_exists_and_the_nearest():
    message = str(unknown_name("data set", "facade", ["facades", "other"]))
    assert "facades, other" in message and "Did you mean 'facades'?" in message


def test_an_error_survives_the_way_between_processes():
    error = BenchError("seen", wanted="wanted", cure="cure")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) and copy.cure == "cure"
