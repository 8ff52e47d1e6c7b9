"""Tables: known text, footnotes, escaping, CSV that reads back, LaTeX that would compile."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from bench.reporting.numbers import percent, significant
from bench.reporting.tables import Cell, Column, Table, code, escaped, figure_cell, latex_escaped, missing
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


#: All that our files may use: LaTeX's own, and booktabs' rules.
KNOWN = r"""
begin end caption label centering small footnotesize scriptsize raggedright par smallskip setlength tabcolsep
toprule midrule bottomrule textbf underline mathbf textsuperscript texttt
textbackslash textasciitilde textasciicircum textless textgreater textbar dots copyright & % $ # _ { } \
ss ae AE oe OE o O l L i S c u v H r ` ' ^ ~ = . "
circ pm times cdot rightarrow leftarrow ast geq leq approx neq infty dagger ddagger
mu alpha beta gamma delta varepsilon lambda pi sigma tau Delta Sigma Omega
"""
COMMANDS = set(KNOWN.split())
_COMMAND = re.compile(r"\\([A-Za-z]+|.)")


def check_latex(text: str) -> int:
    """The number of tables of a LaTeX file; AssertionError for what a compiler would choke on."""
    assert text.isascii(), "only ASCII compiles everywhere"
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    assert not re.search(r"(?<!\\)%", "\n".join(lines)), "an unescaped % hides the rest of its line"
    labels = re.findall(r"\\label\{([^}]*)\}", text)
    assert len(set(labels)) == len(labels) and all(re.fullmatch(r"[\w:.+-]+", label) for label in labels), labels
    open_now, depth, ampersands, within = [], 0, None, False
    for line in lines:
        unknown = set(_COMMAND.findall(line)) - COMMANDS
        assert not unknown, f"undefined: {unknown}"
        for begins, ends, name in re.findall(r"\\(?:(begin)|(end))\{(\w+\*?)\}", line):
            if begins:
                open_now.append(name)
            assert begins or (ends and open_now.pop() == name), f"{name} ends what it did not begin"
        if found := re.search(r"\\begin\{tabular\}\{([lr]+)\}", line):
            ampersands = len(found[1]) - 1
        plain = _COMMAND.sub(lambda one: "" if len(one[1]) == 1 else one[0], line)
        within = within and r"\bottomrule" not in line
        if within and r"\midrule" not in line:
            assert line.endswith(r" \\"), f"a row without an end: {line}"
            assert not line.strip().startswith(("[", "*")), f"read as an argument: {line}"
            assert plain.count("&") == ampersands, f"not {ampersands + 1} cells: {line}"
        else:
            assert "&" not in plain, f"an alignment tab outside of a table: {line}"
        within = within or r"\toprule" in line
        outside, formulas = plain.split("$")[::2], plain.split("$")[1::2]
        assert len(outside) == len(formulas) + 1, f"a formula without an end: {line}"
        assert not re.search(r'[_^#<>|"]', "".join(outside)), f"special characters in text: {line}"
        for part in (*outside, *formulas):
            level = 0
            for brace in re.findall("[{}]", part):
                level += 1 if brace == "{" else -1
                assert level >= 0 or part in outside, f"a brace closes nothing: {line}"
            assert level == 0 or part in outside, f"a formula with an open brace: {line}"
            depth += level
        assert depth >= 0, f"a brace closes nothing: {line}"
    assert depth == 0 and not open_now, f"left open: {depth} braces, {open_now}"
    return text.count(r"\begin{table*}")


NASTY = 'a_b & 50 % $x$ #1 {y} ~ ^ \\ <z> | " ` -- -5 10⁻⁵ N² ± − → ≥ ≤ × µ ∗ é ü ø ß – … 中 [1] * \\input{x} % gone'


