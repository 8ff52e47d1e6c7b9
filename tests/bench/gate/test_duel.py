"""Duels of real processes, on cells that take milliseconds."""

from __future__ import annotations

import shutil

import pytest

from bench.gate.duel import FEWEST_TURNS, MOST_TURNS, Failure, GateCell, Round, Side, _calls, _turns, duel, facts
from tests.support import ROOT

CHEAP = [GateCell(reranker=name, candidates=8) for name in ("none:first-stage", "ames:micro")]
BASE, HEAD = Side(name="base"), Side(name="head")
OPTIONS = {"threads": 1, "timeout_s": 120}


def held(sides, cells=CHEAP):
    return list(duel(sides, cells, **OPTIONS))


def test_two_sides_take_as_many_turns_each():
    seen = []
    rounds = list(duel([BASE, HEAD], CHEAP, **OPTIONS, on_progress=lambda done, total: seen.append((done, total))))
    assert [one.reranker for one in rounds] == ["none:first-stage", "ames:micro"] and seen == [(1, 2), (2, 2)]
    for one in rounds:
        first, second = map(len, one.samples_ms)
        assert first == second and first % 2 == 0 and FEWEST_TURNS <= first <= MOST_TURNS
        assert all(sample > 0 for side in one.samples_ms for sample in side)
        assert all(bytes_ >= 0 for bytes_ in one.memory_bytes) and {"noisy", "cpu_s"} <= set(one.noise[1])


def test_one_side_takes_turns_alone():
    (one,) = held([HEAD], CHEAP[:1])
    assert len(one.samples_ms) == len(one.memory_bytes) == len(one.noise) == 1
    assert len(one.samples_ms[0]) >= FEWEST_TURNS


def test_planted_changes_show():
    changed = Side(name="head", planted={"slower": 10.0, "scores": 1.0})
    (one,) = held([BASE, changed], CHEAP[1:])
    assert min(one.samples_ms[1]) > 2 * min(one.samples_ms[0])
    same, other = (facts(side, CHEAP[1:], **OPTIONS)["ames:micro"] for side in (HEAD, changed))
    assert same.scores != other.scores and sorted(same.scores) == sorted(other.scores)
    assert same.scores_sha256 != other.scores_sha256 and same.parameters == other.parameters


def test_planted_memory_shows():
    cell = [GateCell(reranker="elvis:micro", candidates=50)]
    (one,) = held([BASE, Side(name="head", planted={"memory": 10.0})], cell)
    assert one.memory_bytes[1] > 5 * one.memory_bytes[0] > 0


@pytest.fixture
def elsewhere(tmp_path):
    """Re-rankers of another revision: `none` believes the worst candidate to be the best, chamfer is gone."""
    shutil.copytree(ROOT / "rerankers", tmp_path / "rerankers", ignore=shutil.ignore_patterns("__pycache__"))
    source = (tmp_path / "rerankers" / "none.py").read_text()
    changed = source.replace("return similarity", "return -similarity")
    assert changed != source
    (tmp_path / "rerankers" / "none.py").write_text(changed)
    (tmp_path / "rerankers" / "chamfer.py").unlink()
    return tmp_path


def test_another_revision_is_what_runs(elsewhere):
    cells = [CHEAP[0], GateCell(reranker="chamfer:rootsift", candidates=8)]
    old, new = (facts(side, cells, **OPTIONS) for side in (Side(name="base", path=elsewhere), HEAD))
    assert list(old["none:first-stage"].scores) == [-score for score in new["none:first-stage"].scores]
    missing = old["chamfer:rootsift"]
    assert isinstance(missing, Failure) and missing.side == "base" and "chamfer" in missing.reason
    rounds = held([Side(name="base", path=elsewhere), HEAD], [cells[1], cells[0]])
    assert isinstance(rounds[0], Failure) and rounds[0].side == "base"
    assert isinstance(rounds[1], Round)  # it went on


def test_a_side_that_crashes_fails_its_cell_and_the_next_has_fresh_processes(elsewhere):
    (elsewhere / "rerankers" / "superglobal.py").write_text("import os\nos._exit(7)\n")
    cells = [GateCell(reranker="sg-rerank", candidates=8), CHEAP[0]]
    crashed, after = held([HEAD, Side(name="base", path=elsewhere)], cells)
    assert isinstance(crashed, Failure) and crashed.side == "base"
    assert crashed.reason.startswith("exited with code 7 before it gave a result")
    assert isinstance(after, Round) and after.reranker == "none:first-stage"


def test_a_folder_without_re_rankers_is_refused(tmp_path):
    found = facts(Side(name="base", path=tmp_path), CHEAP[:1], **OPTIONS)["none:first-stage"]
    assert isinstance(found, Failure) and "wanted that in" in found.reason


def test_a_side_that_does_not_answer_fails_its_cell():
    (one,) = duel([BASE, HEAD], CHEAP[:1], threads=1, timeout_s=0.01)
    assert one == Failure(reranker="none:first-stage", side="base", reason="no answer after 0.01 s")


def test_a_turn_is_as_many_calls_as_fill_it():
    assert (_calls(100.0), _calls(20.0), _calls(7.0), _calls(0.0)) == (1, 1, 3, 1000)


def test_short_turns_are_taken_more_often_than_long_ones():
    assert (_turns(10.0), _turns(50.0), _turns(400.0), _turns(0.0)) == (48, 14, 12, 48)


def test_facts_are_those_of_the_cell():
    found = facts(HEAD, CHEAP, **OPTIONS)
    ames, none = found["ames:micro"], found["none:first-stage"]
    assert ames.parameters > 0 and ames.flops > 0 and ames.flops_reason == "" and ames.weights.startswith("ames-micro ")
    assert sum(ames.kernels.values()) > 10 and len(ames.scores) == 8 and len(ames.scores_sha256) == 64
    assert (none.parameters, none.flops, none.weights) == (0, 0, "none")
    ransac = facts(HEAD, [GateCell(reranker="ransac:affine", candidates=2)], **OPTIONS)["ransac:affine"]
    assert ransac.flops is None and ransac.flops_reason
