from __future__ import annotations

from bench.places import records_folder, unfinished


def test_journals_of_two_folders_of_records_lie_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = tmp_path / "one", tmp_path / "other"
    assert unfinished(tmp_path, one) != unfinished(tmp_path, other)
    assert unfinished(tmp_path, one) == unfinished(tmp_path, one.relative_to(tmp_path))


def test_the_proof_that_a_folder_is_writable_leaves_nothing(tmp_path):
    assert list(records_folder(tmp_path / "deep" / "records").iterdir()) == []