def test_latex_is_known_to_the_letter() -> None:
    assert TABLE.latex("tab:one two") == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{table*}[tbp]\n"
        "  \\centering\\small\\setlength{\\tabcolsep}{4pt}\n"
        "  \\caption{mAP in percent}\n"
        "  \\label{tab:one-two}\n"
        "  \\begin{tabular}{lrr}\n"
        "    \\toprule\n"
        "    {}re-ranker & mAP & ms \\\\\n"
        "    \\midrule\n"
        "    {}a\\textbar{}b\\textsuperscript{a} & 46.25 & --\\textsuperscript{b} \\\\\n"
        "    {}c & --\\textsuperscript{b} & --\\textsuperscript{c} \\\\\n"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        "  \\par\\smallskip\n"
        "  {\\footnotesize\\raggedright\n"
        "  \\textsuperscript{a}~noisy: 3 \\% steal\\par\n"
        "  \\textsuperscript{b}~no clock\\par\n"
        "  \\textsuperscript{c}~no CUDA \\textbar{} device\\par\n"
        "  for all rows\\par\n"
        "  }\n"
        "\\end{table*}\n"
    )
    assert check_latex(TABLE.latex("tab:one two")) == 1


def test_nothing_in_a_table_can_break_latex() -> None:
    table = Table(
        columns=(Column(NASTY), Column(f"[{NASTY}]", significant, "lowest")),
        rows=((Cell(NASTY, (NASTY,)), Cell(1616.4, deviation=13.7)), (Cell("[*"), Cell(-3.0, mark="∗∗∗"))),
        caption=NASTY,
        notes=(NASTY,),
    )
    assert check_latex(table.latex(NASTY)) == 1
    assert check_latex(Table(columns=(Column("x"),), rows=()).latex("tab:empty")) == 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10⁻⁵ N²", "10$^{-5}$ N$^{2}$"),
        ("24.71 ± 0.34", "24.71 $\\pm$ 0.34"),
        ("-3.0 [-1, +2]", "$-$3.0 [$-$1, +2]"),
        ("re-ranker 2-5", "re-ranker 2-5"),
        ("--read 12", "-{}-read 12"),
        ("−1 → ≥ 2", "$-$1 $\\rightarrow$ $\\geq$ 2"),
        ("∗∗", "$\\ast\\ast$"),
        ("Köln, Škoda, Łódź", "K\\\"{o}ln, \\v{S}koda, \\L{}\\'{o}d\\'{z}"),
        ("\\%", "\\textbackslash{}\\%"),
        ("中\n😀", "\\texttt{U+4E2D} \\texttt{U+1F600}"),
    ],
)
def test_text_for_latex(text: str, wanted: str) -> None:
    assert latex_escaped(text) == wanted


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("46.25 & --", "46.25 & & --"),
        ("46.25 & --", "46.25 --"),
        ("{mAP in percent}", "{mAP in percent"),
        ("{mAP in percent}", "{mAP} in percent}"),
        ("{mAP in percent}", "{mAP in 50 % percent}"),
        ("{mAP in percent}", "{mAP_in percent}"),
        ("{mAP in percent}", "{mAP in \\percent}"),
        ("{mAP in percent}", "{mAP in $percent}"),
        ("{mAP in percent}", "{mAP in ±}"),
        ("{}c &", "[c] &"),
        ("{}c &", "*c &"),
        ("{}c &", "$\\textbf{c$} &"),
        (" \\\\\n    \\bottomrule", "\n    \\bottomrule"),
        ("\\end{tabular}", "\\end{table*}"),
        ("\\end{table*}", ""),
        ("for all rows", "for & rows"),
        ("  \\label{tab:x}\n", "  \\label{tab:x}\\label{tab:x}\n"),
    ],
)
def test_the_checker_sees_what_a_compiler_would(good: str, bad: str) -> None:
    text = TABLE.latex("tab:x")
    assert good in text
    with pytest.raises(AssertionError):
        check_latex(text.replace(good, bad))


def ranked(*values: Cell, best: str = "highest", uncounted: tuple[int, ...] = ()) -> Table:
    column = Column("x", percent, best)  # type: ignore[arg-type]
    return Table(columns=(column,), rows=tuple((one,) for one in values), uncounted=frozenset(uncounted))


def cells_of(table: Table) -> list[str]:
    return [
        line.removeprefix("    {}").removesuffix(" \\\\") for line in table.latex("x").splitlines() if "    {}" in line
    ][1:]


