"""Tables and pictures of sweeps."""

from __future__ import annotations

import csv
import io
import struct
import subprocess
import sys

import numpy as np
import pytest

from bench.reporting import curves, scaling
from bench.reporting.scaling import LATENCY, MEMORY, ON_THE_LAW
from bench.results import Figure, Record, SweepKey
from tests.bench.reporting.examples import MACHINE_B, cost_record, provenance

VALUES = (25, 50, 100, 200, 400)
MIB = 2**20


def sweep_record(
    reranker: str = "ames:micro",
    law: dict[str, float] | None = None,
    *,
    axis: str = "candidates",
    values: tuple[int, ...] = VALUES,
    departs: tuple[int, float, bool] | None = None,
    wobble: float = 0.03,
    memory: dict[str, float] | None = None,
    **changes,
) -> Record:
    """A finished sweep whose measurements lie about its law. departs: (value, share, whether all beyond it too)."""
    law = {"constant": 2.0, "linear": 0.3, "quadratic": 0.0} if law is None else law
    memory = {"constant": 4.0 * MIB, "linear": 0.1 * MIB, "quadratic": 0.0} if memory is None else memory
    said, held = scaling.at(law, values), scaling.at(memory, values)
    measured = said * (1 + wobble * np.sin(1 + np.arange(len(values))))
    for place, value in enumerate(values):
        if departs and (value == departs[0] or (departs[2] and value > departs[0])):
            measured[place] = said[place] * (1 + departs[1])
    figures = {f"law_{term}_ms": Figure(value=size) for term, size in law.items()}
    figures |= {f"memory_law_{term}_bytes": Figure(value=size) for term, size in memory.items()}
    nowhere = Figure(reason=ON_THE_LAW)
    for name, value in zip(("at", "by", "onwards"), departs or (None,) * 3, strict=True):
        figures[f"departs_{name}"] = nowhere if value is None else Figure(value=float(value) if name == "by" else value)
        figures[f"memory_departs_{name}"] = nowhere
    for prefix in ("", "memory_"):
        figures |= {f"{prefix}residual": Figure(value=wobble), f"{prefix}noise": Figure(value=0.02)}
    fields = {
        "key": SweepKey(
            reranker=reranker,
            device="cpu",
            dtype="float32",
            axis=axis,
            values=",".join(map(str, values)),
            candidates=values[-1] if axis == "candidates" else 100,
            inputs="48 x 48 locals of 128",
        ),
        "status": "ok",
        "figures": figures | {"processes": Figure(value=3), "fewest_runs": Figure(value=10)},
        "series": {
            "values": list(values),
            "latency_median_ms": measured.tolist(),
            "latency_p95_ms": (measured * 1.08).tolist(),
            "predicted_ms": said.tolist(),
            "peak_delta_bytes": (held * (1 + wobble * np.cos(np.arange(len(values))))).tolist(),
            "memory_predicted_bytes": held.tolist(),
        },
        "provenance": provenance(command="python -m bench.profile --sweep candidates=25,50,100,200,400"),
    }
    return Record(**(fields | changes))


def missing_record(reranker: str, reason: str, **changes) -> Record:
    """A sweep without a single measurement."""
    return sweep_record(reranker, **changes).model_copy(
        update={"status": "missing", "reason": reason, "figures": {}, "series": {}}
    )


def sweeps() -> list[Record]:
    """Nine re-rankers along one axis, of which one leaves the law, one runs short of a value and one says nothing."""
    short = sweep_record("locore:micro+slide=400/100/50", {"constant": 5.0, "linear": 1.3, "quadratic": 0.0})
    short.series["latency_median_ms"][-1] = short.series["latency_p95_ms"][-1] = None
    return [
        sweep_record("none:first-stage", {"constant": 0.05, "linear": 0.0, "quadratic": 0.0}),
        sweep_record("sg-rerank:default", {"constant": 0.4, "linear": 0.004, "quadratic": 6e-5}),
        sweep_record("ransac:affine", {"constant": 0.0, "linear": 4.2, "quadratic": 0.0}, wobble=0.06),
        sweep_record("chamfer:rootsift", departs=(200, 0.34, True)),
        sweep_record("elvis:micro", {"constant": 1.4, "linear": 0.12, "quadratic": 0.0}),
        sweep_record("rrt:micro", {"constant": 2.4, "linear": 0.6, "quadratic": 0.0}, departs=(50, -0.18, False)),
        sweep_record("r2former:micro", {"constant": 2.2, "linear": 0.5, "quadratic": 1e-9}),
        short,
        missing_record("locore:micro", "it sees the first 100 candidates only"),
    ]


def test_a_law_reads_as_it_is_written_and_negligible_terms_are_left_out():
    assert (
        scaling.law_text({"constant": 1.2, "linear": 0.31, "quadratic": 0.0004}, VALUES) == "1.2 + 0.31 N + 0.00040 N²"
    )
    assert scaling.law_text({"constant": 2.2, "linear": 0.5, "quadratic": 1e-9}, VALUES) == "2.2 + 0.50 N"
    assert scaling.law_text({"constant": 3.0, "inverse": 40.0}, (1, 2, 4)) == "3.0 + 40 / N"
    assert scaling.law_text({"constant": 2.0 * MIB, "linear": 0.0}, VALUES, MIB) == "2.0"
    assert scaling.law_text({"constant": 0.0}, VALUES) == "0"


