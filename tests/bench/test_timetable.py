"""How long is left."""

from __future__ import annotations

import pytest

from bench.timetable import Timetable, spoken


def test_what_earlier_records_say_is_stretched_by_how_it_goes():
    timetable = Timetable([10, 20, 30])
    assert timetable.left_s() == 60
    timetable.note(0, 15)
    assert timetable.left_s() == pytest.approx(75)  # half as slow again
    timetable.note(1, 0)  # kept: says nothing of the pace
    assert timetable.left_s() == pytest.approx(45)
    timetable.note(2, 45)
    assert timetable.left_s() == 0


def test_cells_that_nothing_is_known_of_count_as_the_mean_of_the_others():
    timetable = Timetable([None, 10, None, 30])
    assert timetable.left_s() == 80
    timetable = Timetable([None, None, None])
    assert timetable.left_s() is None
    timetable.note(0, 7)
    assert timetable.left_s() == 14


def test_it_is_spoken_in_seconds_and_minutes_or_not_at_all():
    assert spoken(None) == ""
    assert spoken(42.4) == ", about 42 s left"
    assert spoken(400) == ", about 7 min left"
