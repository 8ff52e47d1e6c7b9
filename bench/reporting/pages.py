"""The whole report as files: pages, sheets, tables for papers and pictures, the same bytes for the same records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.errors import BenchError
from bench.reporting import (
    accuracy,
    beside,
    churn,
    cost,
    curves,
    linking,
    noise,
    noise_pictures,
    provenance,
    scaling,
    scatter,
    style,
    tune,
)
from bench.reporting.accuracy import Group
from bench.reporting.cost import Section
from bench.reporting.curves import Picture
from bench.reporting.queries import MEASURES, compared
from bench.reporting.tables import PACKAGES, Table, escaped
from bench.results.record import AccuracyKey, Record

NO_COST = "No cost has been measured yet: `python -m bench.profile` does it.\n"
NO_ACCURACY = "No accuracy has been measured yet: `python -m bench.accuracy --shortlist 400` does it.\n"
NO_CHURN = "Nothing has been measured yet: `python -m bench.churn` does it.\n"

_DRAWN: dict[str, tuple[str, Callable[[Group, str], tuple[list[scatter.Panel], list[str]]]]] = {
    "before_after": ("before and after re-ranking", scatter.before_after),
    "methods": ("method against method", scatter.method_against_method),
}

#: A table for papers: what its label ends in, the table, and the records that it is of.
Paper = tuple[str, Table, Sequence[Record]]


@dataclass(frozen=True)
class Found:
    """What the pages are made of, each looked up or drawn once."""

    records: Sequence[Record]

    @cached_property
    def costs(self) -> list[Section]:
        return cost.sections(self.records)

    @cached_property
    def groups(self) -> list[Group]:
        return accuracy.groups(self.records)

    @cached_property
    def scatters(self) -> list[tuple[str, dict[str, bytes]]]:
        """For each of `groups` the lines that show its pictures, and the pictures by file name; none of an ablation."""
        drawn = [group for group in self.groups if not group.ablation]
        stems = _distinct([f"{group.dataset}-top{group.shortlist}" for group in drawn])
        found = {id(group): _pictures(group, stem) for group, stem in zip(drawn, stems, strict=True)}
        return [found.get(id(group), ("", {})) for group in self.groups]

    @cached_property
    def swept(self) -> list[scaling.Group]:
        return scaling.groups(self.records)

    @cached_property
    def grown(self) -> list[list[Picture]]:
        """For each of `swept` its pictures."""
        return curves.pictures(self.swept)

    @cached_property
    def noise(self) -> list[noise.Section]:
        return noise.sections(self.records)


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page: `name`.md of its parts, its sheets as .csv, its tables for papers as `name`.tex, and its pictures.

    parts: Markdown; without any the page says `empty`, or where that is nothing there is no page. front: what the front
    page shows of it. sheets: by name; those of another name than the page's only where they have a row.
    """

    name: str
    title: str
    parts: Callable[[Found], list[str]]
    front: Callable[[Found], list[str]]
    sheets: Mapping[str, Callable[[Sequence[Record]], Table]]
    papers: Callable[[Found], list[Paper]] = field(default=lambda found: [])
    pictures: Callable[[Found], dict[str, bytes]] = field(default=lambda found: {})
    empty: str = ""

    def files(self, found: Found) -> dict[str, bytes]:
        """File name -> contents."""
        texts = {}
        if parts := self.parts(found) or ([self.empty] if self.empty else []):
            texts[f"{self.name}.md"] = _page(self.title, found.records, parts)
            tables = {name: sheet(found.records) for name, sheet in self.sheets.items()}
            texts |= {f"{name}.csv": one.csv() for name, one in tables.items() if name == self.name or one.rows}
        if latex := self.latex(found):
            texts[f"{self.name}.tex"] = latex
        return {name: text.encode() for name, text in texts.items()} | self.pictures(found)

    def latex(self, found: Found) -> str:
        """The tables for papers, to be read by \\input, each below comments that say where it is from; "" for none."""
        papers = self.papers(found)
        labels = _distinct([label for label, _, _ in papers])
        tables = [
            f"{_comments(records)}{table.latex(f'tab:{self.name}-{label}')}"
            for label, (_, table, records) in zip(labels, papers, strict=True)
        ]
        made = f"% {self.title}: tables for papers, made by python -m bench.report; ASCII, for any engine."
        return "\n".join([f"{made}\n% {PACKAGES}\n", *tables]) if tables else ""


