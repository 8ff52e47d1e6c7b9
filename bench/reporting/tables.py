"""A table that knows how to print itself: Markdown for people, CSV for programs, LaTeX for papers.

A missing figure is a dash with a footnote in Markdown and LaTeX; in CSV it is an empty cell, and its reason
stands in the row's `reasons` column, a JSON object from reason to columns.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tabulate import tabulate

from bench.reporting.numbers import plus_minus
from bench.results.record import Figure

DASH = "–"
LONGEST_NOTE = 300
#: Sizes of type in LaTeX, and how many characters of them stand side by side on a page.
_LATEX_SIZES = ((r"\small", 100), (r"\footnotesize", 108), (r"\scriptsize", math.inf))
#: What a document must load for `Table.latex`.
PACKAGES = r"\usepackage{booktabs}"
_RAISED, _DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+"
_SUPERSCRIPT, _LOWERED = str.maketrans(_DIGITS, _RAISED), str.maketrans(_RAISED, _DIGITS)
#: What Markdown would take for more than the character itself: cell borders, code, tags, emphasis, links, entities.
_SPECIAL = re.compile(r"[\\|`]|<(?=[\w/!?])|\*(?=\S)|~(?=~)|](?=[(\[:])|(?<!\w)_(?=\S)|&(?=#?\w+;)")


@dataclass(frozen=True)
class Cell:
    """A value and its footnotes. None is a missing value: its first note says why.

    deviation: the standard deviation of a mean. mark: of significance, printed behind the value. Neither is in CSV.
    """

    value: str | int | float | None
    notes: tuple[str, ...] = ()
    deviation: float | None = None
    mark: str = ""

    def __post_init__(self) -> None:
        if self.value is None and not self.notes:
            raise ValueError("a missing value has a reason")


def figure_cell(figure: Figure) -> Cell:
    """The cell of a record's figure."""
    return Cell(figure.value) if figure.reason is None else missing(figure.reason)


def missing(reason: str) -> Cell:
    """The cell of a figure that is not there."""
    return Cell(None, (reason,))


