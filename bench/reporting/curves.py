"""Pictures of how cost grows: a panel for each re-ranker, what was measured as points, the law as a line."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.reporting import provenance
from bench.reporting.scaling import (
    LATENCY,
    MEMORY,
    Group,
    Quantity,
    at,
    departed,
    departure_cell,
    key_of,
    law_of,
    law_text,
    numbers_of,
)
from bench.reporting.style import DPI, GUIDE, MEASURED, SMALL_PRINT, STANDOUT, STYLE, named, saved
from bench.results.record import Record

#: Panels side by side at most.
MOST_COLUMNS = 4
#: Points of a line.
STEPS = 200
_PANEL_INCHES = 1.95
_UNITS = {
    "candidates": "candidates",
    "descriptors": "descriptors of an image",
    "window": "candidates of a window",
    "batch": "pairs at once",
    "threads": "threads",
}


@dataclass(frozen=True)
class Picture:
    """A drawing, the stem of its files, what it shows in words, and which sweeps it leaves out and why."""

    stem: str
    title: str
    drawn: dict[str, bytes]
    left_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the file that a page shows."""
        return f"{self.stem}.png"

    @property
    def files(self) -> dict[str, bytes]:
        return named(self.stem, self.drawn)


def pictures(groups: Sequence[Group]) -> list[list[Picture]]:
    """For each group its pictures: latency, then memory. Groups without a measurement have none."""
    stems = [group.axis for group in groups]
    return [
        [picture for what in (LATENCY, MEMORY) if (picture := _picture(group, what, _stem(stems, place))) is not None]
        for place, group in enumerate(groups)
    ]