def test_the_best_is_bold_and_the_second_underlined() -> None:
    table = ranked(Cell(0.5), Cell(0.7, ("why",)), missing("lost"), Cell(0.6))
    assert [line.strip("| ") for line in table.markdown().splitlines()[2:6]] == ["50.00", "**70.00**¹", "–²", "60.00"]
    assert "- Bold: the best of its column.\n" in table.markdown()
    wanted = ["50.00", "\\textbf{70.00}\\textsuperscript{a}", "--\\textsuperscript{b}", "\\underline{60.00}"]
    assert cells_of(table) == wanted
    assert table.csv() == ranked(*(row[0] for row in table.rows), best="lowest").csv()


def test_the_lowest_may_be_the_best() -> None:
    assert cells_of(ranked(Cell(0.5), Cell(0.7), Cell(0.6), best="lowest")) == [
        "\\textbf{50.00}",
        "70.00",
        "\\underline{60.00}",
    ]


def test_what_is_the_same_in_print_is_as_good() -> None:
    assert cells_of(ranked(Cell(0.70001), Cell(0.70002), Cell(0.6), Cell(0.59999))) == [
        *["\\textbf{70.00}"] * 2,
        *["\\underline{60.00}"] * 2,
    ]


def test_rows_that_do_not_count_and_lone_rows_are_never_the_best() -> None:
    assert cells_of(ranked(Cell(0.9), Cell(0.7), Cell(0.6), uncounted=(0,))) == [
        "90.00",
        "\\textbf{70.00}",
        "\\underline{60.00}",
    ]
    assert cells_of(ranked(Cell(0.9), missing("lost"))) == ["90.00", "--\\textsuperscript{a}"]
    assert "Bold" not in ranked(Cell(0.9)).markdown()


def test_numbers_that_are_kept_as_text_take_part() -> None:
    assert cells_of(ranked(Cell("64.8"), Cell("n/a"), Cell(0.5), best="highest")) == [
        "\\textbf{64.8}",
        "n/a",
        "\\underline{50.00}",
    ]


def test_a_mean_stands_with_its_deviation() -> None:
    column = Column("ms", significant, "lowest")
    table = Table(columns=(column,), rows=((Cell(1616.4, deviation=13.7),), (Cell(24.71, deviation=0.34),)))
    assert "| **24.71 ± 0.34** |" in table.markdown() and "1,616 ± 14 |" in table.markdown()
    assert cells_of(table) == ["\\underline{$1{,}616 \\pm 14$}", "$\\mathbf{24.71 \\pm 0.34}$"]
    assert table.csv() == "ms,reasons\n1616.4,\n24.71,\n"


def test_marks_stand_behind_the_value_and_not_in_csv() -> None:
    table = Table(columns=(Column("x", str),), rows=((Cell(5, ("why",), mark="∗∗"),),))
    assert "| 5∗∗¹ |" in table.markdown()
    assert cells_of(table) == ["5\\textsuperscript{$\\ast\\ast$}\\textsuperscript{a}"]
    assert table.csv() == "x,reasons\n5,\n"


def test_columns_are_chosen_by_title_and_folded_into_notes() -> None:
    table = Table(
        columns=(Column("a"), Column("b", str), Column("b", str), Column("source")),
        rows=((Cell("x"), Cell(1, ("first",)), Cell(2), Cell("here")), (Cell("y"), Cell(3), Cell(4), missing("lost"))),
        caption="c",
    )
    assert table.only("b", "a").csv() == "b,a,reasons\n1,x,\n3,y,\n"
    assert table.only("a").caption == "c"
    with pytest.raises(ValueError, match="d"):
        table.only("d")
    folded = table.folded("b", "source")
    assert [cell.notes for row in folded.rows for cell in row] == [(), ("first", "here"), (), (), (), ()]


def test_footnotes_go_on_after_z() -> None:
    table = Table(columns=(Column("x"),), rows=tuple((missing(f"reason {n}"),) for n in range(28)))
    assert "\\textsuperscript{z}~reason 25\\par" in table.latex("x")
    assert "\\textsuperscript{ab}~reason 27\\par" in table.latex("x")


def test_wide_rows_are_set_in_small_type() -> None:
    def size(name: str) -> str:
        (line,) = re.findall(r"\\centering\\(\w+)", Table(columns=(Column("name"),), rows=((Cell(name),),)).latex("a"))
        return line

    assert [size("x" * length) for length in (20, 98, 101, 106, 200)] == [
        *("small", "small", "footnotesize", "footnotesize", "scriptsize")
    ]