def render(records: Sequence[Record], matches: Sequence[str] = ()) -> dict[str, bytes]:
    """File name -> contents: README.md and what PAGES say.

    matches: names of pictures that lie beside the page already, to be shown on it.

    Raises BenchError when there is no record, or one with a date that is none.
    """
    if not records:
        raise BenchError(
            "no record of a cell",
            wanted="at least one",
            cure="Fill the store: `python -m bench.profile` or `python -m bench.accuracy --shortlist 400`.",
        )
    found = Found(records)
    files: dict[str, bytes] = {}
    for page in PAGES:
        files |= page.files(found)
    return {"README.md": _front(found, matches, files).encode()} | files


def _front(found: Found, matches: Sequence[str], files: Mapping[str, bytes]) -> str:
    parts = [part for page in PAGES if f"{page.name}.md" in files for part in page.front(found)]
    if papers := [name for name in files if name.endswith(".tex")]:
        links = ", ".join(f"[{name}]({name})" for name in papers)
        plots = " Plots lie here as SVG too." if any(name.endswith(".svg") for name in files) else ""
        parts.append(f"Tables for papers (LaTeX): {links}.{plots}\n")
    if matches:
        shown = [f"![{escaped(f'Matches in a list, {name}')}]({name})\n" for name in matches]
        parts += ["## Matches\n", *shown]
    page = "All of it on one page, with the candidates of every query: [index.html](index.html).\n"
    return _page("Reports", found.records, [page, *parts])


def _cost_front(found: Found) -> list[str]:
    tables = [
        _titled(one.title, cost.section_table(one).markdown(), provenance.block(one.records)) for one in found.costs
    ]
    more = "Latency, FLOPs and memory in detail: [cost.md](cost.md), [cost.csv](cost.csv).\n"
    return ["## Cost\n", *(tables or [NO_COST]), more]


def _scaling_front(found: Found) -> list[str]:
    more = "How cost grows, and where it leaves the law: [scaling.md](scaling.md), [scaling.csv](scaling.csv).\n"
    return [more, *(_shown(pictures[0]) for pictures in found.grown if pictures)]


def _accuracy_front(found: Found) -> list[str]:
    tables = [
        _titled(group.title, accuracy.group_table(group).markdown(), provenance.block(group.records), lines)
        for group, (lines, _) in zip(found.groups, found.scatters, strict=True)
    ]
    more = "All protocols, precision, p values: [accuracy.md](accuracy.md), [accuracy.csv](accuracy.csv).\n"
    return ["## Accuracy\n", *(tables or [NO_ACCURACY]), more]


def _noise_front(found: Found) -> list[str]:
    """What each machine can see, and its first picture."""
    lines = [
        _titled(section.title, f"{escaped(noise.seen(section))}\n", *_noise_shown(section)[:1])
        for section in found.noise
    ]
    return ["## Noise\n", *lines, "Thresholds and planted changes: [noise.md](noise.md), [noise.csv](noise.csv).\n"]


def _pointer(words: str, name: str) -> Callable[[Found], list[str]]:
    """A line of the front page that leads to a page."""
    return lambda found: [f"{words}: [{name}.md]({name}.md), [{name}.csv]({name}.csv).\n"]


def _steadiness(group: churn.Group) -> str:
    return _titled(group.title, churn.group_table(group).markdown(), provenance.block(group.records))


def _blends(group: tune.Group) -> str:
    oracle = f"#### {tune.ORACLE.capitalize()}\n\n{tune.group_oracle_table(group).markdown()}"
    return _titled(group.title, tune.group_table(group).markdown(), provenance.block(group.records), oracle)


def _linked(group: linking.Group) -> str:
    return _titled(group.title, linking.group_table(group).markdown(), provenance.block(group.records))


def _swept(group: scaling.Group, drawn: Sequence[Picture]) -> str:
    measured = f"#### Measured\n\n{scaling.values_table(group).markdown()}"
    laws, pictures = scaling.law_table(group).markdown(), "\n".join(map(_shown, drawn))
    return _titled(group.title, laws, pictures, provenance.block(group.records), measured)


def _shown(picture: Picture) -> str:
    left_out = "; ".join(picture.left_out)
    lacking = f"\nNot drawn: {escaped(left_out)}.\n" if left_out else ""
    return f"![{escaped(picture.title)}]({picture.name})\n{lacking}"