def draw(group: Group, what: Quantity) -> dict[str, bytes]:
    """Small multiples with the group's origin in small print, as `png` and `svg`, the same bytes every time.

    Latency on logarithmic axes, memory on linear ones from nothing on.
    """
    chosen = [(name, one) for name, one in zip(group.names, group.records, strict=True) if _drawable(one, what)]
    columns = 3 if len(chosen) in (5, 6) else min(len(chosen), MOST_COLUMNS)
    rows = math.ceil(len(chosen) / columns)
    with matplotlib.style.context(["default", STYLE]):
        width, height = _PANEL_INCHES * columns + 0.4, (_PANEL_INCHES + 0.2) * rows + 0.5
        figure = Figure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(figure)
        origin = textwrap.fill(_origin(group, [one for _, one in chosen], what), int(width * 26))
        lowest = (0.09 * (origin.count("\n") + 1) + 0.06) / height
        figure.set_layout_engine("compressed", rect=(0, lowest, 1, 1 - lowest))
        grid = figure.subplots(rows, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(chosen):
                _panel(axes, *chosen[place], what)
            else:
                axes.set_axis_off()
        _scales(list(grid.flat)[: len(chosen)], [one for _, one in chosen], what)
        for place, axes in enumerate(grid.flat[: len(chosen)]):
            _label(axes, group.axis, what, first=place % columns == 0, last=place + columns >= len(chosen))
        figure.text(0.004, 0.03 / height, origin, **SMALL_PRINT)
        return saved(figure)


def _picture(group: Group, what: Quantity, stem: str) -> Picture | None:
    named = list(zip(group.names, group.records, strict=True))
    left_out = tuple(
        f"{name}: {one.reason or one.figure(f'{what.prefix}residual').reason or 'not measured'}"
        for name, one in named
        if not _drawable(one, what)
    )
    if len(left_out) == len(named):
        return None
    kind = "" if what is LATENCY else f"_{what.title}"
    title = f"{what.title.capitalize()}, {group.title[0].lower()}{group.title[1:]}"
    return Picture(f"scaling_{stem}{kind}", title, draw(group, what), left_out)


def _stem(stems: Sequence[str], place: int) -> str:
    """Distinct where one axis was swept on several machines."""
    stem = stems[place]
    return f"{stem}-{stems[: place + 1].count(stem)}" if stems.count(stem) > 1 else stem


def _drawable(record: Record, what: Quantity) -> bool:
    return any(one is not None for one in record.series.get(what.measured, ()))


def _panel(axes: Axes, name: str, record: Record, what: Quantity) -> None:
    values, law = np.array(numbers_of(record)), law_of(record, what)
    measured = np.array([math.nan if one is None else one for one in record.series[what.measured]]) / what.divisor
    if what is LATENCY:  # the 95th percentile as a line up from the median
        high = np.array([math.nan if one is None else one for one in record.series["latency_p95_ms"]])
        axes.vlines(values, measured, np.fmax(high, measured), color=MEASURED, linewidth=0.6, zorder=2)
    if law:
        steps = np.geomspace(values[0], values[-1], STEPS)
        axes.plot(steps, at(law, steps) / what.divisor, color=GUIDE, linewidth=0.9, zorder=1)
    left = np.array(departed(record, what))
    axes.scatter(values[~left], measured[~left], s=13, c=MEASURED, linewidths=0.35, edgecolors="black", zorder=3)
    axes.scatter(
        values[left], measured[left], s=20, marker="D", c=STANDOUT, linewidths=0.4, edgecolors="white", zorder=4
    )
    text = law_text(law, values.tolist(), what.divisor) if law else "no law"
    lines = [textwrap.fill(name, 32), f"{text}"]
    axes.set_title("\n".join(lines), linespacing=1.25)
    if left.any():
        falls = bool(measured[np.isfinite(measured)][0] > measured[np.isfinite(measured)][-1])
        words = str(departure_cell(record, what).value)
        place, side = (0.96, "right") if falls else (0.04, "left")
        axes.text(place, 0.95, words, transform=axes.transAxes, color=STANDOUT, fontsize=6, va="top", ha=side)
    axes.grid(visible=True, which="major", color="0.92", linewidth=0.5)
    axes.set_axisbelow(True)


def _scales(panels: Sequence[Axes], records: Sequence[Record], what: Quantity) -> None:
    """Latency: heights differ from panel to panel, but all show as many decades, so that slopes compare."""
    values = sorted({value for record in records for value in numbers_of(record)})
    logarithmic = what is LATENCY
    ends = [_ends(record, what) for record in records]
    span = 1.3 * max(high / low for low, high in ends)
    for axes, (low, high) in zip(panels, ends, strict=True):
        if logarithmic:
            axes.set(xscale="log", yscale="log", xlim=(values[0] / 1.25, values[-1] * 1.25))
            middle = math.sqrt(low * high)
            axes.set_ylim(middle / math.sqrt(span), middle * math.sqrt(span))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if span < 50 else (1.0,)))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        else:
            axes.set(xlim=(0, values[-1] * 1.08), ylim=(0, 1.12 * max(high, 1.0)))
        axes.set_xticks(values if logarithmic else _sparse(values), minor=False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _ends(record: Record, what: Quantity) -> tuple[float, float]:
    """The least and the most that a panel shows, both above 0."""
    known = [one for name in (what.measured, what.predicted) for one in record.series[name] if one]
    if what is LATENCY:
        known += [one for one in record.series["latency_p95_ms"] if one]
    shown = [one / what.divisor for one in known] or [1.0]
    return min(shown), max(shown)


def _sparse(values: Sequence[float]) -> list[float]:
    """Those values whose labels do not run into each other on a linear axis."""
    kept: list[float] = []
    for value in reversed(values):
        if not kept or kept[-1] - value >= values[-1] / 8:
            kept.append(value)
    return kept[::-1]


def _label(axes: Axes, axis: str, what: Quantity, *, first: bool, last: bool) -> None:
    if first:
        axes.set_ylabel(f"{what.title} ({what.shown_in})")
    if last:
        axes.set_xlabel(_UNITS.get(axis, axis))
    axes.tick_params(labelbottom=last)


def _origin(group: Group, records: Sequence[Record], what: Quantity) -> str:
    """What a picture says of itself, wherever it is shown."""
    commits = dict.fromkeys(provenance.commit_cell(record).value or "no git commit" for record in records)
    types = ", ".join(dict.fromkeys(f"{key_of(one).device} {key_of(one).dtype}" for one in records))
    reach = ", its line reaches up to the 95th percentile, and all panels have as many decades"
    return (
        f"A point is the median over processes{reach if what is LATENCY else ''}. The curve is the fitted law, which "
        f"diamonds have left. {group.title}; {types}. "
        f"Commit {', '.join(map(str, commits))}; {provenance.period(records)}."
    )
