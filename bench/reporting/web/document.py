"""One HTML file of data, style and script.

Data stand in the page as JSON and become text nodes in the browser, never markup: what a record says cannot become
part of the page. A content security policy lets the page's own script run, by its hash, and nothing else; no request
can leave it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

ASSETS = files("bench.reporting.web") / "assets"
STYLE = "style.css"
#: In this order: each uses those before it.
SCRIPTS = (
    "dom.js",
    "format.js",
    "model.js",
    "state.js",
    "statistics.js",
    "table.js",
    "plot.js",
    "record.js",
    "leaderboard.js",
    "tradeoff.js",
    "queries.js",
    "anatomy.js",
    "ceiling.js",
    "provenance.js",
    "comparison.js",
    "main.js",
)
#: Characters that JSON may hold and that could end a script element, or a line of JavaScript.
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def document(title: str, data: Mapping[str, Any], thumbnails: Mapping[str, Any] | None = None) -> bytes:
    """The page. thumbnails: the large part of the data, which the page reads when it first shows one."""
    style = _asset(STYLE)
    script = "\n".join(['"use strict";', *map(_asset, SCRIPTS)])
    parts = {
        "policy": f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        "title": html.escape(title),
        "style": style,
        "data": _json(data),
        "thumbnails": _json(thumbnails or {}),
        "script": script,
    }
    page = _asset("page.html")
    pieces = page.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, rest = piece.split("}}", 1)
        filled += [parts[name], rest]
    return "".join(filled).encode()


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False, sort_keys=True)
    return re.sub(f"[{''.join(_UNSAFE)}]", lambda found: _UNSAFE[found.group()], text)
