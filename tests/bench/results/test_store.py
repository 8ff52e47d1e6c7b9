from __future__ import annotations

import pytest
from pydantic import ValidationError

from bench.errors import BenchError
from bench.results import AccuracyKey, CostKey, Figure, Provenance, Record, ResultStore

COST = CostKey(reranker="ames:dinov2", device="cpu", dtype="float32", candidates=100, inputs="50 x 50 of 768")
ACCURACY = AccuracyKey(
    reranker="none:first-stage",
    dataset="facades",
    dataset_sha256="ab",
    descriptors="d",
    shortlist=400,
    policy="junk behind",
    weights="none",
)
PROVENANCE = Provenance(
    project_version="0.1.0",
    commit="c0ffee",
    dirty=False,
    code_sha256="code",
    command="python -m bench.profile",
    started_at="2026-01-01T00:00:00+00:00",
    wall_s=1.5,
    seed=0,
    threads=2,
    fingerprint="machine",
    machine={"cores": 2},
    versions={"torch": "2.13.0"},
)


def record(key=COST, **changes):
    return Record(**({"key": key, "status": "ok", "provenance": PROVENANCE} | changes))


def test_a_record_survives_the_disk(tmp_path):
    store = ResultStore(tmp_path)
    written = record(
        figures={"latency_mean_ms": Figure(value=1.25), "energy_joule": Figure(reason="no counter")},
        series={"ap": [0.5, None]},
        scores_sha256="ff",
    )
    path = store.put(written)
    assert store.get(COST) == written and list(store) == [written]
    assert path.name.startswith("cost-ames-dinov2-")


def test_cells_do_not_overwrite_each_other(tmp_path):
    store = ResultStore(tmp_path)
    keys = [COST, ACCURACY, COST.model_copy(update={"dtype": "bfloat16"})]
    for key in keys:
        store.put(record(key))
    store.put(record(COST, notes=["newer"]))
    assert len(list(store)) == 3 and store.get(COST).notes == ["newer"]


def test_names_of_files_stay_while_a_cell_says_nothing_new(tmp_path):
    store = ResultStore(tmp_path)
    assert store.path(ACCURACY).name == "accuracy-none-first-stage-6d7b684fb6.json"
    assert store.path(ACCURACY.model_copy(update={"read": 24})) != store.path(ACCURACY)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, True),
        ({"code_sha256": "other"}, False),
        ({"fingerprint": "other"}, False),
        ({"threads": 1}, False),
        ({"seed": 1}, False),
        ({"versions": {}}, False),
        ({"wall_s": 9.0}, True),
    ],
)
def test_a_record_stands_for_a_new_run_only_in_the_same_surroundings(tmp_path, change, kept):
    store = ResultStore(tmp_path)
    store.put(record())
    assert (store.finished(COST, now=PROVENANCE.model_copy(update=change)) is not None) == kept


def test_a_failed_cell_is_run_again(tmp_path):
    store = ResultStore(tmp_path)
    store.put(record(status="failed", reason="out of memory"))
    assert store.finished(COST, now=PROVENANCE) is None
    assert store.get(COST).figure("latency_mean_ms").reason == "out of memory"


@pytest.mark.parametrize("figure", [{}, {"value": 1, "reason": "why"}, {"value": float("nan")}, {"reason": ""}])
def test_a_figure_is_a_number_or_a_reason(figure):
    with pytest.raises(ValidationError):
        Figure(**figure)


def test_a_cell_that_is_not_ok_says_why():
    with pytest.raises(ValidationError, match="says why"):
        record(status="failed")


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 2}', "[]"])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "cost-x.json").write_text(text)
    with pytest.raises(BenchError, match=r"cost-x\.json is not a record"):
        list(ResultStore(tmp_path))


def test_an_absent_store_is_empty(tmp_path):
    assert list(ResultStore(tmp_path / "none")) == [] and ResultStore(tmp_path).get(COST) is None
