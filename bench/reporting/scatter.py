"""AP query by query: one method against another, the diagonal drawn, coloured by positives in the shortlist.

A point above the diagonal is a query that the method on the vertical axis serves better.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.figure import Figure

from bench.reporting import provenance
from bench.reporting.accuracy import Group
from bench.reporting.queries import (
    MEASURES,
    PROTOCOLS,
    NotComparable,
    PairedAP,
    baseline_of,
    is_baseline,
    paired_ap,
    trained,
)
from bench.reporting.statistics import SAME
from bench.reporting.style import DPI, GUIDE, ORDERED, SMALL_PRINT, STANDOUT, STYLE, saved
from bench.results.record import Record

#: More pairs than this, and every method is drawn against the best one only.
MOST_PAIRS = 6

#: Colours that can still be told apart.
MOST_STEPS = 6
_PANEL_INCHES = 2.1


@dataclass(frozen=True)
class Panel:
    """One plot: two methods on the same queries. The vertical axis is the second."""

    first: str
    second: str
    pairs: PairedAP
    joint: str = "against"
    mean: str = "mAP"

    @property
    def title(self) -> str:
        """The methods' mAP, and how many queries lie on either side of the diagonal."""
        gains = self.pairs.second - self.pairs.first
        above, below = int((gains > SAME).sum()), int((gains < -SAME).sum())
        before, after = 100 * self.pairs.first.mean(), 100 * self.pairs.second.mean()
        change = f"{after - before:+.2f}".replace("-", "−")
        return (
            f"{self.mean} {before:.2f} {self.joint} {after:.2f} ({change})\n"
            f"{above} above, {below} below, {len(gains) - above - below} equal"
        )


def before_after(group: Group, measure: str) -> tuple[list[Panel], list[str]]:
    """A panel for each re-ranker against no re-ranking, and why any is left out."""
    baseline = baseline_of(group.records)
    others = [record for record in group.records if not is_baseline(record)]
    if baseline is None:
        return [], ["no finished record of 'none' to compare with"] if others else []
    return _panels(group, [(baseline, record) for record in others], measure, joint="→")


def method_against_method(group: Group, measure: str) -> tuple[list[Panel], list[str]]:
    """A panel for each pair of re-rankers, and why any is left out. Untrained methods are not drawn here.

    With more than MOST_PAIRS pairs each method is drawn against the one of the highest mAP.
    """
    ready = [one for one in group.records if one.status == "ok" and not is_baseline(one) and trained(one)]
    chosen = list(combinations(ready, 2))
    if len(chosen) > MOST_PAIRS:
        best = max(ready, key=lambda one: one.figure(MEASURES[measure].figure).value or 0.0)
        chosen = [(one, best) for one in ready if one is not best]
    return _panels(group, chosen, measure)


def draw(panels: Sequence[Panel], measure: str, origin: str) -> dict[str, bytes]:
    """Small multiples with one colour bar and `origin` in small print: `png` and `svg`, the same bytes every time."""
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    with matplotlib.style.context(["default", STYLE]):
        width, height = _PANEL_INCHES * columns + 0.9, (_PANEL_INCHES + 0.45) * rows + 0.35
        figure = Figure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(figure)
        origin = textwrap.fill(origin, int(width * 26))
        lowest = 0.09 * (origin.count("\n") + 1) / height
        figure.set_layout_engine("compressed", rect=(0, lowest, 1, 1 - lowest))
        grid = figure.subplots(rows, columns, squeeze=False)
        colours, norm = _colours(panels)
        for place, axes in enumerate(grid.flat):
            if place < len(panels):
                _draw_panel(axes, panels[place], _axis(measure), colours, norm)
            else:
                axes.set_axis_off()
        bar = figure.colorbar(ScalarMappable(norm, colours), ax=grid, aspect=22 * rows, pad=0.02)
        _label_bar(bar.ax, norm)
        figure.text(0.004, 0.01, origin, **SMALL_PRINT)
        return saved(figure)