def test_where_a_law_is_left_is_said_in_words():
    def said(**changes):
        return scaling.departure_cell(sweep_record(**changes), LATENCY).value

    assert said() == "nowhere"
    assert said(departs=(200, 0.34, True)) == "from 200 on: 34 % slower"
    assert said(departs=(400, -0.125, True)) == "at 400: 12 % faster"
    assert said(departs=(50, 0.5, False)) == "at 50: 50 % slower"
    assert scaling.departure_cell(sweep_record(departs=(50, 0.5, False)), MEMORY).value == "nowhere"
    assert scaling.departed(sweep_record(departs=(200, 0.3, True)), LATENCY) == [False, False, False, True, True]
    assert scaling.departed(sweep_record(departs=(200, 0.3, False)), LATENCY) == [False, False, False, True, False]


def test_groups_hold_what_may_stand_beside_each_other():
    other = sweep_record(provenance=provenance(fingerprint=MACHINE_B))
    threads = sweep_record(axis="threads", values=(1, 2, 4), law={"constant": 3.0, "inverse": 40.0})
    found = scaling.groups([other, threads, cost_record(), *sweeps()])
    assert [(one.axis, len(one.records)) for one in found] == [("candidates", 9), ("candidates", 1), ("threads", 1)]
    assert found[0].records[0].key.reranker == "none:first-stage"
    assert found[0].title == "Growth with candidates: Example CPU, machine aaaaaaaaaaaa, 2 threads"
    assert found[2].title == "Growth with threads: Example CPU, machine aaaaaaaaaaaa, 100 candidates"


def test_the_table_of_laws():
    text = scaling.law_table(scaling.groups(sweeps())[0]).markdown()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "0.40 + 0.0040 N + 6.0·10⁻⁵ N²" in rows["sg-rerank:default"]
    assert "from 200 on: 34 % slower" in rows["chamfer:rootsift"]
    assert "at 50: 18 % faster" in rows["rrt:micro"]
    assert "it sees the first 100 candidates only" in text and "–¹" in rows["locore:micro"]
    assert "c is work of pairs of candidates" in text


def test_what_was_not_measured_carries_its_reason():
    unknown = sweep_record()
    reason = Figure(reason="the system does not say the peak of a process")
    figures = {name: one for name, one in unknown.figures.items() if not name.startswith("memory_")}
    unknown = unknown.model_copy(update={"figures": figures | {"memory_residual": reason, "memory_departs_at": reason}})
    assert scaling.law_cell(unknown, MEMORY).notes == scaling.departure_cell(unknown, MEMORY).notes == (reason.reason,)
    untold = unknown.figures | {"departs_at": Figure(reason="one process each cannot tell")}
    cell = scaling.departure_cell(unknown.model_copy(update={"figures": untold}), LATENCY)
    assert (cell.value, cell.notes) == (None, ("one process each cannot tell",))
    assert scaling.law_cell(missing_record("x", "timeout"), LATENCY).notes == ("timeout",)


def test_values_and_sheet_have_a_row_for_each_value():
    group = scaling.groups(sweeps())[0]
    table = scaling.values_table(group)
    assert len(table.rows) == 8 * len(VALUES) + 1
    assert "chamfer:rootsift" in table.markdown()
    rows = list(csv.DictReader(io.StringIO(scaling.sheet([*sweeps(), cost_record()]).csv())))
    assert len(rows) == len(table.rows)
    one = next(row for row in rows if row["reranker"] == "chamfer:rootsift" and row["value"] == "200")
    assert float(one["latency_median_ms"]) == pytest.approx((2 + 0.3 * 200) * 1.34)
    assert (one["departs_at"], one["law_linear_ms"], one["axis"]) == ("200", "0.3", "candidates")
    lost = next(row for row in rows if row["reranker"] == "locore:micro")
    assert lost["status"] == "missing" and "it sees the first 100" in lost["reasons"]


def test_pictures_have_a_name_each_and_the_same_bytes_every_time():
    few = [one for one in sweeps() if one.key.reranker in ("chamfer:rootsift", "elvis:micro", "locore:micro")]
    few.append(sweep_record("rrt:micro"))
    groups = scaling.groups([*few, sweep_record(provenance=provenance(fingerprint=MACHINE_B))])
    found = curves.pictures(groups)
    names = [picture.name for pictures in found for picture in pictures]
    assert names == [f"scaling_candidates-{n}{kind}.png" for n in (1, 2) for kind in ("", "_memory")]
    assert found[0][0].left_out == ("locore:micro: it sees the first 100 candidates only",)
    assert found == curves.pictures(groups)
    for picture in found[0]:
        png, svg = picture.files[picture.name], picture.files[f"{picture.stem}.svg"]
        assert png.startswith(b"\x89PNG") and svg.startswith(b"<?xml")
        width, height = struct.unpack(">II", png[16:24])
        assert 1200 <= width <= 2000 and height > 500


@pytest.mark.parametrize("axis", ["threads", "batch", "window", "descriptors"])
def test_every_axis_is_drawn(axis):
    law = {"constant": 3.0, "inverse": 40.0, "linear": 0.02}
    (pictures,) = curves.pictures(scaling.groups([sweep_record("ames:micro", law, axis=axis, values=(1, 2, 4, 8))]))
    assert [picture.name for picture in pictures] == [f"scaling_{axis}.png", f"scaling_{axis}_memory.png"]


def test_a_group_without_measurements_has_no_picture():
    groups = scaling.groups([missing_record("locore:micro", "it sees the first 100 candidates only")])
    assert curves.pictures(groups) == [[]]
    assert "–" in scaling.law_table(groups[0]).markdown()


def test_neither_torch_nor_pyplot_is_imported():
    check = "import sys, bench.reporting.curves; sys.exit(bool({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
