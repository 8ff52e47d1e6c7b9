"""Noise to look at: duels of identical code beside the thresholds, and how often planted slowdowns were detected."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from statistics import median

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.reporting import provenance
from bench.reporting.noise import Section, names, share, slowdown, visible
from bench.reporting.style import BAND, DPI, FAINT, GUIDE, MEASURED, SMALL_PRINT, STANDOUT, STYLE, named, saved
from bench.results.record import PowerKey, Record

_WIDTH_INCHES = 6.0
#: Marker and colour of either way to plant a slowdown, and how far its points are moved aside (per cent).
_WAYS = {
    "added": ("o", MEASURED, -0.35, "added to samples of identical code"),
    "run": ("D", STANDOUT, 0.35, "changed code ran"),
}


def titles(section: Section) -> dict[str, str]:
    """File name -> title of the pictures that the records are enough for."""
    found = {}
    if any(_ratios(record) for record in section.noise):
        found[f"noise_{section.stem}_duels.png"] = "Duels of identical code, and the thresholds"
    if any(_drawable(record) for record in section.power):
        found[f"noise_{section.stem}_power.png"] = "How often planted slowdowns were detected"
    return found


def pictures(section: Section) -> dict[str, bytes]:
    """File name -> contents of `titles`, and of the same as SVG."""
    found: dict[str, bytes] = {}
    for name in titles(section):
        draw = draw_power if name.endswith("_power.png") else draw_duels
        found |= named(name.removesuffix(".png"), draw(section))
    return found


def draw_duels(section: Section) -> dict[str, bytes]:
    """A strip for each re-ranker: every duel, medians of as many as a comparison takes, threshold and visible slowdown;
    `png` and `svg`, the same bytes every time."""
    rows = [(name, one) for name, one in zip(names(section.noise), section.noise, strict=True) if _ratios(one)]
    origin = (
        f"Dots: duels of identical code, head over base. Strokes: medians of {section.duels} consecutive "
        "duels, which is what a comparison looks at. Pale bar: up to the threshold on either side; a median to the "
        "right of it is repeated before it counts. Triangle: the smallest slowdown that is found in 95 of 100 "
        "comparisons. "
        f"{_made(section.noise)}"
    )
    return _picture(0.26 * len(rows) + 0.75, origin, lambda axes: _draw_strips(axes, rows, section.duels))


def draw_power(section: Section) -> dict[str, bytes]:
    """Detection rate against planted slowdown, with intervals; `png` and `svg`, the same bytes every time."""
    origin = (
        "Bars: 95 % intervals (Clopper and Pearson). Beside each point: detected of compared. At 0 % nothing was "
        "planted, and what was detected is a false alarm. Pale bar: the smallest slowdown seen, as the calibration "
        f"says it of each re-ranker, and its median. {_made(section.power)}"
    )
    return _picture(3.0, origin, lambda axes: _draw_rates(axes, section))


def _draw_strips(axes: Axes, rows: Sequence[tuple[str, Record]], duels: int) -> None:
    reach = 0.0
    for place, (_, record) in enumerate(rows):
        ratios = np.array(_ratios(record))
        groups = [ratios[start : start + duels] for start in range(0, len(ratios) - duels + 1, duels)]
        middles = _percent([float(np.median(group)) for group in groups])
        # aside by turns, so that equal duels do not hide each other; the order is that of time
        aside = place + 0.22 * np.sin(2.4 * np.arange(len(ratios)))
        axes.scatter(_percent(ratios), aside, s=6, color=FAINT, linewidths=0, zorder=2, clip_on=False)
        axes.scatter(middles, [place] * len(middles), marker="|", s=70, color=MEASURED, linewidths=1.1, zorder=3)
        reach = max(reach, float(np.abs(_percent(ratios)).max()))
        threshold, found = (record.figure(name).value for name in ("threshold", "visible"))
        if threshold is not None:
            low, high = _percent([-math.log1p(threshold), math.log1p(threshold)])
            axes.barh(place, high - low, left=low, height=0.72, color=BAND, zorder=0)
            reach = max(reach, high)
        if found is not None:
            axes.scatter(100 * found, place, marker="<", s=22, color=STANDOUT, linewidths=0, zorder=3)
            reach = max(reach, 100 * found)
    axes.axvline(0, color=GUIDE, linewidth=0.6, zorder=1)
    axes.set_xlim(-1.06 * reach, 1.06 * reach)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.3g}".replace("-", "−") if value else "0"))
    axes.set_xlabel("head slower than base, the code being the same (%)")
    handles = [
        Line2D([], [], color=FAINT, marker="o", markersize=3, linestyle="", label="one duel"),
        Line2D([], [], color=MEASURED, marker="|", markersize=8, linestyle="", label=f"median of {duels} duels"),
        Patch(color=BAND, label="within the threshold"),
        Line2D([], [], color=STANDOUT, marker="<", markersize=4, linestyle="", label="smallest slowdown seen"),
    ]
    axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=6)


def _draw_rates(axes: Axes, section: Section) -> None:
    drawn = [record for record in section.power if _drawable(record)]
    widest = max(100 * (slowdown(record) or 0.0) for record in drawn)
    handles: list[Line2D | Patch] = []
    for how, (marker, colour, aside, label) in _WAYS.items():
        rows = [record for record in drawn if isinstance(record.key, PowerKey) and record.key.how == how]
        if not rows:
            continue
        shift = aside * widest / 50 if len({_how(record) for record in drawn}) > 1 else 0.0
        x = np.array([100 * (slowdown(record) or 0.0) + shift for record in rows])
        y, low, high = (100 * np.array([float(one.figure(name).value or 0.0) for one in rows]) for name in _RATES)
        axes.errorbar(
            x,
            y,
            yerr=np.clip([y - low, high - y], 0, None),
            fmt=marker,
            color=colour,
            markersize=4,
            elinewidth=0.9,
            capsize=2,
            capthick=0.9,
            zorder=3,
            clip_on=False,
        )
        for record, across, up, under in zip(rows, x, y, low, strict=True):
            # below the bars of points that hang from the top, where the other way's are to the right of them
            beside = how == "run" or up < 50
            _label(axes, record, (across, up if beside else under), beside=beside, colour=colour)
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=4, linestyle="", label=label))
    handles += _draw_seen(axes, section)
    axes.axhline(95, color=GUIDE, linewidth=0.6, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate("95 %", (1, 95), (2, 0), ("axes fraction", "data"), "offset points", fontsize=6, va="center")
    axes.set(xlim=(-0.03 * widest - 0.5, 1.05 * widest + 0.5), ylim=(-3, 103), yticks=range(0, 101, 25))
    axes.set_xticks(sorted({round(100 * (slowdown(record) or 0.0), 6) for record in drawn}))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("planted slowdown (%)")
    axes.set_ylabel("comparisons called slower (%)")
    axes.legend(handles=handles, loc="lower right", frameon=False, fontsize=6)


def _draw_seen(axes: Axes, section: Section) -> list[Line2D | Patch]:
    """The span of the visible slowdowns, and its legend."""
    known = [100 * value for value in visible(section).values()]
    if not known:
        return []
    axes.axvspan(min(known), max(known), color=BAND, linewidth=0, zorder=0)
    axes.axvline(median(known), color="0.55", linewidth=0.7, zorder=1)
    label = f"smallest slowdown seen: {share(min(known) / 100)} to {share(max(known) / 100)} by re-ranker"
    return [Patch(color=BAND, label=label)]


def _label(axes: Axes, record: Record, place: tuple[float, float], *, beside: bool, colour: str) -> None:
    text = f"{record.figure('detected').value:.0f}/{record.figure('comparisons').value:.0f}"
    offset, align = ((6, -2), "left") if beside else ((-4, -12), "right")
    axes.annotate(text, place, offset, textcoords="offset points", fontsize=6, ha=align, color=colour, zorder=4)


def _picture(height: float, origin: str, draw: Callable[[Axes], None]) -> dict[str, bytes]:
    with matplotlib.style.context(["default", STYLE]):
        text = textwrap.fill(origin, 150)
        below = 0.09 * (text.count("\n") + 1) + 0.06
        figure = Figure(figsize=(_WIDTH_INCHES, height + below), dpi=DPI)
        FigureCanvasAgg(figure)
        lowest = below / (height + below)
        figure.set_layout_engine("compressed", rect=(0, lowest, 1, 1 - lowest))
        draw(figure.subplots())
        figure.text(0.004, 0.01, text, **SMALL_PRINT)
        return saved(figure)


_RATES = ("rate", "rate_low", "rate_high")


def _ratios(record: Record) -> list[float]:
    return [float(value) for value in record.series.get("log_ratios", ()) if value is not None]


def _drawable(record: Record) -> bool:
    whole = all(record.figure(name).value is not None for name in (*_RATES, "comparisons", "detected"))
    return whole and slowdown(record) is not None


def _how(record: Record) -> str:
    return record.key.how if isinstance(record.key, PowerKey) else ""


def _percent(log_ratios: Sequence[float] | np.ndarray) -> np.ndarray:
    found: np.ndarray = 100 * np.expm1(np.asarray(log_ratios))
    return found


def _made(records: Sequence[Record]) -> str:
    first = records[0].provenance
    commits = dict.fromkeys(str(provenance.commit_cell(record).value or "no git commit") for record in records)
    cpu = first.machine.get("cpu") or "unknown processor"
    return (
        f"{cpu}, machine {first.fingerprint[:12]}, threads: {first.threads}. "
        f"Commit {', '.join(commits)}; {provenance.period(records)}."
    )
