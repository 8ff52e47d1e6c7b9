"""How every picture of a report looks: one style, colours that colour-blind readers tell apart, one drawing in two
formats.

Categories are of Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008) and differ in shape too; what has an order is
of viridis, whose lightness rises from end to end.
"""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure

STYLE = {
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    # outlines, since not every machine that shows an SVG has the font, and names of its parts that are no chance
    "svg.fonttype": "path",
    "svg.hashsalt": "rerank-bench",
}
DPI = 200

#: What was measured; what must catch the eye (always of another shape than what it lies among).
MEASURED, STANDOUT = "#0072B2", "#D55E00"
#: Guides, single observations behind their summary, and a range.
GUIDE, FAINT, BAND = "0.45", "0.62", "#cfdfea"
#: Of what has an order.
ORDERED = "viridis"
SMALL_PRINT: dict[str, Any] = {"fontsize": 5, "color": "0.35", "va": "bottom"}


def saved(figure: Figure) -> dict[str, bytes]:
    """A figure as `png` and `svg`, the same bytes every time, in the style that is on."""
    return {"png": _saved(figure, "png", {"Software": None}), "svg": _saved(figure, "svg", _NO_ORIGIN)}


def named(stem: str, drawn: dict[str, bytes]) -> dict[str, bytes]:
    """File name -> contents of what `saved` gives."""
    return {f"{stem}.{ending}": contents for ending, contents in drawn.items()}


#: Neither when nor by which matplotlib.
_NO_ORIGIN = {"Date": None, "Creator": None}


def _saved(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format=kind, bbox_inches="tight", pad_inches=0.05, metadata=metadata)
    return out.getvalue()
