"""The page as a file: one part, its own policy, and data that cannot become markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from bench.reporting.web import document, payload, thumbnails
from tests.bench.reporting.web.made_up import HOSTILE, NOTE, pictures, report


class Parsed(HTMLParser):
    """Elements with their attributes, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag in ("script", "style", "title")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts.append((*self.elements[-1], data))

    def text(self, tag: str, **attributes: str) -> str:
        return "".join(text for name, given, text in self.texts if name == tag and attributes.items() <= given.items())


@pytest.fixture(scope="module")
def page() -> str:
    records = report(methods=2, queries=5, hostile=True)
    found = pictures(records)
    return document("A <b>title</b>", payload(records, found, "records"), thumbnails(found)).decode()


def test_nothing_is_asked_of_anybody(page: str) -> None:
    parsed = Parsed(page)
    assert not [tag for tag, _ in parsed.elements if tag in ("link", "iframe", "object", "embed", "base", "form")]
    assert not [one for _, one in parsed.elements if set(one) & {"src", "srcset", "action", "data", "poster"}]
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", page)


def test_the_policy_names_the_page_s_own_script_and_style_and_nothing_else(page: str) -> None:
    parsed = Parsed(page)
    policy = next(one["content"] or "" for tag, one in parsed.elements if "http-equiv" in one)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    scripts = [text for tag, given, text in parsed.texts if tag == "script" and "type" not in given]
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert rules["script-src"] == f"'{sha256(''.join(scripts))}'"
    assert rules["style-src"] == f"'{sha256(parsed.text('style'))}'"


def sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def test_text_of_records_stands_in_the_data_only_and_never_as_markup(page: str) -> None:
    parsed = Parsed(page)
    assert [tag for tag, _ in parsed.elements].count("script") == 3
    assert not [tag for tag, _ in parsed.elements if tag in ("b", "img")]
    assert parsed.text("title") == "A <b>title</b>"
    data = json.loads(parsed.text("script", id="data"))
    names = [record["key"]["reranker"] for record in data["records"]]
    assert HOSTILE in names and HOSTILE not in page
    assert [NOTE] in [record["notes"] for record in data["records"]] and NOTE not in page


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "&lt;", "\u2028\u2029", "{{data}}", "\\u003c"])
def test_any_text_comes_back_as_it_was(text: str) -> None:
    page = document(text, {"records": [text]}, {"images": [text]}).decode()
    parsed = Parsed(page)
    assert json.loads(parsed.text("script", id="data")) == {"records": [text]}
    assert json.loads(parsed.text("script", id="thumbnails")) == {"images": [text]}


def test_a_number_that_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        document("", {"value": float("nan")})


def test_the_same_records_are_the_same_bytes(page: str) -> None:
    records = report(methods=2, queries=5, hostile=True)
    found = pictures(records)
    assert document("A <b>title</b>", payload(records, found, "records"), thumbnails(found)).decode() == page


def test_thirty_methods_three_protocols_and_seventy_queries_with_images_are_under_15_mb() -> None:
    records = report(methods=29, queries=70, pool=60)
    found = pictures(records)
    assert sum(map(len, next(iter(found.values())).gallery.values())) > 5e6, "as large as photographs"
    assert len(document("", payload(records, found, "records"), thumbnails(found))) < 15e6
