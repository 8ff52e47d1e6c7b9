from __future__ import annotations

from bench.results import Journal


def test_parts_survive_a_new_start(tmp_path):
    journal = Journal(tmp_path / "j", "cell 1")
    journal.add("0", {"order": [2, 1]})
    journal.add("1", 5)
    assert Journal(tmp_path / "j", "cell 1").parts == {"0": {"order": [2, 1]}, "1": 5}


def test_parts_of_another_journal_are_taken_over_and_own_ones_stay(tmp_path):
    journal = Journal(tmp_path / "j", "cell")
    journal.add("0", "own")
    journal.merge({"0": "other", "1": "other"})
    journal.add("2", "own")
    assert Journal(tmp_path / "j", "cell").parts == {"0": "own", "1": "other", "2": "own"}


def test_another_heading_starts_anew(tmp_path):
    Journal(tmp_path / "j", "cell 1").add("0", 1)
    assert Journal(tmp_path / "j", "cell 2").parts == {}


def test_every_cut_leaves_a_readable_prefix(tmp_path):
    journal = Journal(tmp_path / "j", "cell")
    for number in range(4):
        journal.add(str(number), [number] * 3)
    whole = (tmp_path / "j").read_bytes()
    seen = set()
    for length in range(len(whole) + 1):
        (tmp_path / "j").write_bytes(whole[:length])
        parts = Journal(tmp_path / "j", "cell").parts
        assert parts == {str(number): [number] * 3 for number in range(len(parts))}
        seen.add(len(parts))
    assert seen == {0, 1, 2, 3, 4}