def footer(group: Group, records: Sequence[Record]) -> str:
    """What a picture says of its origin, wherever it is shown."""
    commits = dict.fromkeys(provenance.commit_cell(record).value or "no git commit" for record in records)
    made = f"Commit {', '.join(map(str, commits))}; {provenance.period(records)}."
    return f"A dot is a query, the plus their mean. {group.description[0].upper()}{group.description[1:]}. {made}"


def _panels(
    group: Group, chosen: Sequence[tuple[Record, Record]], measure: str, *, joint: str = "against"
) -> tuple[list[Panel], list[str]]:
    names = dict(zip(map(id, group.records), provenance.labels(group.records), strict=True))
    mean = "mAP" if measure in PROTOCOLS else MEASURES[measure].title
    panels, left_out = [], []
    for first, second in chosen:
        try:
            panels.append(Panel(names[id(first)], names[id(second)], paired_ap(first, second, measure), joint, mean))
        except NotComparable as error:
            left_out.append(f"{names[id(second)]}: {error}")
    return panels, left_out


def _draw_panel(axes: Axes, panel: Panel, axis: str, colours: Colormap, norm: BoundaryNorm) -> None:
    x, y = 100 * panel.pairs.first, 100 * panel.pairs.second
    axes.plot((0, 100), (0, 100), color=GUIDE, linewidth=0.7, zorder=1)
    # Few positives last: their points are the extreme ones, and must not vanish under the others.
    order = np.argsort(-panel.pairs.positives, kind="stable")
    axes.scatter(
        x[order],
        y[order],
        c=panel.pairs.positives[order],
        cmap=colours,
        norm=norm,
        s=13,
        linewidths=0.35,
        edgecolors="black",
        zorder=2,
        clip_on=False,
    )
    axes.scatter(x.mean(), y.mean(), marker="P", s=45, c=STANDOUT, linewidths=0.6, edgecolors="white", zorder=3)
    axes.set(xlim=(-3, 103), ylim=(-3, 103), aspect="equal", xticks=range(0, 101, 25), yticks=range(0, 101, 25))
    axes.set_title(panel.title, linespacing=1.25)
    axes.set_xlabel(_axis_label(panel.first, axis))
    axes.set_ylabel(_axis_label(panel.second, axis))


def _axis(measure: str) -> str:
    """What a query's value is called."""
    return f"AP, {PROTOCOLS[measure]}" if measure in PROTOCOLS else MEASURES[measure].title.replace("mAP", "AP")


def _axis_label(name: str, axis: str) -> str:
    return textwrap.fill(name, 30) + f"\n{axis} (%)"


def _colours(panels: Sequence[Panel]) -> tuple[ListedColormap, BoundaryNorm]:
    """At most MOST_STEPS equal ranges from the fewest positives that occur to the most; dark for few."""
    counts = [int(count) for panel in panels for count in panel.pairs.positives]
    width = math.ceil((max(counts) - min(counts) + 1) / MOST_STEPS)
    edges = list(range(min(counts), max(counts) + width + 1, width))
    steps = matplotlib.colormaps[ORDERED](np.linspace(0, 1, max(2, len(edges) - 1)))
    return ListedColormap(steps[: len(edges) - 1]), BoundaryNorm(edges, len(edges) - 1)


def _label_bar(axes: Axes, norm: BoundaryNorm) -> None:
    edges = list(norm.boundaries)
    # The bar's axis is the count itself; ranges are drawn equally wide, each named at its middle.
    spans = list(pairwise(edges))
    axes.set_yticks([(low + high) / 2 for low, high in spans])
    axes.set_yticklabels([f"{low:.0f}" if high - low == 1 else f"{low:.0f}–{high - 1:.0f}" for low, high in spans])
    axes.minorticks_off()
    axes.tick_params(length=0)
    axes.set_ylabel("positives in the shortlist")
