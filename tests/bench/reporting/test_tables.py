"""Tables: known text, footnotes, escaping, CSV that reads back."""

from __future__ import annotations

import csv
import io
import json

import pytest

from bench.reporting.numbers import percent
from bench.reporting.tables import Cell, Column, Table, code, escaped, figure_cell, missing
from bench.results import Figure

TABLE = Table(
    columns=(Column("re-ranker"), Column("mAP", percent), Column("ms", str)),
    rows=(
        (Cell("a|b", ("noisy: 3 % steal",)), Cell(0.4625), missing("no clock")),
        (Cell("c"), missing("no clock"), missing("no\nCUDA | device")),
    ),
    caption="mAP in percent",
    notes=("for all rows",),
)


def test_markdown_is_known_to_the_letter() -> None:
    assert TABLE.markdown() == (
        "| re-ranker   |   mAP |   ms |\n"
        "|:------------|------:|-----:|\n"
        "| a\\|b¹       | 46.25 |   –² |\n"
        "| c           |    –² |   –³ |\n"
        "\n"
        "mAP in percent\n"
        "\n"
        "- ¹ noisy: 3 % steal\n"
        "- ² no clock\n"
        "- ³ no CUDA \\| device\n"
        "- for all rows\n"
    )


def test_csv_reads_back_with_reasons() -> None:
    first, second = csv.DictReader(io.StringIO(TABLE.csv()))
    assert first == {
        "re-ranker": "a|b",
        "mAP": "0.4625",
        "ms": "",
        "reasons": json.dumps({"no clock": ["ms"]}),
    }
    assert second["mAP"] == second["ms"] == ""
    assert json.loads(second["reasons"]) == {"no clock": ["mAP"], "no\nCUDA | device": ["ms"]}


def test_csv_keeps_every_digit() -> None:
    value = 0.1 + 0.2
    table = Table(columns=(Column("x"), Column("n")), rows=((Cell(value), Cell(2**60)),))
    (row,) = csv.DictReader(io.StringIO(table.csv()))
    assert (float(row["x"]), int(row["n"]), row["reasons"]) == (value, 2**60, "")


def test_a_zero_is_a_figure_and_not_a_dash() -> None:
    table = Table(columns=(Column("x", str),), rows=((figure_cell(Figure(value=0)),),))
    assert "–" not in table.markdown()
    assert figure_cell(Figure(reason="why")) == missing("why")


def test_ten_footnotes_have_two_digit_marks() -> None:
    table = Table(columns=(Column("x"),), rows=tuple((missing(f"reason {n}"),) for n in range(10)))
    assert "| –¹⁰ |" in table.markdown()
    assert "- ¹⁰ reason 9\n" in table.markdown()


def test_a_long_reason_is_cut_in_markdown_and_whole_in_csv() -> None:
    table = Table(columns=(Column("x"),), rows=((missing("z" * 1_000),),))
    assert "z" * 299 + "…" in table.markdown() and "z" * 300 not in table.markdown()
    assert "z" * 1_000 in table.csv()


def test_a_table_without_rows_is_a_heading() -> None:
    table = Table(columns=(Column("x"), Column("y", str)), rows=())
    assert table.markdown().startswith("| x   | y   |\n")
    assert table.csv() == "x,y,reasons\n"


def test_cells_and_rows_are_checked() -> None:
    with pytest.raises(ValueError, match="reason"):
        Cell(None)
    with pytest.raises(ValueError, match="2 cells"):
        Table(columns=(Column("x"),), rows=((Cell(1), Cell(2)),))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a|b\n| c |", "a\\|b \\| c \\|"),
        ("<script>x</script>", "\\<script>x\\</script>"),
        ("p < 0.001", "p < 0.001"),
        ("[95%] [a](b)", "[95%] [a\\](b)"),
        ("**bold** hard*", "\\*\\*bold\\** hard*"),
        ("_em_ snake_case", "\\_em_ snake_case"),
        ("`rm`", "\\`rm\\`"),
        ("a\\|b", "a\\\\\\|b"),
        ("&lt; A & B", "\\&lt; A & B"),
    ],
)
def test_names_cannot_become_markup(text: str, wanted: str) -> None:
    assert escaped(text) == wanted


def test_code_spans_hold_back_ticks() -> None:
    assert code("python -m bench.report") == "`python -m bench.report`"
    assert code("echo `date`") == "`` echo `date` ``"
