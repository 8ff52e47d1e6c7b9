"""The whole report as files: pages, sheets and pictures, the same bytes for the same records."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from bench.errors import BenchError
from bench.reporting import (
    accuracy,
    churn,
    cost,
    curves,
    linking,
    noise,
    noise_pictures,
    provenance,
    scaling,
    scatter,
    tune,
)
from bench.reporting.accuracy import Group
from bench.reporting.beside import accuracy_beside, cost_beside, published_table
from bench.reporting.beside import sheet as beside_sheet
from bench.reporting.cost import Section
from bench.reporting.curves import Picture
from bench.reporting.queries import MEASURES, compared
from bench.reporting.tables import escaped
from bench.results.record import AccuracyKey, Record

NO_COST = "No cost has been measured yet: `python -m bench.profile` does it.\n"
NO_ACCURACY = "No accuracy has been measured yet: `python -m bench.accuracy --shortlist 400` does it.\n"
NO_CHURN = "Nothing has been measured yet: `python -m bench.churn` does it.\n"

_DRAWN: dict[str, tuple[str, Callable[[Group, str], tuple[list[scatter.Panel], list[str]]]]] = {
    "before_after": ("before and after re-ranking", scatter.before_after),
    "methods": ("method against method", scatter.method_against_method),
}


def render(records: Sequence[Record], matches: Sequence[str] = ()) -> dict[str, bytes]:
    """File name -> contents: README.md, cost, accuracy and churn as .md and .csv, scatter_*.png; tune, linking and
    scaling (with scaling_*.png) too where there are such records, and published where papers have values of the same
    data sets.

    matches: names of pictures that lie beside the page already, to be shown on it.

    Raises BenchError when there is no record, or one with a date that is none.
    """
    if not records:
        raise BenchError(
            "no record of a cell",
            wanted="at least one",
            cure="Fill the store: `python -m bench.profile` or `python -m bench.accuracy --shortlist 400`.",
        )
    sections, groups = cost.sections(records), accuracy.groups(records)
    drawn = [group for group in groups if not group.ablation]
    found = {id(group): _pictures(group, stem) for group, stem in zip(drawn, _stems(drawn), strict=True)}
    pictures = [found.get(id(group), ("", {})) for group in groups]
    printed = _published(records)
    swept = scaling.groups(records)
    grown = curves.pictures(swept)
    texts = {
        "README.md": _front(records, sections, groups, [lines for lines, _ in pictures], matches, bool(printed), grown),
        "cost.md": _page("Cost", records, [_cost_in_full(section) for section in sections] or [NO_COST]),
        "cost.csv": cost.sheet(records).csv(),
        "accuracy.md": _page(
            "Accuracy",
            records,
            [_accuracy_in_full(group, lines) for group, (lines, _) in zip(groups, pictures, strict=True)]
            or [NO_ACCURACY],
        ),
        "accuracy.csv": accuracy.sheet(records).csv(),
        "churn.md": _page("Steadiness", records, _steadiness(records)),
        "churn.csv": churn.sheet(records).csv(),
    }
    if blends := tune.groups(records):
        texts["tune.md"] = _page("Blends", records, [_blends(group) for group in blends])
        texts["tune.csv"] = tune.sheet(records).csv()
    if printed:
        texts["published.md"] = _page("Published and measured", records, printed)
        texts["published.csv"] = beside_sheet(records).csv()
    if linked := linking.groups(records):
        texts["linking.md"] = _page("Linking positives", records, [_linked(group) for group in linked])
        texts["linking.csv"] = linking.sheet(records).csv()
    images = {name: png for _, files in pictures for name, png in files.items()}
    if known := noise.sections(records):
        texts["noise.md"] = _page("Noise", records, [_noise_in_full(section) for section in known])
        texts["noise.csv"] = noise.noise_sheet(records).csv()
        if any(section.power for section in known):
            texts["power.csv"] = noise.power_sheet(records).csv()
        images |= {name: png for section in known for name, png in noise_pictures.pictures(section).items()}
    if swept:
        texts["scaling.md"] = _page("Scaling", records, list(map(_swept, swept, grown)))
        texts["scaling.csv"] = scaling.sheet(records).csv()
        images |= {picture.name: picture.png for found in grown for picture in found}
    return {name: text.encode() for name, text in texts.items()} | images


def _front(
    records: Sequence[Record],
    sections: Sequence[Section],
    groups: Sequence[Group],
    pictures: Sequence[str],
    matches: Sequence[str],
    printed: bool,
    grown: Sequence[Sequence[Picture]],
) -> str:
    costs = [_titled(one.title, cost.section_table(one).markdown(), provenance.block(one.records)) for one in sections]
    earned = [
        _titled(group.title, accuracy.group_table(group).markdown(), provenance.block(group.records), lines)
        for group, lines in zip(groups, pictures, strict=True)
    ]
    more_cost = "Latency, FLOPs and memory in detail: [cost.md](cost.md), [cost.csv](cost.csv).\n"
    more_accuracy = "All protocols, precision, p values: [accuracy.md](accuracy.md), [accuracy.csv](accuracy.csv).\n"
    steady = "Rankings under other number types and batch sizes: [churn.md](churn.md), [churn.csv](churn.csv).\n"
    blends = "Blends chosen on a validation set: [tune.md](tune.md), [tune.csv](tune.csv).\n"
    papers = (
        "The published tables, and what was measured: [published.md](published.md), [published.csv](published.csv).\n"
    )
    links = "Transitive positives and what links them: [linking.md](linking.md), [linking.csv](linking.csv).\n"
    laws = "How cost grows, and where it leaves the law: [scaling.md](scaling.md), [scaling.csv](scaling.csv).\n"
    shown = [f"![{escaped(f'Matches in a list, {name}')}]({name})\n" for name in matches]
    return _page(
        "Reports",
        records,
        [
            "## Cost\n",
            *(costs or [NO_COST]),
            more_cost,
            *([laws, *(_shown(found[0]) for found in grown if found)] if grown else []),
            "## Accuracy\n",
            *(earned or [NO_ACCURACY]),
            more_accuracy,
            steady,
            *([blends] if tune.groups(records) else []),
            *([papers] if printed else []),
            *([links] if linking.groups(records) else []),
            *_noise_in_short(records),
            *(["## Matches\n", *shown] if shown else []),
        ],
    )


def _steadiness(records: Sequence[Record]) -> list[str]:
    return [
        _titled(group.title, churn.group_table(group).markdown(), provenance.block(group.records))
        for group in churn.groups(records)
    ] or [NO_CHURN]


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


def _noise_in_short(records: Sequence[Record]) -> list[str]:
    """On the front page: what each machine can see, and its first picture."""
    lines = []
    for section in noise.sections(records):
        lines += [_titled(section.title, f"{escaped(noise.seen(section))}\n", *_noise_shown(section)[:1])]
    more = "Thresholds and planted changes: [noise.md](noise.md), [noise.csv](noise.csv).\n"
    return ["## Noise\n", *lines, more] if lines else []


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
    if beside := cost_beside(section.records):
        details.append(f"#### Published values\n\n{beside.markdown()}")
    main = cost.section_table(section).markdown()
    return _titled(section.title, main, provenance.block(section.records), *details)


def _published(records: Sequence[Record]) -> list[str]:
    """A section for every data set that both papers and these records have: the published table, and what was
    measured below its method."""
    earned = [record for record in records if isinstance(record.key, AccuracyKey)]
    names = dict.fromkeys(record.key.dataset for record in earned if isinstance(record.key, AccuracyKey))
    tables = [(name, published_table(name, earned)) for name in sorted(names)]
    return [_titled(name, table.markdown()) for name, table in tables if table is not None]


def _accuracy_in_full(group: Group, pictures: str) -> str:
    tables = {"Gain": accuracy.gain_table}
    if group.revisited:
        tables |= {"Precision": accuracy.precision_table, "The other divisor": accuracy.divisor_table}
    details = [f"#### {title}\n\n{table(group).markdown()}" for title, table in tables.items()]
    if not group.ablation and (beside := accuracy_beside(group.records)):
        details.append(f"#### Published values\n\n{beside.markdown()}")
    main = accuracy.group_table(group).markdown()
    return _titled(group.title, main, provenance.block(group.records), *details, pictures)


def _titled(title: str, *parts: str) -> str:
    return "\n".join([f"### {escaped(title)}\n", *(part for part in parts if part)])


def _pictures(group: Group, stem: str) -> tuple[str, dict[str, bytes]]:
    """The Markdown lines that show a group's pictures, and the pictures by file name."""
    lines, images = [], {}
    for kind, (words, choose) in _DRAWN.items():
        for protocol in (name for name in compared(group.measures) if MEASURES[name].graded):
            panels, left_out = choose(group, protocol)
            title = f"{'AP' if group.revisited else MEASURES[protocol].title} of every query, {words}, {protocol}"
            if panels:
                name = f"scatter_{stem}_{kind}_{protocol}.png"
                images[name] = scatter.draw(panels, protocol, scatter.footer(group, group.records))
                lines.append(f"![{escaped(title)}]({name})\n")
            if left_out:
                lines.append(f"Not drawn ({title}): {escaped('; '.join(left_out))}.\n")
    return "\n".join(lines), images


def _stems(groups: Sequence[Group]) -> list[str]:
    """A short distinct file name part for each group."""
    plain = [re.sub(r"[^A-Za-z0-9.-]+", "-", f"{group.dataset}-top{group.shortlist}").strip("-.") for group in groups]
    return [
        f"{stem}-{plain[: place + 1].count(stem)}" if plain.count(stem) > 1 else stem
        for place, stem in enumerate(plain)
    ]
