"""Scatter plots: which panels, what they say, and the same bytes twice."""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import subprocess
import sys
from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.image import imread

from bench.reporting import accuracy, scatter, style
from bench.reporting.queries import PairedAP
from bench.results import Record
from tests.bench.reporting.examples import accuracy_record, comparison
from tests.support import ROOT

PROTOCOLS = ("easy", "medium", "hard", "hard_star")


def group_of(records: list[Record]) -> accuracy.Group:
    (group,) = accuracy.groups(records)
    return group


def record(name: str, values: list[float | None], **changes: object) -> Record:
    return accuracy_record(name, dict.fromkeys(PROTOCOLS, values), **changes)


def panel(positives: list[int] | None = None) -> scatter.Panel:
    counts = np.array(positives or [0, 3, 40])
    return scatter.Panel("none", "a", PairedAP(np.array([0.1, 0.5, 0.9]), np.array([0.3, 0.5, 0.8]), counts), "→")


def chunks(png: bytes) -> list[bytes]:
    """Names of a PNG's parts."""
    found, place = [], 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        found.append(png[place + 4 : place + 8])
        place += 12 + length
    return found


def test_a_title_gives_map_and_sides_of_the_diagonal() -> None:
    assert panel().title == "mAP 50.00 → 53.33 (+3.33)\n1 above, 1 below, 1 equal"


