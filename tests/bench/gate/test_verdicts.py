"""Every rule of the gate, on made-up facts, durations and records."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gate.verdicts import (
    Verdict,
    against_stored,
    exit_code,
    of_earned,
    of_facts,
    of_memory,
    of_stored_timing,
    of_timing,
)
from bench.results import AccuracyKey, Figure, GateKey, Record
from tests.bench.reporting.examples import provenance

MIB = 1 << 20
HERE = provenance(fingerprint="45bd24d2f6db")
THERE = provenance(fingerprint="9a0000000000")
OTHER_TORCH = provenance(fingerprint="45bd24d2f6db", versions={"python": "3.11.9", "torch": "2.14.0"})
KNOWN = {"ames:micro": SimpleNamespace(stored_threshold=0.1, memory_threshold=0.05)}


def facts(**changes: Any) -> Any:
    found = {
        "parameters": 2_079_745,
        "flops": 46_900_000_000,
        "flops_reason": "",
        "kernels": {"aten.mm.default": 12, "aten.add.Tensor": 4},
        "scores": (0.5, 0.25, -1.0),
        "scores_sha256": "a" * 64,
        "weights": "ames-micro.safetensors sha256:780aa3c53005",
    }
    return SimpleNamespace(**(found | changes))


def estimate(ratio: float, low: float, high: float, duels: int = 4) -> Any:
    return SimpleNamespace(ratio=ratio, low=low, high=high, duels=duels)


def gate(**changes: Any) -> Record:
    key = GateKey(
        reranker=changes.pop("reranker", "ames:micro"),
        device="cpu",
        dtype="float32",
        candidates=changes.pop("candidates", 50),
        inputs="48 x 48 locals of 128",
        weights=changes.pop("weights", "ames-micro.safetensors sha256:780aa3c53005"),
    )
    figures = {"parameters": 2_079_745, "gflops_executed": 46.9, "kernel aten.mm.default": 12} | changes.pop(
        "figures", {}
    )
    series: dict[str, Any] = {
        "scores": [0.5, 0.25, -1.0],
        "latency_process_medians_ms": [10.0, 10.2, 9.9, 10.1],
        "memory_process_bytes": [100 * MIB, 101 * MIB],
    } | changes.pop("series", {})
    made: dict[str, Any] = {
        "key": key,
        "status": "ok",
        "figures": {
            name: Figure(reason=value) if isinstance(value, str) else Figure(value=value)
            for name, value in figures.items()
        },
        "series": series,
        "scores_sha256": "a" * 64,
        "provenance": HERE,
    }
    return Record(**(made | changes))


def earned(hard: list[float | None], **changes: Any) -> Record:
    key = AccuracyKey(
        reranker="ames:micro",
        dataset="facades-mini",
        dataset_sha256="e" * 64,
        descriptors=changes.pop("descriptors", "RootSIFT-500"),
        shortlist=30,
        policy="junk behind",
        weights="none",
        read=None,
    )
    series = {"ap_medium": [0.5] * len(hard), "ap_hard": hard, "positives_in_shortlist_hard": [3] * len(hard)}
    return Record(**({"key": key, "status": "ok", "series": series, "provenance": HERE} | changes))


def by_what(verdicts: list[Verdict]) -> dict[str, Verdict]:
    return {verdict.what: verdict for verdict in verdicts}


def stored(base: Record, head: Record, known: Any = KNOWN) -> dict[str, Verdict]:
    return by_what(against_stored([base], [head], known))


def test_equal_facts_are_the_same():
    verdicts = by_what(of_facts("ames:micro", facts(), facts()))
    assert set(verdicts) == {"weights", "parameters", "FLOPs", "kernels", "scores"}
    assert {verdict.status for verdict in verdicts.values()} == {"same"}
    assert verdicts["parameters"].base == "2,079,745" and verdicts["FLOPs"].head == "46.9 GFLOP"
    assert verdicts["kernels"].head == "16 calls"


@pytest.mark.parametrize(("head", "status"), [(2_000_000, "better"), (2_100_000, "worse")])
def test_fewer_parameters_than_a_revision_are_better_and_more_are_worse(head, status):
    verdict = by_what(of_facts("ames:micro", facts(), facts(parameters=head)))["parameters"]
    assert verdict.status == status and "%" in verdict.detail and verdict.blocks == (status == "worse")


@pytest.mark.parametrize(
    ("base", "head", "status", "said"),
    [
        (40_000_000_000, 46_900_000_000, "worse", "more by 17.2 %"),
        (46_900_000_000, 40_000_000_000, "better", "fewer by 14.7 %"),
        (None, None, "not compared", "OpenCV"),
        (46_900_000_000, None, "changed", "no longer counted: OpenCV"),
        (None, 46_900_000_000, "not compared", "first time"),
    ],
)
def test_flops_against_a_revision(base, head, status, said):
    sides = (
        facts(flops=one, flops_reason="OpenCV is seen by no counter" if one is None else "") for one in (base, head)
    )
    verdict = by_what(of_facts("ransac", *sides))["FLOPs"]
    assert verdict.status == status and said in verdict.detail


def test_kernels_of_a_revision_block_nothing_but_are_told():
    fewer = by_what(of_facts("a", facts(), facts(kernels={"aten.mm.default": 12})))["kernels"]
    more = by_what(of_facts("a", facts(), facts(kernels={"aten.mm.default": 14, "aten.add.Tensor": 4})))["kernels"]
    assert fewer.status == "better" and fewer.detail == "-4 aten.add.Tensor"
    assert more.status == "within noise" and "+2 aten.mm.default" in more.detail and "latency" in more.detail


@pytest.mark.parametrize(
    ("scores", "status", "said"),
    [
        ((0.5, 0.25, -1.00003), "within noise", "within rounding: largest score change 3e-05"),
        ((0.5, 0.25, -1.031), "changed", "other scores in the same order: largest score change 0.031"),
        ((0.2, 0.25, -1.0), "changed", "another ranking: largest score change 0.3"),
        ((0.5, 0.25), "changed", "2 scores where there were 3"),
        ((0.5, 0.25, float("-inf")), "changed", "other candidates have no score"),
    ],
)
def test_scores(scores, status, said):
    verdict = by_what(of_facts("a", facts(), facts(scores=scores, scores_sha256="b" * 64)))["scores"]
    assert verdict.status == status and said in verdict.detail
    assert (verdict.base, verdict.head) == ("a" * 12, "b" * 12)


def test_nearly_equal_scores_that_change_places_are_another_ranking():
    """As of a sigmoid that is nearly 1 everywhere."""
    base, other = (0.99980, 0.99981, 0.999805), (0.99981, 0.99980, 0.999805)
    close = tuple(score + 2e-7 for score in base)
    for scores, status in ((other, "changed"), (close, "within noise")):
        head = facts(scores=scores, scores_sha256="b" * 64)
        assert by_what(of_facts("a", facts(scores=base), head))["scores"].status == status


def test_candidates_behind_a_window_have_no_score_on_either_side():
    base = facts(scores=(0.5, None), scores_sha256="b" * 64)
    head = facts(scores=(0.500001, float("-inf")))
    assert by_what(of_facts("a", base, head))["scores"].status == "within noise"


def test_other_weights_of_a_revision_are_left_to_the_ap():
    verdicts = by_what(of_facts("a", facts(), facts(weights="new", scores=(9.0, 1.0, 2.0), scores_sha256="b" * 64)))
    assert verdicts["weights"].status == verdicts["scores"].status == "not compared"
    assert "the AP says" in verdicts["scores"].detail


@pytest.mark.parametrize(
    ("ratio", "status", "words"),
    [
        (1.124, "worse", "12.4 % slower [+9.8, +15.1], turn against turn; the limit on this machine is 6.0 %; 4 duels"),
        (1.05, "within noise", "5.0 % slower"),
        (0.96, "within noise", "4.0 % faster"),
        (0.8, "better", "20.0 % faster"),
    ],
)
def test_timing_is_held_against_its_limit(ratio, status, words):
    verdict = of_timing("a", estimate(ratio, 1.098, 1.151), 0.06, medians_ms=(24.7, 24.7 * ratio))
    assert verdict.status == status and words in verdict.detail
    assert verdict.base == "24.7 ms"


def test_timing_says_what_it_rests_on():
    guess = of_timing("a", estimate(1.3, 1.2, 1.4), 0.25, medians_ms=(1, 1.3), calibrated=False)
    assert guess.status == "worse" and "25.0 %, as long as nothing is calibrated" in guess.detail
    twice = of_timing("a", estimate(1.3, 1.2, 1.4, 8), 0.05, medians_ms=(1, 1.3), first=estimate(1.4, 1, 2))
    assert "8 duels, the first 4 said 40.0 % slower: confirmed" in twice.detail
    chance = of_timing("a", estimate(1.02, 0.9, 1.1, 8), 0.05, medians_ms=(1, 1.02), first=estimate(1.09, 1, 2))
    assert chance.status == "within noise" and chance.detail.endswith("9.0 % slower: not confirmed")


@pytest.mark.parametrize(
    ("base", "head", "status"),
    [
        ([100 * MIB] * 3, [100 * MIB] * 3, "same"),
        ([100 * MIB] * 3, [104 * MIB] * 3, "within noise"),
        ([100 * MIB] * 3, [150 * MIB] * 3, "worse"),
        ([100 * MIB] * 3, [60 * MIB] * 3, "better"),
        ([100_000], [900_000], "within noise"),
        ([0], [2 * MIB], "worse"),
        ([0], [0], "same"),
        ([None, 100 * MIB], [100 * MIB], "same"),
        ([None], [100 * MIB], "not compared"),
    ],
)
def test_memory(base, head, status):
    assert of_memory("a", base, head, 0.05).status == status


def test_memory_says_its_limit():
    verdict = of_memory("a", [100 * MIB], [150 * MIB], 0.05)
    assert verdict.detail == "50.0 % more, 50.0 MiB; the limit on this machine is 5.0 % and 1 MiB"
    assert "as long as nothing is calibrated" in of_memory("a", [MIB], [9 * MIB], 0.25, calibrated=False).detail


def test_medians_of_another_day():
    verdict = of_stored_timing("a", [10, 11, 10], [13, 13, 12], 0.2, note="torch 1, now 2")
    assert verdict.status == "worse" and verdict.detail.startswith("30.0 % slower; the limit on this machine is 20.0 %")
    assert "medians of 3 and 3 processes" in verdict.detail and "torch 1, now 2" in verdict.detail


@pytest.mark.parametrize(
    ("head", "same_machine", "old", "new"),
    [
        ([0.5, 0.25, None], True, "same", "same"),
        ([0.5, 0.25 + 1e-9, None], False, "same", "same"),
        ([0.5, 0.25 + 1e-9, None], True, "changed", "better"),
        ([0.5, 0.25 - 1e-9, None], True, "worse", "worse"),
        ([0.5, 0.35, None], False, "changed", "better"),
        ([0.4, 0.35, None], False, "worse", "worse"),
        ([0.5, 0.25, 0.1], True, "changed", "changed"),
        ([0.5, 0.25], True, "changed", "changed"),
    ],
)
def test_earned_ap_of_every_query(head, same_machine, old, new):
    base = earned([0.5, 0.25, None])
    assert of_earned(base, earned(head), same_machine, stored=True).status == old
    assert of_earned(base, earned(head), same_machine).status == new


@pytest.mark.parametrize(
    ("hard", "where", "status"),
    [
        ([0.4, 0.25], HERE, "worse"),
        ([0.4, 0.25], OTHER_TORCH, "worse"),
        ([0.4, 0.25], THERE, "not compared"),
        ([0.5, 0.25 + 1e-9], THERE, "same"),
    ],
)
def test_another_machine_moves_the_ap_by_itself(hard, where, status):
    base, head = earned([0.5, 0.25], provenance=HERE), earned(hard, provenance=where)
    assert stored(base, head)["AP"].status == status


def test_earned_ap_names_the_query_that_moved_most():
    verdict = of_earned(earned([0.5, 0.25, 0.9]), earned([0.4, 0.2, 0.95]), True)
    assert verdict.detail == "2 of 6 APs worse, 1 better; most: query 0 under hard, 50.00 to 40.00"
    assert verdict.base == "medium 50.00, hard 55.00"


def test_a_record_without_ap_is_no_base():
    assert of_earned(earned([0.5], series={}), earned([0.5]), True).status == "changed"


def test_the_same_records_are_the_same():
    verdicts = stored(gate(), gate())
    assert set(verdicts) == {"weights", "parameters", "FLOPs", "kernels", "scores", "latency", "memory"}
    assert {name for name, one in verdicts.items() if one.status != "same"} == {"latency"}
    assert verdicts["latency"].status == "within noise" and exit_code(verdicts.values()) == 0


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("parameters", {"figures": {"parameters": 2_079_744}}),
        ("FLOPs", {"figures": {"gflops_executed": 46.8}}),
        ("FLOPs", {"figures": {"gflops_executed": "OpenCV is seen by no counter"}}),
        ("kernels", {"figures": {"kernel aten.mm.default": 11}}),
        ("kernels", {"figures": {"kernel aten.add.Tensor": 1}}),
        ("scores", {"scores_sha256": "b" * 64}),
        ("weights", {"weights": "ames-micro.safetensors sha256:000000000000"}),
    ],
)
def test_any_difference_from_a_stored_fact_blocks_and_says_what_to_do(what, changes):
    verdict = stored(gate(), gate(**changes))[what]
    assert verdict.status == "changed"
    assert "--update" in verdict.detail or "no longer counted" in verdict.detail


def test_scores_of_another_machine_are_compared_within_rounding():
    close = {"series": {"scores": [0.5, 0.25, -1.00001]}, "scores_sha256": "b" * 64, "provenance": THERE}
    verdict = stored(gate(), gate(**close))["scores"]
    assert verdict.status == "within noise" and "another machine" in verdict.detail and "rtol" in verdict.detail
    assert stored(gate(), gate(**close | {"provenance": HERE}))["scores"].status == "changed"
    far = close | {"series": {"scores": [0.1, 0.25, -1.0]}}
    assert stored(gate(), gate(**far))["scores"].status == "changed"


def test_kernels_are_not_compared_across_versions_of_torch():
    verdicts = stored(gate(), gate(figures={"kernel aten.mm.default": 11}, provenance=OTHER_TORCH))
    assert verdicts["kernels"].status == "not compared" and "2.14.0" in verdicts["kernels"].detail
    assert "torch 2.13.0, now 2.14.0" in verdicts["latency"].detail


@pytest.mark.parametrize(
    ("head", "known", "said"),
    [
        (
            THERE,
            KNOWN,
            "the baseline is of machine 45bd24d2f6db, this is 9a0000000000: timing of two machines says nothing",
        ),
        (provenance(fingerprint="45bd24d2f6db", threads=1), KNOWN, "ran with 2 threads, this with 1"),
        (HERE, {}, "no noise model of this machine: python -m bench.check --calibrate makes one"),
    ],
)
def test_time_and_memory_are_compared_on_one_machine_that_is_known(head, known, said):
    slow = gate(provenance=head, series={"latency_process_medians_ms": [99.0], "memory_process_bytes": [999 * MIB]})
    verdicts = stored(gate(), slow, known)
    for what in ("latency", "memory"):
        assert verdicts[what].status == "not compared" and said in verdicts[what].detail
    assert exit_code(verdicts.values()) == 0


def test_time_and_memory_beyond_the_stored_limit_block():
    verdicts = stored(gate(), gate(series={"latency_process_medians_ms": [11.5], "memory_process_bytes": [120 * MIB]}))
    assert verdicts["latency"].status == verdicts["memory"].status == "worse"
    quick = stored(gate(), gate(series={"latency_process_medians_ms": [8.0], "memory_process_bytes": [60 * MIB]}))
    assert quick["latency"].status == quick["memory"].status == "better"


def test_ap_is_judged_too():
    base, head = earned([0.5, 0.25]), earned([0.5, 0.2])
    assert [one.status for one in against_stored([base], [head], {})] == ["worse"]
    assert [one.status for one in against_stored([base], [base], {})] == ["same"]
    apart = earned([0.5, 0.25 - 1e-8], provenance=THERE)
    assert [one.status for one in against_stored([base], [apart], {})] == ["same"]


def test_another_setting_is_a_change_and_names_it():
    (verdict,) = against_stored([earned([0.5])], [earned([0.5], descriptors="RootSIFT-100")], {})
    assert verdict.status == "changed" and "'RootSIFT-500', now 'RootSIFT-100'" in verdict.detail
    (cell,) = against_stored([gate()], [gate(candidates=9)], KNOWN)
    assert cell.status == "changed" and "candidates 50, now 9" in cell.detail


def test_missing_failed_and_new_cells():
    failed = gate(status="failed", reason="no result after 3600 s")
    (gone,) = against_stored([gate()], [], KNOWN)
    (broken,) = against_stored([gate()], [failed], KNOWN)
    (fresh,) = against_stored([], [gate()], KNOWN)
    (never,) = against_stored([failed], [failed], KNOWN)
    assert gone.status == broken.status == "missing" and "3600 s" in broken.detail
    assert fresh.status == never.status == "not compared" and "--update" in fresh.detail
    assert exit_code([gone]) == exit_code([broken]) == 3 and exit_code([fresh]) == exit_code([never]) == 2


def test_verdicts_keep_the_order_of_the_baseline_and_stand_together():
    base = [gate(reranker="b"), gate(reranker="a"), earned([0.5])]
    names = [one.reranker for one in against_stored(base, base, {})]
    assert names == ["b"] * 7 + ["a"] * 7 + ["ames:micro"]


def test_records_of_other_kinds_are_nobody_s_business():
    from tests.bench.reporting.examples import cost_record

    assert against_stored([cost_record()], [], {}) == []


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ((), 2),
        (("not compared",), 2),
        (("same", "not compared"), 0),
        (("better", "within noise"), 0),
        (("missing", "same"), 3),
        (("missing", "not compared"), 3),
        (("worse", "missing"), 1),
        (("changed",), 1),
    ],
)
def test_exit_codes(statuses, code):
    assert exit_code([Verdict(reranker="a", what="b", status=status) for status in statuses]) == code


@given(
    ratio=st.floats(0.2, 5, allow_nan=False),
    threshold=st.floats(0.01, 0.9, allow_nan=False),
)
def test_swapping_the_sides_swaps_worse_and_better(ratio, threshold):
    one = of_timing("a", estimate(ratio, ratio, ratio), threshold, medians_ms=(1, ratio)).status
    other = of_timing("a", estimate(1 / ratio, 1 / ratio, 1 / ratio), threshold, medians_ms=(ratio, 1)).status
    swapped = {"worse": "better", "better": "worse", "within noise": "within noise"}
    at_the_limit = abs(ratio - 1 - threshold) < 1e-9 or abs(1 / ratio - 1 - threshold) < 1e-9
    assert at_the_limit or other == swapped[one]
