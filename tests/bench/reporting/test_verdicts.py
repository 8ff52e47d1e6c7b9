"""The gate's verdicts as a table, a Markdown summary, JUnit XML and JSON; hostile names in all of them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.reporting.verdicts import Compared, as_json, headline, junit, summary, table

HOSTILE = "a|b<script>`x`</details>\n# \x00\x1b]]>&amp;\"'"


def row(what: str = "latency", status: str = "within noise", **changes: str) -> dict[str, str]:
    found = {
        "reranker": "ames:micro",
        "what": what,
        "status": status,
        "base": "10 ms",
        "head": "11 ms",
        "detail": "why",
    }
    return found | changes


ROWS = [
    row(status="same", base="10 ms", detail=""),
    row("parameters", "changed", detail="more by 17.2 %"),
    row("FLOPs", "not compared", base="–", head="–", detail="OpenCV is seen by no counter"),
    row("cell", "missing", reranker="rrt:micro", base="–", head="–", detail="failed: no result after 3600 s"),
    row("memory", "worse", detail="50.0 % more"),
    row("AP", "better", reranker="rrt:micro"),
    row("scores", "within noise"),
]


def compared(**changes: Any) -> Compared:
    found: dict[str, Any] = {
        "base": "0123456 A first answer",
        "head": "this tree (89abcde with changes)",
        "machine": "45bd24d2f6db (Example CPU, 2 cores)",
        "threads": 2,
        "duels": 4,
        "started_at": "2025-03-01T11:00:00+01:00",
        "wall_s": 61.25,
        "exit_code": 1,
        "notes": ("both sides ran with the libraries installed here",),
    }
    return Compared(**(found | changes))


def test_the_table_has_the_worst_first():
    lines = table(ROWS).markdown().splitlines()
    verdicts = [line.split("|")[3].strip() for line in lines[2:9]]
    assert verdicts == ["worse", "changed", "missing", "not compared", "better", "within noise", "same"]


def test_a_quiet_table_counts_what_it_leaves_out():
    text = table(ROWS, quiet=True).markdown()
    assert "within noise |" not in text and "2 more are the same or within noise" in text
    assert table(ROWS[:1], quiet=True).markdown() and table([]).markdown()


@pytest.mark.parametrize(
    ("code", "start"),
    [(0, "No regression: "), (1, "Regression: "), (2, "Nothing could be"), (3, "Cells are missing: ")],
)
def test_the_headline_counts(code, start):
    text = headline(ROWS, code)
    assert text.startswith(start) and "1 worse, 1 changed, 1 missing" in text
    assert headline([], 2) == "Nothing could be compared: no verdict"


def test_the_summary_shows_what_blocks_and_folds_the_rest():
    text = summary(ROWS, compared())
    before, after = text.split("<details>")
    assert before.startswith("### Regression: 1 worse, 1 changed, 1 missing")
    for said in ("0123456 A first answer", "89abcde", "45bd24d2f6db", "2 threads", "4 a comparison", "installed here"):
        assert said in before
    assert "50.0 % more" in before and "no result after 3600 s" in before and "OpenCV" not in before
    assert "4 others: 1 not compared, 1 better, 1 within noise, 1 same" in after
    assert "OpenCV" in after and after.count("</details>") == 1


def test_a_summary_without_anything_urgent_or_without_anything():
    fine = summary(ROWS[:1], compared(exit_code=0, duels=None))
    assert fine.startswith("### No regression") and "Duels" not in fine and fine.count("| same") == 1
    assert "<details>" not in summary([], compared(exit_code=2))


def test_junit_counts_and_places_every_case():
    root = ET.fromstring(junit(ROWS, compared()))
    (suite,) = root.findall("testsuite")
    expected = {"tests": "7", "failures": "2", "errors": "1", "skipped": "1", "time": "61.250"}
    assert root.tag == "testsuites" and root.get("tests") == "7" and root.get("skipped") is None  # not in its schema
    assert {name: suite.get(name) for name in expected} == expected
    assert suite.get("timestamp") == "2025-03-01T10:00:00" and suite.get("name")
    cases = suite.findall("testcase")
    assert len(cases) == 7 and all(set(case.attrib) == {"classname", "name", "time"} for case in cases)
    found = {case.get("name"): [child.tag for child in case] for case in cases}
    assert found["memory"] == found["parameters"] == ["failure"]
    assert found["cell"] == ["error"] and found["FLOPs"] == ["skipped"] and found["AP"] == ["system-out"]
    failure = next(case for case in cases if case.get("name") == "memory").find("failure")
    assert failure.get("message") == "worse: 10 ms to 11 ms; 50.0 % more" and failure.get("type") == "worse"
    properties = {one.get("name"): one.get("value") for one in suite.find("properties")}
    assert properties["base"] == "0123456 A first answer" and properties["duels"] == "4"


def test_elements_of_junit_stand_in_the_order_of_the_schema():
    suite = ET.fromstring(junit(ROWS, compared())).find("testsuite")
    assert [child.tag for child in suite] == ["properties"] + ["testcase"] * len(ROWS)


def test_json_holds_all_of_it():
    found = json.loads(as_json(ROWS, compared()))
    assert found["schema_version"] == 1 and found["exit_code"] == 1 and found["verdicts"] == ROWS
    assert (found["base"], found["machine"], found["duels"]) == (compared().base, compared().machine, 4)


def test_hostile_names_break_nothing():
    rows = [
        dict.fromkeys(("reranker", "what", "base", "head", "detail"), HOSTILE) | {"status": status}
        for status in ("worse", "same", "missing", "not compared")
    ]
    about = compared(base=HOSTILE, head=HOSTILE, machine=HOSTILE, notes=(HOSTILE,))
    text = summary(rows, about)
    assert "<script" not in text.replace("\\<script", "") and len(re.findall(r"(?<!\\)</details>", text)) == 1
    assert not [line for line in text.splitlines() if line.startswith("# ")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}) == 1
    root = ET.fromstring(junit(rows, about))
    assert len(root.findall("testsuite/testcase")) == 4
    assert json.loads(as_json(rows, about))["verdicts"][0]["reranker"] == HOSTILE


@given(st.text())
def test_any_text_goes_into_xml_and_comes_back_but_for_what_xml_cannot_hold(text):
    case = ET.fromstring(junit([row(status="worse", detail=text, base="", head="")], compared())).find(".//testcase")
    kept = case.find("failure").text
    printable = [one for one in text if one.isprintable() and one.isascii()]
    assert [one for one in kept.removeprefix("worse: ") if one.isprintable() and one.isascii()] == printable