def test_a_picture_is_the_same_twice_and_carries_no_date() -> None:
    first, second = (scatter.draw([panel()], "medium", "where it comes from") for _ in range(2))
    assert first == second
    assert first["png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert not {b"tIME", b"tEXt", b"iTXt", b"zTXt"} & set(chunks(first["png"]))
    assert b"<dc:date>" not in first["svg"] and b"Matplotlib" not in first["svg"]
    pixels = imread(io.BytesIO(first["png"]))
    assert pixels.shape[0] > 300 and pixels.shape[1] > 300
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50


def test_points_positives_and_footer_reach_the_picture() -> None:
    plain = scatter.draw([panel()], "medium", "here")
    for ending, contents in plain.items():
        assert scatter.draw([panel([40, 3, 0])], "medium", "here")[ending] != contents
        assert scatter.draw([panel()], "hard", "here")[ending] != contents
        assert scatter.draw([panel()], "medium", "there")[ending] != contents


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_small_multiples_of_any_number(count: int) -> None:
    height, width = imread(io.BytesIO(scatter.draw([panel()] * count, "medium", "")["png"])).shape[:2]
    columns = {1: 1, 2: 2, 4: 2, 5: 3}[count]
    assert 400 * columns < width < 650 * columns
    rows = -(-count // columns)
    assert 400 * rows < height < 650 * rows


@pytest.mark.parametrize("positives", [[0, 0, 0], [1, 1, 1], [0, 5, 3_000_000]])
def test_any_number_of_positives_has_a_colour(positives: list[int]) -> None:
    assert scatter.draw([panel(positives)], "hard", "")


def test_names_are_text_and_not_formulas() -> None:
    strange = scatter.Panel("$\\frac{$", "a_$b^", panel().pairs)
    assert scatter.draw([strange], "hard", "$\\nonsense{$")


def test_before_and_after_takes_every_reranker_and_says_what_it_leaves_out() -> None:
    panels, left_out = scatter.before_after(group_of(comparison()), "medium")
    assert [(one.first, one.second) for one in panels] == [
        ("none:first-stage", "ransac:homography"),
        ("none:first-stage", "sg-rerank:published"),
        ("none:first-stage", "ames:rootsift (random weights)"),
    ]
    assert left_out == ["ransac:affine: timeout: not done after 3,600 s"]


def test_methods_meet_each_other_but_for_untrained_and_failed_ones() -> None:
    panels, left_out = scatter.method_against_method(group_of(comparison()), "hard")
    assert [(one.first, one.second) for one in panels] == [("ransac:homography", "sg-rerank:published")]
    assert left_out == []


def test_many_methods_meet_the_best_one() -> None:
    records = [record(f"m{n}", [0.1 * n, 0.2, 0.3]) for n in (1, 2, 5, 3, 4)]
    panels, _ = scatter.method_against_method(group_of(records), "medium")
    assert [(one.first, one.second) for one in panels] == [(f"m{n}", "m5") for n in (1, 2, 3, 4)]


def test_without_a_baseline_nothing_is_before() -> None:
    panels, left_out = scatter.before_after(group_of([record("a", [0.1, 0.2])]), "medium")
    assert (panels, left_out) == ([], ["no finished record of 'none' to compare with"])


def test_the_footer_says_where_the_picture_comes_from() -> None:
    group = group_of(comparison())
    text = scatter.footer(group, group.records)
    for words in ("facades (sha256 eeeeeeeeeeee)", "shortlist of 400", "Commit 0123456, fffffff+dirty", "2025-03-02"):
        assert words in text


#: Machado, Oliveira and Fernandes (IEEE TVCG 15, 2009), severity 1.0: linear RGB as those see it who lack a cone.
VISION = {
    "all cones": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(colour: Any, vision: str) -> np.ndarray:
    """CIELAB (D65) of a colour of matplotlib, as it is seen."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(VISION[vision] @ linear, 0, 1) / (TO_XYZ @ np.ones(3))
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one: Any, other: Any, vision: str) -> float:
    return float(np.linalg.norm(lab(one, vision) - lab(other, vision)))


def test_distances_are_those_of_cielab() -> None:
    assert lab("white", "all cones") == pytest.approx([100, 0, 0], abs=1e-3)
    assert lab("red", "all cones") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    # what is told apart by red against green only, is not told apart
    assert apart("#d62728", "#2ca02c", "all cones") > 100 and apart("#d62728", "#7f6f00", "deuteranopia") < 20


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_told_apart_with_any_cones(vision: str) -> None:
    """A distance of some 2 is just seen; 15 is another colour at a glance."""
    for one, other in combinations((style.MEASURED, style.STANDOUT, style.GUIDE, style.FAINT, style.BAND, "white"), 2):
        assert apart(one, other, vision) > (10 if "white" in (one, other) else 15), (one, other)
    assert apart(style.MEASURED, style.STANDOUT, vision) > 60
    steps = [tuple(step[:3]) for step in matplotlib.colormaps[style.ORDERED](np.linspace(0, 1, scatter.MOST_STEPS))]
    assert min(apart(one, other, vision) for one, other in combinations(steps, 2)) > 15
    assert min(apart(style.STANDOUT, step, vision) for step in steps) > 15
    lightness = [lab(step, vision)[0] for step in steps]
    assert lightness == sorted(lightness)


def test_a_scatter_plot_brings_no_colours_of_its_own() -> None:
    known = {colour.lower() for colour in (style.MEASURED, style.STANDOUT, style.BAND)}
    # white and black are edges and text, the greys guides, grids and small print
    known |= {"#ffffff", "#000000"}
    svg = scatter.draw([panel()], "medium", "")["svg"].decode()
    drawn = set(re.findall(r"#[0-9a-f]{6}(?=[;\"])", svg))
    steps = matplotlib.colormaps[style.ORDERED](np.linspace(0, 1, scatter.MOST_STEPS))
    others = {one for one in drawn - known if len({one[1:3], one[3:5], one[5:7]}) > 1}
    assert others <= {to_hex(step) for step in steps}


def test_an_svg_is_the_same_in_every_process() -> None:
    code = (
        "import hashlib; from tests.bench.reporting.test_scatter import panel, scatter; "
        "print(hashlib.sha256(scatter.draw([panel()], 'medium', 'here')['svg']).hexdigest())"
    )
    ours = hashlib.sha256(scatter.draw([panel()], "medium", "here")["svg"]).hexdigest()
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert done.stdout.split() == [ours]
