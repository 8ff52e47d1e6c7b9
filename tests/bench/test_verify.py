"""Stored rows, run again: what agrees, what was tampered with, and what cannot be told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import accuracy, churn, linking, profile, tune, verify
from bench.cells import CellFailed, CellResult
from bench.console import output
from bench.costing import Protocol
from bench.datasets import facades
from bench.errors import BenchError
from bench.prepare import Descriptors, Wanted
from bench.results import Figure, Record, ResultStore, SweepKey
from bench.verifying import compare, rerun
from bench.verifying.rerun import Told, described
from tests.bench.reporting import examples
from tests.support import MINI, QUICK, by_name, exit_code


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def earned(cache, tmp_path_factory) -> Record:
    """An accuracy record."""
    records = tmp_path_factory.mktemp("earned")
    assert exit_code(accuracy.main, **QUICK, shortlist=12, rerankers="sg-rerank", records=records, cache=cache) == 0
    return by_name(records)["sg-rerank:default"]


@pytest.fixture(scope="module")
def cost(tmp_path_factory) -> Record:
    """A cost record."""
    records = tmp_path_factory.mktemp("cost")
    sizes = {"candidates": 6, "warmup": 1, "runs": 3, "processes": 1, "threads": 1, "device": "cpu"}
    assert exit_code(profile.main, rerankers="sg-rerank", records=records, **sizes) == 0
    return by_name(records)["sg-rerank:default"]


def job(cache, folder, *records, **options):
    """Verifies records, stored in `folder`; gives the exit code and what was printed."""
    paths = []
    for number, record in enumerate(records):
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(record.model_dump_json())
    with output.capture() as printed:
        code = exit_code(verify.main, records=paths, cache=cache, **options)
    return code, printed.get()


def words(found) -> dict[str, str]:
    return {one.name: one.word for one in found}


def figure_changed(record: Record, by: float) -> Record:
    value = record.figure("map_hard").value + by
    return record.model_copy(update={"figures": {**record.figures, "map_hard": Figure(value=value)}})


def elsewhere(record: Record, **changes) -> Record:
    """The same record, run on another machine."""
    there = record.provenance.model_copy(update={"fingerprint": "another machine", **changes})
    return record.model_copy(update={"provenance": there})


def test_an_accuracy_row_is_run_again_and_holds(cache, earned, tmp_path):
    code, printed = job(cache, tmp_path, earned)
    assert code == 0 and "agrees: exactly" in printed and "0.json: holds" in printed
    assert printed.count("| agrees") >= 9 and "differs" not in printed


def test_a_cost_row_is_counted_again_and_audited(cache, cost, tmp_path):
    code, printed = job(cache, tmp_path, cost)
    assert code == 0 and "queries in turn" in printed and "broken" not in printed
    assert "latency_median_ms" not in printed


def test_with_time_a_cost_row_is_measured_as_thoroughly_as_it_was(cache, cost, tmp_path, monkeypatch):
    asked = []

    def measured(task, protocol, **_):
        asked.append((task.runs, protocol))
        return CellResult(cost.figures, cost.series, scores_sha256=cost.scores_sha256)

    monkeypatch.setattr(rerun, "measure", measured)
    monkeypatch.setattr(verify, "audited", lambda record, told: ([], record.scores_sha256))
    code, printed = job(cache, tmp_path, cost, timed=True)
    assert code == 0 and "latency_median_ms" in printed and "1 times the recorded figure" in printed
    assert asked == [(3, Protocol(processes=1))]


@pytest.mark.parametrize(
    ("tamper", "differs"),
    [
        (lambda one: figure_changed(one, 1e-9), {"figures"}),
        (lambda one: one.model_copy(update={"scores_sha256": "0" * 64}), {"scores"}),
        (
            lambda one: one.model_copy(update={"key": one.key.model_copy(update={"dataset_sha256": "0" * 64})}),
            {"data set"},
        ),
        (lambda one: one.model_copy(update={"key": one.key.model_copy(update={"weights": "x"})}), {"weights"}),
        (
            lambda one: one.model_copy(
                update={"series": {**one.series, "positives_in_shortlist_hard": [0] * 8}, "scores_sha256": None}
            ),
            {"candidates", "figures"},
        ),
    ],
)
def test_what_was_tampered_with_is_named(cache, earned, tmp_path, monkeypatch, tamper, differs):
    forged = tamper(earned)
    found = compare.aspects(forged, earned)
    assert {one.name for one in found if one.word == "differs"} == differs and not compare.holds(found)
    monkeypatch.setattr(verify, "rerun", lambda record, told: earned)
    code, printed = job(cache, tmp_path, forged)
    assert code == 1 and "does not hold" in printed


def test_a_tampered_row_is_found_out_by_running_it(cache, earned, tmp_path):
    code, printed = job(cache, tmp_path, figure_changed(earned, 0.01))
    assert code == 1 and "map_hard most of all" in printed


def test_scores_that_differ_leave_features_untold(earned):
    found = words(compare.aspects(earned.model_copy(update={"scores_sha256": "0" * 64}), earned))
    assert found["features"] == "cannot tell" and found["candidates"] == "agrees"


def test_other_code_is_told_and_does_not_decide(earned):
    other = earned.provenance.model_copy(update={"code_sha256": "f" * 64})
    found = compare.aspects(earned.model_copy(update={"provenance": other}), earned)
    assert words(found)["code"] == "differs" and compare.holds(found)


@pytest.mark.parametrize("changes", [{}, {"versions": {"torch": "0"}}])
def test_elsewhere_figures_decide_and_not_bits(earned, changes):
    there = elsewhere(earned, **changes).model_copy(update={"scores_sha256": "0" * 64})
    found = compare.aspects(there, earned)
    assert words(found)["scores"] == words(found)["machine"] == "differs" and compare.holds(found)
    assert compare.holds(compare.aspects(figure_changed(there, 1e-8), earned))
    assert not compare.holds(compare.aspects(figure_changed(there, 1e-4), earned))


@given(by=st.floats(1e-12, 1.0))
def test_on_the_same_machine_no_deviation_is_small_enough(by):
    record = examples.accuracy_record("ransac", {"hard": [0.5, 0.25]})
    found = compare.aspects(figure_changed(record, by), record)
    assert words(found)["figures"] == "differs" and not compare.holds(found)


def test_a_figure_that_is_gone_differs_here_and_is_said_elsewhere(earned):
    more = earned.model_copy(update={"figures": {**earned.figures, "map_new": Figure(value=1.0)}})
    assert words(compare.aspects(more, earned))["figures"] == "differs"
    found = {one.name: one for one in compare.aspects(elsewhere(more), earned)}
    assert found["figures"].word == "agrees" and "not found here: map_new" in found["figures"].why


@pytest.mark.parametrize("series", [[0.5], [None, 0.25], [0.5, 0.25, 0.75], []])
def test_a_series_is_compared_place_by_place(series):
    record = examples.accuracy_record("ransac", {"hard": [0.5, 0.25]})
    forged = record.model_copy(update={"series": record.series | {"ap_hard": series}})
    for before in (forged, elsewhere(forged)):
        assert words(compare.aspects(before, record))["figures"] == "differs"


def test_rounding_of_another_machine_tells_nothing_of_churn():
    record = examples.cost_record()
    key = churn.ChurnKey(
        reranker="a",
        device="cpu",
        dataset="d",
        dataset_sha256="e" * 64,
        descriptors="x",
        shortlist=9,
        queries=2,
        weights="none",
    )
    before, after = (
        record.model_copy(update={"key": key, "figures": {"score_change_max_batch_1": Figure(value=value)}})
        for value in (1e-3, 2e-3)
    )
    assert words(compare.aspects(elsewhere(before), after))["figures"] == "cannot tell"
    assert words(compare.aspects(before, after))["figures"] == "differs"


def test_a_cell_that_fails_now_does_not_hold(earned):
    failed = earned.model_copy(
        update={"status": "failed", "reason": "it crashed", "figures": {}, "series": {}, "scores_sha256": None}
    )
    found = compare.aspects(earned, failed)
    assert words(found)["outcome"] == "differs" and not compare.holds(found)
    assert words(found)["scores"] == words(found)["figures"] == "cannot tell"
    again = compare.aspects(failed, failed)
    assert words(again)["outcome"] == "agrees" and compare.holds(again)


def test_times_and_memory_of_a_cost_row_are_never_failures():
    record = examples.cost_record()
    slower = {name: Figure(value=2 * (record.figure(name).value)) for name in ("latency_median_ms", "delta_rss_bytes")}
    now = record.model_copy(update={"figures": {**record.figures, **slower}})
    assert compare.holds(compare.aspects(record, now))
    ratios = {one.name: one for one in compare.times(record, now)}
    assert "2 times" in ratios["latency_median_ms"].why and ratios["latency_median_ms"].word == "cannot tell"
    assert "parameters" not in ratios and "noisy" not in ratios
    fewer = {**record.figures, "parameters": Figure(value=1)}
    assert not compare.holds(compare.aspects(record, record.model_copy(update={"figures": fewer})))


def test_a_broken_audit_decides(cache, cost, tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "rerun", lambda record, told: record)
    bad = verify.Check(name="work", holds=False, words="less of it")
    monkeypatch.setattr(verify, "audited", lambda record, told: ([bad], record.scores_sha256))
    code, printed = job(cache, tmp_path, cost)
    assert code == 1 and "broken: work" in printed
    good = verify.Check(name="work", holds=True, words="all of it")
    monkeypatch.setattr(verify, "audited", lambda record, told: ([good], "0" * 64))
    assert job(cache, tmp_path, cost)[0] == 1  # what was timed is not what was scored

    def stopped(record, told):
        raise CellFailed("no result after 1 s")

    monkeypatch.setattr(verify, "audited", stopped)
    code, printed = job(cache, tmp_path, cost)
    assert code == 0 and "cannot tell: no result" in printed


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another data set of the same kind: a folder, which a key knows by its name only."""
    recipe = facades.Recipe(
        name="other", seed=8, landmarks=2, views=8, queries=2, distractors=16, long_side_px=320, pixels_per_metre=24
    )
    folder = tmp_path_factory.mktemp("data") / "other"
    facades.render(recipe, folder, workers=1)
    return folder


