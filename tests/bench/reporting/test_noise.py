"""Noise and power as sentences, tables, sheets and pictures."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from bench.reporting import noise_pictures
from bench.reporting.noise import (
    NOISE_FIGURES,
    Section,
    noise_sheet,
    noise_table,
    parts,
    power_sheet,
    power_table,
    rate,
    sections,
    seen,
    share,
    slowdown,
)
from bench.results import Figure, NoiseKey, PowerKey, Record
from tests.bench.reporting.examples import MACHINE_B, cost_record, provenance

VALUES = {
    "spread": 0.0312,
    "threshold": 0.0645,
    "confirmed_threshold": 0.05,
    "visible": 0.0934,
    "stored_threshold": 0.21,
    "stored_visible": 0.32,
    "memory_threshold": 0.02,
    "samples": 20,
    "freedom": 4.0,
}


def noise_record(reranker: str = "ames:micro", *, figures: dict[str, float] | None = None, **changes: Any) -> Record:
    """A finished calibration of 20 duels."""
    key = NoiseKey(
        reranker=reranker,
        device="cpu",
        dtype=changes.pop("dtype", "float32"),
        candidates=50,
        inputs="50 x 50 locals of 768",
        duels=changes.pop("duels", 4),
    )
    random = np.random.default_rng(len(reranker))
    fields: dict[str, Any] = {
        "key": key,
        "status": "ok",
        "figures": {name: Figure(value=value) for name, value in (VALUES | (figures or {})).items()},
        "series": {"log_ratios": [float(one) for one in random.normal(0, 0.03, 20)]},
        "provenance": provenance(command="python -m bench.check --calibrate"),
    }
    return Record(**(fields | changes))


def failed_record(reranker: str = "rrt:micro") -> Record:
    return noise_record(reranker, status="failed", reason="timeout", figures={}).model_copy(
        update={"figures": {}, "series": {}}
    )


def power_record(planted: str = "nothing", how: str = "added", detected: int = 1, of: int = 204) -> Record:
    found = detected / of if of else 0
    values = {"comparisons": of, "detected": detected, "rate": found, "rate_low": 0.9 * found, "rate_high": 1.0}
    return Record(
        key=PowerKey(reranker="ames:micro,none", device="cpu", candidates=50, duels=4, planted=planted, how=how),
        status="ok" if of else "missing",
        reason=None if of else "there was no re-ranker that it could be planted in",
        figures={name: Figure(value=value) for name, value in values.items()} if of else {},
        provenance=provenance(command="python -m bench.check --power"),
    )


def powers() -> list[Record]:
    return [
        power_record("slower by 50 %", detected=204),
        power_record("memory +50 %", "run", 0, 0),
        power_record("slower by 5 %", detected=20),
        power_record("slower by 20 %", "run", 12, 12),
        power_record("slower by 20 %", detected=200),
        power_record(),
    ]


def only(records: list[Record]) -> Section:
    (section,) = sections(records)
    return section


def rows_of(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_sections_are_of_one_machine_and_size_of_comparison() -> None:
    other = noise_record(provenance=provenance(fingerprint=MACHINE_B, threads=1))
    found = sections([noise_record(), *powers(), noise_record(duels=8), other, cost_record()])
    assert [(one.fingerprint[0], one.threads, one.duels) for one in found] == [("a", 2, 4), ("a", 2, 8), ("b", 1, 4)]
    assert [(len(one.noise), len(one.power)) for one in found] == [(1, 6), (1, 0), (1, 0)]
    assert len({one.stem for one in found}) == 3
    assert "2 threads: cpu, 50 candidates, comparisons of 4 duels" in found[0].title and "1 thread:" in found[2].title


def test_one_sentence_says_what_the_machine_can_see() -> None:
    one = only([noise_record()])
    assert seen(one).startswith("This machine can see a slowdown of 9.3 %: of ames:micro, in a comparison of 4 duels")
    several = only([noise_record(), noise_record("none", figures={"visible": 0.14}), failed_record()])
    text = seen(several)
    assert text.startswith("This machine can see a slowdown of 12 %: in a comparison of 4 duels")
    assert "half of the 2 re-rankers" in text and text.endswith("that of none, which takes 14 %.")
    assert "no calibration has finished" in seen(only([failed_record()]))


def test_the_noise_table_has_a_row_for_each_re_ranker() -> None:
    text = noise_table(only([noise_record(), failed_record()])).markdown()
    assert rows_of(text)[0] == ["ames:micro", "3.1 %", "6.5 %", "9.3 %", "21 %", "2.0 %", "20"]
    assert rows_of(text)[1] == ["rrt:micro", *["–¹"] * 6] and "¹ timeout" in text
    assert "all 8 duels together" in text


def test_false_alarms_come_first_and_slowdowns_by_size() -> None:
    text = power_table(only(powers())).markdown()
    assert [row[:5] for row in rows_of(text)] == [
        ["nothing", "added to samples", "204", "1", "0.5 %"],
        ["slower by 5 %", "added to samples", "204", "20", "9.8 %"],
        ["slower by 20 %", "added to samples", "204", "200", "98.0 %"],
        ["slower by 20 %", "changed code ran", "12", "12", "100.0 %"],
        ["slower by 50 %", "added to samples", "204", "204", "100.0 %"],
        ["memory +50 %", "changed code ran", "–¹", "–¹", "–¹"],
    ]
    assert rows_of(text)[2][5] == "88.2 to 100.0 %" and "¹ there was no re-ranker" in text


@pytest.mark.parametrize(
    ("planted", "size"),
    [("nothing", 0.0), ("slower by 20 %", 0.2), ("slower by 2.5 %", 0.025), ("memory +50 %", None), ("slower", None)],
)
def test_a_slowdown_is_read_from_what_was_planted(planted: str, size: float | None) -> None:
    assert slowdown(power_record(planted)) == (None if size is None else pytest.approx(size))


def test_parts_name_what_differs_between_records() -> None:
    twice = [noise_record(), noise_record(dtype="bfloat16")]
    text = "\n".join(parts(only([*twice, *powers()])))
    assert "#### Planted changes" in text and text.count("Provenance:") == 1
    assert "ames:micro [bfloat16, 50 x 50 locals of 768]" in text
    assert "--calibrate` (ames:micro" in text and "slower by 20 % (changed code ran)" in text
    assert "Planted" not in "\n".join(parts(only(twice)))
    assert "can see" not in "\n".join(parts(only(powers())))


def test_sheets_have_every_figure_in_full() -> None:
    records = [noise_record(), failed_record(), *powers(), cost_record()]
    rows = list(csv.DictReader(io.StringIO(noise_sheet(records).csv())))
    assert [row["reranker"] for row in rows] == ["ames:micro", "rrt:micro"]
    assert {name: float(rows[0][name]) for name in NOISE_FIGURES} == VALUES
    assert rows[1]["visible"] == "" and "timeout" in rows[1]["reasons"]
    rows = list(csv.DictReader(io.StringIO(power_sheet(records).csv())))
    assert [row["planted"] for row in rows][:2] == ["nothing", "slower by 5 %"]
    assert float(rows[2]["rate"]) == 200 / 204 and rows[2]["reranker"] == "ames:micro,none"


def test_pictures_are_drawn_where_there_is_something_to_draw() -> None:
    both = noise_pictures.pictures(only([noise_record(), failed_record(), *powers()]))
    stem = "noise_aaaaaaaaaaaa-2-threads-cpu-50-candidates-4-duels"
    assert list(both) == [f"{stem}_{kind}.{ending}" for kind in ("duels", "power") for ending in ("png", "svg")]
    for png in (one for name, one in both.items() if name.endswith(".png")):
        height, width = imread(io.BytesIO(png)).shape[:2]
        assert 1_100 < width < 1_300 and height > 200
    assert not noise_pictures.titles(only([failed_record()]))
    assert not noise_pictures.titles(only([power_record("another ranking", "run", 12, 12)]))
    alone = noise_pictures.pictures(only([power_record()]))
    assert list(alone) == [f"{stem}_power.png", f"{stem}_power.svg"]


def test_a_picture_is_the_same_twice_and_shows_its_records() -> None:
    section = only([noise_record(), *powers()])
    assert noise_pictures.draw_duels(section) == noise_pictures.draw_duels(section)
    assert noise_pictures.draw_power(section) == noise_pictures.draw_power(section)
    wider = only([noise_record(figures={"threshold": 0.08}), *powers()])
    assert noise_pictures.draw_duels(wider) != noise_pictures.draw_duels(section)
    changed = only([noise_record(), *powers()[1:], power_record("slower by 50 %", detected=150)])
    assert noise_pictures.draw_power(changed) != noise_pictures.draw_power(section)


def test_shares_are_short_and_rates_keep_a_tenth() -> None:
    assert [share(one) for one in (0.0934, 0.1249, 1.2, 0.02)] == ["9.3 %", "12 %", "120 %", "2.0 %"]
    assert [rate(one) for one in (0.0, 0.0049, 1.0)] == ["0.0 %", "0.5 %", "100.0 %"]