def _noise_in_full(section: noise.Section) -> str:
    return _titled(section.title, *noise.parts(section), *_noise_shown(section))


def _noise_shown(section: noise.Section) -> list[str]:
    return [f"![{escaped(title)}]({name})\n" for name, title in noise_pictures.titles(section).items()]


def _page(title: str, records: Sequence[Record], parts: Sequence[str]) -> str:
    unfinished = [record for record in records if record.status != "ok"]
    cells = f"{len(records)} stored record{'s' if len(records) > 1 else ''} of {provenance.period(records)}"
    lacking = f"; {len(unfinished)} of them without a result, for the reason given" if unfinished else ""
    made = f"Made by `python -m bench.report` from {cells}{lacking}. A dash is a missing figure, never a zero.\n"
    return "\n".join([f"# {title}\n", made, *parts])


def _cost_in_full(section: Section) -> str:
    tables = {
        "Latency": cost.latency_table,
        "Pairs and queries": cost.pairs_table,
        "FLOPs": cost.flops_table,
        "Roofline": cost.roofline_table,
        "Memory": cost.memory_table,
    }
    made = {title: table(section) for title, table in tables.items()}
    details = [f"#### {title}\n\n{table.markdown()}" for title, table in made.items() if table is not None]
    if printed := beside.cost_beside(section.records):
        details.append(f"#### Published values\n\n{printed.markdown()}")
    main = cost.section_table(section).markdown()
    return _titled(section.title, main, provenance.block(section.records), *details)


def _published(found: Found) -> list[str]:
    """A section for every data set that both papers and these records have: the published table, and what was
    measured below its method."""
    return [_titled(name, table.markdown()) for name, table, _ in _published_tables(found)]


def _published_tables(found: Found) -> list[Paper]:
    earned: dict[str, list[Record]] = {}
    for record in found.records:
        if isinstance(record.key, AccuracyKey):
            earned.setdefault(record.key.dataset, []).append(record)
    tables = [(name, beside.published_table(name, earned[name]), earned[name]) for name in sorted(earned)]
    return [(name, table, records) for name, table, records in tables if table is not None]


def _accuracy_in_full(group: Group, pictures: tuple[str, dict[str, bytes]]) -> str:
    tables = {"Gain": accuracy.gain_table}
    if group.revisited:
        tables |= {"Precision": accuracy.precision_table, "The other divisor": accuracy.divisor_table}
    details = [f"#### {title}\n\n{table(group).markdown()}" for title, table in tables.items()]
    if not group.ablation and (printed := beside.accuracy_beside(group.records)):
        details.append(f"#### Published values\n\n{printed.markdown()}")
    main = accuracy.group_table(group).markdown()
    return _titled(group.title, main, provenance.block(group.records), *details, pictures[0])


def _titled(title: str, *parts: str) -> str:
    return "\n".join([f"### {escaped(title)}\n", *(part for part in parts if part)])


def _pictures(group: Group, stem: str) -> tuple[str, dict[str, bytes]]:
    """The Markdown lines that show a group's pictures, and the pictures by file name."""
    lines: list[str] = []
    images: dict[str, bytes] = {}
    for kind, (words, choose) in _DRAWN.items():
        for protocol in (name for name in compared(group.measures) if MEASURES[name].graded):
            panels, left_out = choose(group, protocol)
            title = f"{'AP' if group.revisited else MEASURES[protocol].title} of every query, {words}, {protocol}"
            if panels:
                drawn = f"scatter_{stem}_{kind}_{protocol}"
                name = f"{drawn}.png"
                images |= style.named(drawn, scatter.draw(panels, protocol, scatter.footer(group, group.records)))
                lines.append(f"![{escaped(title)}]({name})\n")
            if left_out:
                lines.append(f"Not drawn ({title}): {escaped('; '.join(left_out))}.\n")
    return "\n".join(lines), images


def _joined(files: Iterable[Mapping[str, bytes]]) -> dict[str, bytes]:
    return {name: contents for one in files for name, contents in one.items()}