def test_tuned_churned_and_linking_rows_hold_too(cache, other, tmp_path):
    options = QUICK | {"shortlist": 12, "rerankers": "sg-rerank", "records": tmp_path, "cache": cache}
    assert exit_code(tune.main, **options, validation=str(other)) == 0
    assert exit_code(churn.main, **options, queries=2) == 0
    listed = options | {"shortlist": 40, "rerankers": "chamfer:rootsift-48"}
    assert exit_code(linking.main, **listed, draws=2) == 0
    found = sorted(ResultStore(tmp_path), key=lambda record: record.key.kind)
    assert [record.key.kind for record in found] == ["churn", "linking", "tune"]
    places = tmp_path / "copies"
    places.mkdir()
    code, printed = job(cache, places, *found, validation=str(other))
    assert code == 0 and printed.count(": holds") == 3
    assert job(cache, places, found[2])[0] == 2  # nobody says where the validation set lies


def test_a_kind_that_is_not_verified_says_so(cache, tmp_path):
    key = SweepKey(
        reranker="none:first-stage",
        device="cpu",
        dtype="float32",
        axis="candidates",
        values="1,2",
        candidates=2,
        inputs="",
    )
    code, _ = job(cache, tmp_path, examples.cost_record().model_copy(update={"key": key}))
    assert code == 2