@dataclass(frozen=True)
class Column:
    """A heading, and how the column's numbers look in print; text columns have no `show` and are left-aligned.

    best: which number is the best of the column, and bold; LaTeX underlines the next one.
    """

    title: str
    show: Callable[[Any], str] | None = None
    best: Literal["highest", "lowest"] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns, rows of as many cells, a caption that stands under the table, and notes that hold for all of it.

    uncounted: places of rows that are never the best of a column, those of random weights above all.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
    uncounted: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(self.columns)} columns")

    def markdown(self) -> str:
        """A pipe table, its caption, its footnotes and notes."""
        footnotes: dict[str, int] = {}
        body = self._printed(lambda cell, column, rank: _cell_text(cell, column, rank, footnotes))
        grid = tabulate(
            body,
            headers=[escaped(column.title) for column in self.columns],
            tablefmt="pipe",
            colalign=["left" if column.show is None else "right" for column in self.columns] if body else None,
            disable_numparse=True,
        )
        numbered = [f"- {_mark(number)} {escaped(_short(note))}" for note, number in footnotes.items()]
        bold = ["Bold: the best of its column."] if self._ranks() else []
        remarks = "\n".join([*numbered, *(f"- {escaped(note)}" for note in (*self.notes, *bold))])
        return "\n\n".join(part for part in (grid, escaped(self.caption), remarks) if part) + "\n"

    def latex(self, label: str) -> str:
        """A `table*` of booktabs' rules with caption and label, footnotes and notes below it; ASCII for any engine.

        label: as in `\\ref`; what it may not hold becomes a hyphen. The first line, a comment, names what it needs.
        """
        footnotes: dict[str, int] = {}
        body = self._printed(lambda cell, column, rank: _latex_cell(cell, column, rank, footnotes))
        # {}: a bracket or a star at the start of a row would be read as an argument of the rule or row before it
        rows = [r"    {}" + " & ".join(cells) + r" \\" for cells in body]
        head = " & ".join(latex_escaped(column.title) for column in self.columns)
        lettered = [
            rf"\textsuperscript{{{_letter(place)}}}~{latex_escaped(_short(note))}" for note, place in footnotes.items()
        ]
        bold = ["Bold: the best of its column; underlined: the second best."] if self._ranks() else []
        remarks = [*lettered, *(latex_escaped(note) for note in (*self.notes, *bold))]
        lines = [
            f"% needs {PACKAGES}",
            r"\begin{table*}[tbp]",
            rf"  \centering{self._size()}\setlength{{\tabcolsep}}{{4pt}}",
            *([rf"  \caption{{{latex_escaped(self.caption)}}}"] if self.caption else []),
            rf"  \label{{{re.sub(r'[^A-Za-z0-9:.+-]+', '-', label)}}}",
            rf"  \begin{{tabular}}{{{''.join('l' if column.show is None else 'r' for column in self.columns)}}}",
            r"    \toprule",
            rf"    {{}}{head} \\",
            r"    \midrule",
            *rows,
            r"    \bottomrule",
            r"  \end{tabular}",
            *([r"  \par\smallskip", r"  {\footnotesize\raggedright"] if remarks else []),
            *(rf"  {remark}\par" for remark in remarks),
            *(["  }"] if remarks else []),
            r"\end{table*}",
        ]
        return "\n".join(lines) + "\n"

    def _size(self) -> str:
        """The size of type in which the widest row fits a page, judged by its characters."""
        columns = [[plain(row[place], column) for row in self.rows] for place, column in enumerate(self.columns)]
        longest = [max(map(len, [column.title, *texts])) for column, texts in zip(self.columns, columns, strict=True)]
        width = sum(longest) + len(longest)
        return next(size for size, most in _LATEX_SIZES if width <= most)

    def only(self, *titles: str) -> Table:
        """The columns of these titles, in this order; of several with one title the first. ValueError for others."""
        known = [column.title for column in self.columns]
        return self._of([known.index(title) for title in titles])

    def folded(self, into: str, *titles: str) -> Table:
        """Without the columns of these titles, whose text becomes a note of each cell of the column `into`."""
        known = [column.title for column in self.columns]
        target, gone = known.index(into), [known.index(title) for title in titles]

        def fold(row: tuple[Cell, ...]) -> tuple[Cell, ...]:
            said = "; ".join(str(row[place].value) for place in gone if row[place].value is not None)
            kept = replace(row[target], notes=(*row[target].notes, *([said] if said else [])))
            return (*row[:target], kept, *row[target + 1 :])

        wide = replace(self, rows=tuple(fold(row) for row in self.rows))
        return wide._of([place for place in range(len(known)) if place not in gone])

    def csv(self) -> str:
        """Values in full precision, one heading line, `reasons` last."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        titles = [column.title for column in self.columns]
        writer.writerow([*titles, "reasons"])
        for row in self.rows:
            reasons: dict[str, list[str]] = {}
            for title, cell in zip(titles, row, strict=True):
                if cell.value is None:
                    reasons.setdefault(cell.notes[0], []).append(title)
            values = ["" if cell.value is None else cell.value for cell in row]
            writer.writerow([*values, json.dumps(reasons, ensure_ascii=False) if reasons else ""])
        return out.getvalue()

    def _of(self, places: Sequence[int]) -> Table:
        """The columns at these places."""
        return replace(
            self,
            columns=tuple(self.columns[place] for place in places),
            rows=tuple(tuple(row[place] for place in places) for row in self.rows),
        )

    def _printed(self, show: Callable[[Cell, Column, int], str]) -> list[list[str]]:
        """Every cell as `show(cell, column, rank)` has it; rank: 1 for the best of its column, 2 for the next, or 0."""
        ranks = self._ranks()
        return [
            [show(cell, self.columns[place], ranks.get((row, place), 0)) for place, cell in enumerate(cells)]
            for row, cells in enumerate(self.rows)
        ]

    def _ranks(self) -> dict[tuple[int, int], int]:
        """(row, column) -> 1 for the best of a column, 2 for the next one; what is the same in print is as good. Of a
        single row nothing is said."""
        found = {}
        for place, column in enumerate(self.columns):
            known = [
                (number, plain(cells[place], column).split(" ± ")[0], row)
                for row, cells in enumerate(self.rows)
                if column.best and row not in self.uncounted and (number := _number(cells[place])) is not None
            ]
            known.sort(key=lambda one: one[0], reverse=column.best == "highest")
            rank = 0
            for before, (number, text, row) in zip([None, *known], known if len(known) > 1 else [], strict=False):
                rank += before is None or (number != before[0] and text != before[1])
                if rank <= 2:
                    found[row, place] = rank
        return found


def escaped(text: str) -> str:
    """Text on one line that Markdown prints as it is, in a table too."""
    return _SPECIAL.sub(lambda found: "\\" + found.group(), " ".join(text.split()))


def code(text: str) -> str:
    """Text as a Markdown code span, whatever back-ticks it holds."""
    line = " ".join(text.split())
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list of lines that are Markdown already."""
    return "\n".join(f"- {line}" for line in lines) + "\n"


def latex_escaped(text: str) -> str:
    """Text on one line that LaTeX prints as it is: ASCII, no package, any engine.

    A character that it has no command for is named by its number, as in U+4E2D.
    """
    return _AWKWARD.sub(_in_latex, unicodedata.normalize("NFC", " ".join(text.split())))


