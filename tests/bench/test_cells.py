from __future__ import annotations

import dataclasses

import pytest

from bench.cells import Cell, CellFailed, CellMissing, CellResult, Limits, exit_code, isolated, run_cells
from bench.errors import BenchError
from bench.provenance import Surroundings, code_sha256
from bench.results import CostKey, Figure, ResultStore

SURROUNDINGS = Surroundings(threads=1, seed=0, command="python -m bench.profile")


def key(name):
    return CostKey(reranker=name, device="cpu", dtype="float32", candidates=100, inputs="")


def cell(name, outcome, calls):
    def run():
        calls.append(name)
        if isinstance(outcome, Exception):
            raise outcome
        return CellResult({"parameters": Figure(value=outcome)})

    return Cell(key(name), run)


def test_a_failing_cell_is_recorded_and_the_others_go_on(tmp_path):
    store, calls = ResultStore(tmp_path), []
    cells = [cell("a", CellFailed("SIGSEGV"), calls), cell("b", 7, calls), cell("c", CellMissing("no weights"), calls)]
    records = run_cells(cells, store, SURROUNDINGS, again=False)
    assert [record.status for record in records] == ["failed", "ok", "missing"]
    assert records[0].reason == "SIGSEGV" and records[1].figure("parameters").value == 7
    assert len(list(store)) == 3 and calls == ["a", "b", "c"]


def test_a_second_start_does_only_what_is_missing(tmp_path):
    store, calls = ResultStore(tmp_path), []
    run_cells([cell("a", 1, calls), cell("b", CellFailed("x"), calls)], store, SURROUNDINGS, again=False)
    run_cells([cell("a", 1, calls), cell("b", 2, calls)], store, SURROUNDINGS, again=False)
    assert calls == ["a", "b", "b"]
    run_cells([cell("a", 1, calls)], store, SURROUNDINGS, again=True)
    assert calls == ["a", "b", "b", "a"]


def test_a_run_holds_its_store_while_it_runs_and_leaves_records_only(tmp_path):
    store, held = ResultStore(tmp_path), []

    def run():
        held.append(store.lock.exists())
        return CellResult({})

    run_cells([Cell(key("a"), run)], store, SURROUNDINGS, again=False)
    assert held == [True] and sorted(tmp_path.iterdir()) == [store.path(key("a"))]


def test_an_interruption_keeps_what_is_done(tmp_path):
    store, calls = ResultStore(tmp_path), []
    with pytest.raises(KeyboardInterrupt):

        def interrupted():
            raise KeyboardInterrupt

        run_cells([cell("a", 1, calls), Cell(key("b"), interrupted)], store, SURROUNDINGS, again=False)
    assert [record.key.reranker for record in store] == ["a"]


def test_what_a_cell_goes_on_from_is_removed_once_its_record_is_kept(tmp_path, monkeypatch):
    store, said = ResultStore(tmp_path), []
    cells = [
        dataclasses.replace(cell(name, outcome, []), discard=lambda name=name: said.append(name))
        for name, outcome in (("a", 1), ("b", CellFailed("x")))
    ]

    def full(record):
        raise BenchError("a full disk", wanted="space", cure="Free some.")

    with monkeypatch.context() as patch:
        patch.setattr(store, "put", full)
        with pytest.raises(BenchError, match="full disk"):
            run_cells(cells, store, SURROUNDINGS, again=False)
    assert said == []
    run_cells(cells, store, SURROUNDINGS, again=False)
    assert said == ["a"]
    run_cells(cells, store, SURROUNDINGS, again=False)  # where the last run was killed in between
    assert said == ["a", "a"]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(1, 0), (CellMissing("no weights"), 0), (CellFailed("SIGSEGV"), 1), (CellFailed("RerankError: NaN"), 2)],
)
def test_the_exit_code_tells_bad_input_from_a_crash(tmp_path, outcome, code):
    records = run_cells([cell("a", outcome, []), cell("b", 1, [])], ResultStore(tmp_path), SURROUNDINGS, again=False)
    assert exit_code(records) == code


def test_isolated_gives_the_reason_of_a_failure():
    with pytest.raises(CellFailed, match="no module named|No module named"):
        isolated("bench.does_not_exist:run", {}, threads=1, limits=Limits(60))


def test_provenance_says_what_ran(tmp_path):
    record = run_cells([cell("a", 1, [])], ResultStore(tmp_path), SURROUNDINGS, again=False)[0]
    found = record.provenance
    assert found.code_sha256 == code_sha256() and len(found.code_sha256) == 64
    assert found.machine["cores"] >= 1 and "torch" in found.versions and found.started_at.endswith("+00:00")
