"""The page in a real browser: what people do with it, and what it must not do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.reporting import scaling
from bench.reporting.comparing import comparisons
from bench.reporting.numbers import percent, points
from bench.reporting.queries import paired_ap
from bench.reporting.statistics import paired_difference
from bench.reporting.web import comparison_payload, document, payload, thumbnails
from bench.results import Record
from tests.bench.reporting.examples import comparison
from tests.bench.reporting.test_scaling import sweeps
from tests.bench.reporting.web.conftest import listening
from tests.bench.reporting.web.made_up import HOSTILE, pictures, report
from tests.support import ROOT

Opened = Callable[..., Any]
VIEWS = ("leaderboard", "tradeoff", "queries", "anatomy", "ceiling", "provenance")
RECORDS = report(hostile=True)
EARNED = {record.key.reranker: record for record in RECORDS if record.key.kind == "accuracy"}
SPENT = {record.key.reranker: record for record in RECORDS if record.key.kind == "cost"}


def written(folder: Path, records: list[Record]) -> Path:
    found = pictures(records, colours=20)
    path = folder / "index.html"
    path.write_bytes(document("A report", payload(records, found, "records"), thumbnails(found)))
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("page"), RECORDS)


def column(page: Any, key: str, table: str = "leaderboard") -> list[str]:
    """The texts of a column, from top to bottom."""
    keys = page.eval_on_selector_all(f"#{table} thead th", "all => all.map(one => one.dataset.key)")
    read = "rows => rows.map(row => [...row.children].map(one => one.innerText))"
    rows = page.eval_on_selector_all(f"#{table} tbody tr", read)
    return [row[keys.index(key)].strip() for row in rows]


def numbers(texts: list[str]) -> list[float]:
    return [float(re.split(r"\s", text.replace("−", "-").replace(",", ""))[0]) for text in texts if text != "–"]


def hard(record: Record) -> float:
    return float(record.figure("map_hard").value or 0)


def test_the_leaderboard_has_every_re_ranker_best_first(opened: Opened, path: Path) -> None:
    page = opened(path)
    shown = numbers(column(page, "hard"))
    assert len(shown) == len(EARNED) and shown == sorted(shown, reverse=True)
    best = max(hard(record) for record in EARNED.values() if getattr(record.key, "weights", "") != "random")
    assert percent(best) in page.locator("#leaderboard .best").all_inner_texts()
    assert page.locator("#leaderboard tr.untrained").count() == 1


def test_a_click_sorts_another_one_turns_and_dashes_stay_last(opened: Opened, path: Path) -> None:
    page = opened(path)
    page.click("#leaderboard th[data-key=memory] button")
    up = column(page, "memory")
    assert up[-1] == "–" and numbers(up) == sorted(numbers(up)) and len(set(up)) > 3
    assert page.get_attribute("#leaderboard th[data-key=memory]", "aria-sort") == "ascending"
    page.click("#leaderboard th[data-key=memory] button")
    down = column(page, "memory")
    assert down[-1] == "–" and numbers(down) == numbers(up)[::-1]
    page.focus("#leaderboard th[data-key=name] button")
    page.keyboard.press("Enter")
    assert column(page, "name")[-1].startswith("zz-untrained")
    page.reload()
    assert page.get_attribute("#leaderboard th[data-key=name]", "aria-sort") == "ascending", "kept in the address"


def elsewhere() -> list[Record]:
    """The first two methods on another data set."""
    key = {"dataset": "elsewhere", "dataset_sha256": "9" * 64, "shortlist": 100}
    return [one.model_copy(update={"key": one.key.model_copy(update=key)}) for one in list(EARNED.values())[:2]]


def test_filters_by_kind_name_protocol_data_set_and_device(opened: Opened, tmp_path: Path) -> None:
    page = opened(written(tmp_path, [*RECORDS, *comparison()[:5], *elsewhere()]))
    everything = column(page, "name")
    page.select_option("#kind", "list-wise")
    kinds = column(page, "kind")
    assert set(kinds) == {"list-wise", "first stage"} and len(kinds) < len(everything)
    assert page.inner_text("#count") == f"{len(kinds)} of {len(everything)} re-rankers"
    page.select_option("#kind", "all")
    page.locator("#name").press_sequentially("method-3")
    assert column(page, "name") == ["method-3:default"]
    page.fill("#name", "nobody")
    assert "Clear the filters" in page.inner_text("main")
    page.fill("#name", "")
    page.select_option("#measure", "medium")
    assert page.locator("#leaderboard th[data-key=gain]").inner_text() == "gain medium"
    page.select_option("#group", label="elsewhere, top 100, junk behind")
    assert sorted(column(page, "name")) == ["method-0:default", "none:first-stage"]
    assert "–" not in column(page, "latency")
    other = page.locator("#table option", has_text="Other CPU").get_attribute("value")
    page.select_option("#table", other)
    assert column(page, "latency") == ["–", "–"]
    page.check("#others")
    assert sorted(column(page, "name")) == ["ames:dinov2", "method-0:default", "none:first-stage"]


def test_a_figure_leads_to_its_record_and_back(opened: Opened, path: Path) -> None:
    page = opened(path)
    page.click("#leaderboard tr[data-row='method-1:default'] td.number .figure >> nth=0")
    assert page.inner_text("#dialog-title") == "method-1:default"
    body, record = page.inner_text("#dialog .body"), EARNED["method-1:default"]
    assert record.provenance.command in body and str(record.figure("map_hard").value) in body
    assert page.get_attribute("#dialog a", "href").startswith("records/accuracy-method-1-default-")
    address = page.url
    page.keyboard.press("Escape")
    assert not page.is_visible("#dialog") and "record=" not in page.url
    again = opened(path, address.split("#")[1])
    assert again.inner_text("#dialog-title") == "method-1:default"


def test_every_figure_of_the_leaderboard_leads_somewhere(opened: Opened, path: Path) -> None:
    page = opened(path)
    cells = page.locator("#leaderboard td.number")
    assert cells.count() == cells.filter(has=page.locator(".figure")).count() > 40


def test_a_dash_leads_to_its_reason(opened: Opened, path: Path) -> None:
    page = opened(path)
    page.click("#leaderboard tr.untrained td.number .missing >> nth=-1")
    assert "python -m bench.profile --rerankers zz-untrained:default" in page.inner_text("#dialog")


@pytest.mark.parametrize(
    ("cost", "figure"),
    [("latency", "latency_median_ms"), ("memory", "delta_rss_bytes"), ("parameters", "parameters")],
)
def test_the_pareto_front_is_that_of_every_pair(opened: Opened, path: Path, cost: str, figure: str) -> None:
    page = opened(path, f"view=tradeoff&cost={cost}")
    both = {name: (hard(EARNED[name]), float(SPENT[name].figure(figure).value or 0)) for name in SPENT}
    front = {
        name
        for name, (earned, spent) in both.items()
        if not any(a >= earned and b <= spent and (a > earned or b < spent) for a, b in both.values())
    }
    read = "all => all.map(one => [one.dataset.name, one.classList.contains('dominated')])"
    shown = page.eval_on_selector_all("#tradeoff .point", read)
    assert {name for name, dominated in shown if not dominated} == front and len(shown) == len(both) > len(front)
    best = max(earned for earned, _ in both.values())
    cheapest = min((spent, name) for name, (earned, spent) in both.items() if earned >= best - 0.01)[1]
    assert page.inner_text("#cheapest strong") == cheapest
    assert "zz-untrained:default" in page.inner_text("main") and "random weights" in page.inner_text("main")


def test_two_methods_are_compared_as_the_tables_compare_them(opened: Opened, path: Path) -> None:
    page = opened(path, "view=queries")
    page.select_option("#a", label="method-0:default")
    page.select_option("#b", label="method-2:default")
    pairs = paired_ap(EARNED["method-0:default"], EARNED["method-2:default"], "hard")
    found = paired_difference(pairs.first, pairs.second)
    text = page.inner_text("#verdict")
    assert f"{found.above} wins, {found.equal} ties, {found.below} losses" in text
    assert f"{percent(pairs.first.mean())} → {percent(pairs.second.mean())}" in text
    assert points(found.mean).replace("-", "−") in text
    assert page.locator("#atlas .point").count() == 70
    page.click("#swap")
    assert f"{found.below} wins, {found.equal} ties, {found.above} losses" in page.inner_text("#verdict")


def test_two_methods_on_different_lists_are_not_told_apart_in_silence(opened: Opened, tmp_path: Path) -> None:
    first, second = list(EARNED.values())[:2]
    assert second.lists is not None
    other = second.model_copy(update={"lists": second.lists.model_copy(update={"first_stage_sha256": "0" * 64})})
    page = opened(written(tmp_path, [first, other]), "view=queries")
    assert "re-ranked different first-stage lists" in page.inner_text("#verdict")


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.03, 0.08])
def test_the_page_s_statistics_are_those_of_the_tables(opened: Opened, path: Path, shift: float) -> None:
    page, random = opened(path), np.random.default_rng(4)
    first = random.uniform(0, 1, 70)
    second = first + random.normal(shift, 0.1, 70) if shift else first
    wanted = paired_difference(first, second)
    given = json.dumps([{"first": one, "second": two} for one, two in zip(first, second, strict=True)])
    found = page.evaluate(f"pairedDifference({given})")
    assert found["mean"] == pytest.approx(wanted.mean) and found["p"] == pytest.approx(wanted.p_value, abs=0.015)
    assert [found["low"], found["high"]] == pytest.approx([wanted.low, wanted.high], abs=0.003)
    assert [found["above"], found["below"], found["equal"]] == [wanted.above, wanted.below, wanted.equal]


@pytest.mark.parametrize("where", ["#atlas .point[data-query='7']", "#queries tr[data-row='7'] button"])
def test_a_query_shows_its_candidates_before_and_after(opened: Opened, path: Path, where: str) -> None:
    page = opened(path, "view=queries")
    page.select_option("#a", label="method-0:default")
    page.select_option("#b", label="method-1:default")
    page.locator(where).dispatch_event("click")
    assert page.inner_text("#query h3") == "query-007.jpg" and "query=7" in page.url
    assert page.locator("#atlas .point.chosen").count() == page.locator("#queries tr.chosen").count() == 1
    words = {"e": "easy", "h": "hard", "j": "junk", "-": "negative"}
    for number, name in enumerate(("none:first-stage", "method-0:default", "method-1:default")):
        kept = EARNED[name].lists
        assert kept is not None
        cards = page.locator(".strip").nth(number).locator(".candidate")
        names = cards.evaluate_all("all => all.map(one => one.title)")
        assert names == [f"{image:05}.jpg" for image in kept.images[7]]
        assert cards.locator(".label").all_inner_texts() == [words[letter] for letter in kept.labels[7]]
        text = cards.nth(0).inner_text()
        assert (f"{kept.places[7][0]} → 1" if number else "rank 1") in text
        assert ("no score" in text) == (kept.scores[7][0] is None)
    loaded = "all => Promise.all(all.map(one => one.decode().then(() => one.naturalWidth)))"
    widths = page.eval_on_selector_all("#query img", loaded)
    assert len(widths) == 31 and min(widths) > 0


def test_the_ceiling_says_what_the_order_and_what_the_shortlist_lost(opened: Opened, path: Path) -> None:
    page = opened(path, "view=ceiling")
    assert column(page, "depth", "ceilings") == ["100", "200", "400", "800"]
    oracle = float(EARNED["none:first-stage"].figure("oracle_map_hard_at_400").value or 0)
    assert column(page, "oracle", "ceilings")[2] == percent(oracle)
    lost = dict(zip(column(page, "name", "losses"), column(page, "order", "losses"), strict=True))
    trained = {name for name, record in EARNED.items() if getattr(record.key, "weights", "") != "random"}
    assert lost == {name: percent(oracle - hard(EARNED[name])) for name in trained}
    assert set(column(page, "shortlist", "losses")) == {percent(1 - oracle)}


def test_cost_comes_apart_into_roofline_and_memory(opened: Opened, path: Path) -> None:
    page = opened(path, "view=anatomy")
    assert page.locator("#roofline .point").count() == page.locator("#memory a").count() == len(SPENT)


def test_growth_is_drawn_for_every_re_ranker_that_was_swept(opened: Opened, tmp_path: Path) -> None:
    swept = sweeps()
    (group,) = scaling.groups(swept)
    page = opened(written(tmp_path, [*RECORDS, *swept]), "view=anatomy")
    shown = [record for record in group.records if record.series.get("latency_median_ms")]
    assert page.locator("#scaling a.line").count() == len(shown)
    assert set(page.locator("#scaling .label").all_text_contents()) & {record.key.reranker for record in shown}
    assert column(page, "name", "laws") == group.names
    assert column(page, "latency", "laws")[0] == scaling.law_cell(group.records[0], scaling.LATENCY).value
    page.select_option("#quantity", "memory")
    assert "memory (MiB)" in page.locator("#scaling text.axis").all_text_contents()


@pytest.mark.parametrize("view", VIEWS)
def test_what_a_record_says_cannot_become_part_of_the_page(opened: Opened, path: Path, view: str) -> None:
    page = opened(path, f"view={view}")
    assert HOSTILE in page.locator("main").text_content()
    assert page.title() == "A report" and page.locator("script").count() == 3
    assert page.locator("main img, main script, main b").count() == 0


def test_nor_can_notes_and_addresses(opened: Opened, path: Path) -> None:
    page = opened(path)
    page.click("#leaderboard tr:has-text('taken') td.number .figure >> nth=0")
    assert page.inner_text("#dialog-title") == HOSTILE and "onerror" in page.inner_text("#dialog .note")
    assert page.locator("dialog img").count() == 0
    lured = opened(path, "view=<img src=x onerror=alert(1)>&name=<b>x</b>&query=7&record=%3Cscript%3E")
    assert lured.locator("main b, main img, #filters b").count() == 0


def test_the_policy_keeps_requests_in(browser: Any, path: Path) -> None:
    """Even a script that got in could not send anything: asked of a server that listens on this machine."""
    with listening() as (address, seen):
        page = browser.new_page()
        page.goto(path.resolve().as_uri())
        fetching = "address => fetch(`${address}/f`, { mode: 'no-cors' }).then(() => 'sent', () => 'refused')"
        assert page.evaluate(fetching, address) == "refused"
        page.evaluate("address => { const one = new Image(); one.src = address; document.body.append(one); }", address)
        page.evaluate(
            "() => { const one = document.createElement('script'); one.textContent = 'document.title = 1';"
            " document.body.append(one); }"
        )
        page.wait_for_timeout(300)
        assert seen == [] and page.title() == "A report"
        page.close()


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_shows_every_view_without_scrolling_sideways(opened: Opened, path: Path, view: str) -> None:
    page = opened(path, f"view={view}&query=3", width=360, height=740)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def brightness(page: Any) -> int:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) // 3


def test_light_and_dark(opened: Opened, path: Path) -> None:
    light, dark = opened(path), opened(path, scheme="dark")
    assert brightness(light) > 200 and brightness(dark) < 60
    light.click("#theme")
    assert brightness(light) > 200 and light.inner_text("#theme") == "○ light"
    light.click("#theme")
    assert brightness(light) < 60


def test_a_report_without_accuracy_or_without_cost_says_what_to_run(opened: Opened, tmp_path: Path) -> None:
    costs = opened(written(tmp_path, [one for one in comparison() if one.key.kind == "cost"]))
    assert "No accuracy has been measured yet" in costs.inner_text("main")
    for view in VIEWS[1:]:
        costs.click(f"#views a[data-view={view}]")
    only = opened(written(tmp_path, [one for one in comparison() if one.key.kind == "accuracy"]))
    assert "No cost has been measured yet" in only.inner_text("main")
    only.click("#views a[data-view=queries]")
    only.click("#queries tbody button >> nth=0")
    assert "before the heads of lists were kept" in only.inner_text("#query")
    only.click("#views a[data-view=ceiling]")
    assert "run it again" in only.inner_text("main")


def test_two_runs_stand_side_by_side(opened: Opened, tmp_path: Path) -> None:
    first, second = comparison(), comparison()[:-1]
    found = comparisons(first, second, ("A", "B"))
    data = comparison_payload(found, ("A", "B"), ("x", "<b>y</b>"))
    path = tmp_path / "compare.html"
    path.write_bytes(document("Two runs", data))
    page = opened(path)
    assert page.locator("main section").count() == len(found) and "<b>y</b>" in page.inner_text("main")
    page.click("#comparison-1 thead button >> nth=0")
    assert page.locator("#comparison-1 th").nth(0).get_attribute("aria-sort") == "ascending"
    for place, (folder, run) in enumerate((("x", "A-"), ("<b>y</b>", "B-"))):
        page.locator("#comparison-1 tr:has-text('ransac:homography') a.figure").nth(place).click()
        assert page.get_attribute("#dialog a", "href").startswith(f"{folder}/accuracy-") and f"record={run}" in page.url
        page.keyboard.press("Escape")


@pytest.mark.parametrize("view", VIEWS)
def test_the_report_of_record_opens_without_a_complaint(opened: Opened, view: str) -> None:
    page = opened(ROOT / "reports" / "index.html", f"view={view}&query=5")
    assert page.locator("main h2").count() == 1 and len(page.inner_text("main")) > 400