def _distinct(texts: Sequence[str]) -> list[str]:
    """A short distinct part of a name for each text."""
    plain = [re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") for text in texts]
    return [
        f"{stem}-{plain[: place + 1].count(stem)}" if plain.count(stem) > 1 else stem
        for place, stem in enumerate(plain)
    ]


def _comments(records: Sequence[Record]) -> str:
    """Provenance as comments; what is not ASCII by its number."""
    lines = provenance.block(records).replace("**", "").split("\n")
    text = "".join(f"% {line}\n" for line in lines if line)
    return text.encode("ascii", "backslashreplace").decode()


def _cost_papers(found: Found) -> list[Paper]:
    return [
        (f"{one.candidates}-{one.fingerprint[:12]}-{one.threads}", cost.paper_table(one), one.records)
        for one in found.costs
    ]


def _accuracy_papers(found: Found) -> list[Paper]:
    return [
        (_where(one, "-ablation" if one.ablation else ""), accuracy.paper_table(one), one.records)
        for one in found.groups
    ]


def _published_papers(found: Found) -> list[Paper]:
    """Published tables with what was measured, then what was measured beside every published value."""
    earned = [
        (_where(one), beside.accuracy_beside(one.records), one.records) for one in found.groups if not one.ablation
    ]
    spent = [(f"cost-{one.candidates}", beside.cost_beside(one.records), one.records) for one in found.costs]
    tables = [*_published_tables(found), *earned, *spent]
    return [(label, beside.paper_table(table), records) for label, table, records in tables if table is not None]


def _tune_papers(found: Found) -> list[Paper]:
    return [
        (f"{_where(one)}{kind}", table, one.records)
        for one in tune.groups(found.records)
        for kind, table in zip(("", "-oracle"), tune.paper_tables(one), strict=True)
    ]


def _scaling_papers(found: Found) -> list[Paper]:
    return [
        (f"{one.axis}-{kind}", table, one.records)
        for one in found.swept
        for kind, table in zip(("laws", "measured"), scaling.paper_tables(one), strict=True)
    ]


def _where(group: Group | tune.Group | linking.Group, more: str = "") -> str:
    return f"{group.dataset}-top{group.shortlist}{more}"


#: In the order in which the front page shows them.
PAGES = (
    Page(
        name="cost",
        title="Cost",
        parts=lambda found: list(map(_cost_in_full, found.costs)),
        front=_cost_front,
        sheets={"cost": cost.sheet},
        papers=_cost_papers,
        empty=NO_COST,
    ),
    Page(
        name="scaling",
        title="Scaling",
        parts=lambda found: list(map(_swept, found.swept, found.grown)),
        front=_scaling_front,
        sheets={"scaling": scaling.sheet},
        papers=_scaling_papers,
        pictures=lambda found: _joined(picture.files for pictures in found.grown for picture in pictures),
    ),
    Page(
        name="accuracy",
        title="Accuracy",
        parts=lambda found: [_accuracy_in_full(*one) for one in zip(found.groups, found.scatters, strict=True)],
        front=_accuracy_front,
        sheets={"accuracy": accuracy.sheet},
        papers=_accuracy_papers,
        pictures=lambda found: _joined(files for _, files in found.scatters),
        empty=NO_ACCURACY,
    ),
    Page(
        name="churn",
        title="Steadiness",
        parts=lambda found: list(map(_steadiness, churn.groups(found.records))),
        front=_pointer("Rankings under other number types and batch sizes", "churn"),
        sheets={"churn": churn.sheet},
        papers=lambda found: [
            (f"{one.dataset}-{one.device}", churn.paper_table(one), one.records) for one in churn.groups(found.records)
        ],
        empty=NO_CHURN,
    ),
    Page(
        name="tune",
        title="Blends",
        parts=lambda found: list(map(_blends, tune.groups(found.records))),
        front=_pointer("Blends chosen on a validation set", "tune"),
        sheets={"tune": tune.sheet},
        papers=_tune_papers,
    ),
    Page(
        name="published",
        title="Published and measured",
        parts=_published,
        front=_pointer("The published tables, and what was measured", "published"),
        sheets={"published": beside.sheet},
        papers=_published_papers,
    ),
    Page(
        name="linking",
        title="Linking positives",
        parts=lambda found: list(map(_linked, linking.groups(found.records))),
        front=_pointer("Transitive positives and what links them", "linking"),
        sheets={"linking": linking.sheet},
        papers=lambda found: [
            (_where(one), linking.paper_table(one), one.records) for one in linking.groups(found.records)
        ],
    ),
    Page(
        name="noise",
        title="Noise",
        parts=lambda found: list(map(_noise_in_full, found.noise)),
        front=_noise_front,
        sheets={"noise": noise.noise_sheet, "power": noise.power_sheet},
        pictures=lambda found: _joined(map(noise_pictures.pictures, found.noise)),
    ),
)