def test_a_row_of_other_weights_asks_for_them(cache, earned, tmp_path):
    key = earned.key.model_copy(update={"reranker": "ames:rootsift", "weights": "mine.safetensors sha256:0123"})
    row = rerun.Row(earned.model_copy(update={"key": key}), Told(cache=cache, command=""))
    with pytest.raises(BenchError, match="Pass --checkpoint ames=PATH"):
        row.setting(key, MINI)
    assert job(cache, tmp_path, row.record)[0] == 2


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"schema_version": 2}', "\x00"])
def test_a_file_that_is_no_record_is_refused_with_words(cache, tmp_path, content):
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BenchError, match=r"record\.json .*wanted a JSON file"):
        verify.main(records=[path], cache=cache)


def test_a_device_that_is_not_there_is_said(cache, monkeypatch):
    monkeypatch.setattr(rerun.torch.cuda, "is_available", lambda: False)
    with pytest.raises(BenchError, match="a row of device 'cuda'"):
        rerun.rerun(examples.cost_record(device="cuda"), Told(cache=cache, command=""))


@pytest.mark.parametrize(
    "given",
    [Descriptors(), Descriptors(locals=7, words=8, global_dim=9, training="a (b)")],
)
def test_own_descriptors_are_told_from_their_name(cache, given):
    told = Told(cache=cache, command="")
    assert described(given.name, told) == given
    assert described(f"{given.name}, and distractors: 1000 synthetic", told) == given


def test_stored_descriptors_are_told_from_their_name(cache):
    told = Told(cache=cache, command="")
    assert described("dinov2 (files that do not say)", told) == Wanted("dinov2")
    assert described("dinov2 + sg globals (made (so))", told) == Wanted("dinov2", "sg")
    assert described("dinov2, first stage by the lists of nn.pkl sha256:01ab (x)", told) == Wanted("dinov2")
    assert described("anything", Told(cache=cache, command="", descriptors="mine")) == Wanted("mine")
    with pytest.raises(BenchError, match="Pass --descriptors"):
        described("of some kind", told)


def test_candidates_that_were_counted_are_those_of_the_record(cache):
    note = "FLOPs by the closed form; the witnesses agree on 10 candidates"
    row = rerun.Row(examples.cost_record("sg-rerank", notes=[note]), Told(cache=cache, command=""))
    assert rerun.cost_task(row).counted == 10 and rerun.cost_task(row).runs == 3
    assert rerun.cost_task(rerun.Row(examples.cost_record("sg-rerank"), row.told)).counted is None