def plain(cell: Cell, column: Column) -> str:
    """What a cell says, without emphasis, marks and notes."""
    if cell.value is None:
        return DASH
    if column.show is None or isinstance(cell.value, str):
        return str(cell.value)
    return column.show(cell.value) if cell.deviation is None else plus_minus(cell.value, cell.deviation)


def _number(cell: Cell) -> float | None:
    """A cell's number; published ones are kept as text, as their sources print them."""
    try:
        number = float(cell.value) if cell.value is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _cell_text(cell: Cell, column: Column, rank: int, footnotes: dict[str, int]) -> str:
    marks = [_mark(footnotes.setdefault(note, len(footnotes) + 1)) for note in cell.notes]
    text = escaped(plain(cell, column))
    return (f"**{text}**" if rank == 1 else text) + escaped(cell.mark) + " ".join(marks)


def _latex_cell(cell: Cell, column: Column, rank: int, footnotes: dict[str, int]) -> str:
    places = [_letter(footnotes.setdefault(note, len(footnotes) + 1)) for note in cell.notes]
    mean, _, deviation = plain(cell, column).partition(" ± ") if cell.deviation is not None else ("", "", "")
    if deviation:  # one formula, in which a comma would be followed by a space
        formula = rf"{mean} \pm {deviation}".replace(",", "{,}")
        text = rf"$\mathbf{{{formula}}}$" if rank == 1 else f"${formula}$"
    else:
        text = latex_escaped(plain(cell, column))
        text = rf"\textbf{{{text}}}" if rank == 1 else text
    text = rf"\underline{{{text}}}" if rank == 2 else text
    raised = [latex_escaped(cell.mark), ",".join(places)]
    return text + "".join(rf"\textsuperscript{{{one}}}" for one in raised if one)


def _letter(number: int) -> str:
    """a, b, ..., z, aa, ab: a digit would read as an exponent."""
    before, place = divmod(number - 1, 26)
    return (_letter(before) if before else "") + "abcdefghijklmnopqrstuvwxyz"[place]


_NAMES = ("backslash", "asciitilde", "asciicircum", "less", "greater", "bar")
#: Characters that LaTeX takes for more than themselves, or has a command for.
_COMMANDS = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: rf"\text{name}{{}}" for character, name in zip("\\~^<>|", _NAMES, strict=True)},
    **{"`": r"\`{}", '"': "''", "–": "--", "—": "---", "…": r"\dots{}", "‘": "`", "’": "'", "“": "``", "”": "''"},
    **{"°": r"$^\circ$", "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}"},
    **{"ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "§": r"\S{}", "©": r"\copyright{}"},
}
#: Characters of formulas.
_MATH = {
    **{"−": "-", "±": r"\pm", "×": r"\times", "·": r"\cdot", "→": r"\rightarrow", "←": r"\leftarrow", "∗": r"\ast"},
    **{"≥": r"\geq", "≤": r"\leq", "≈": r"\approx", "≠": r"\neq", "∞": r"\infty", "†": r"\dagger", "‡": r"\ddagger"},
    **{"µ": r"\mu", "μ": r"\mu", "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon"},
    **{"λ": r"\lambda", "π": r"\pi", "σ": r"\sigma", "τ": r"\tau", "Δ": r"\Delta", "Σ": r"\Sigma", "Ω": r"\Omega"},
}
#: Combining characters -> accents.
_ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True)
)
#: Exponents, symbols of formulas, minus signs, hyphens that would become a dash, all else that is not plain.
_AWKWARD = re.compile(
    rf"[{_RAISED}]+|[{''.join(_MATH)}]+|(?<![\w-])-(?=[\d.])|-(?=-)|[^\w !'()*+,./:;=?@\[\]-]|[^\x00-\x7f]|_"
)


def _in_latex(found: re.Match[str]) -> str:
    text = found.group()
    if text[0] in _RAISED:
        return f"$^{{{text.translate(_LOWERED)}}}$"
    if text[0] in _MATH:
        return f"${''.join(_MATH[character] for character in text)}$"
    if text == "-":
        return "-{}" if found.string[found.end()] == "-" else "$-$"
    if text in _COMMANDS:
        return _COMMANDS[text]
    base, *accents = list(unicodedata.normalize("NFD", text))
    if not accents or not base.isascii() or not set(accents) <= set(_ACCENTS):
        return rf"\texttt{{U+{ord(text):04X}}}"
    for accent in accents:
        base = rf"\{_ACCENTS[accent]}{{{base}}}"
    return base


def _mark(number: int) -> str:
    return str(number).translate(_SUPERSCRIPT)


def _short(note: str) -> str:
    line = " ".join(note.split())
    return line if len(line) <= LONGEST_NOTE else line[: LONGEST_NOTE - 1] + "…"
