"""What the documentation says can be done: its examples run, its commands parse, its links lead somewhere."""

from __future__ import annotations

import ast
import json
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer

from bench.features.synthetic import workload
from rerankers.errors import RerankError
from rerankers.registry import BUILT_IN, parse, variants
from tests.support import ROOT, SMALL

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS]
FAMILIES = ROOT / "docs" / "rerankers"
#: Pages whose examples are run by other tests.
RUN_ELSEWHERE = {"docs/own-reranker.md": "tests/bench/test_pytest_plugin.py runs them, as pytest does"}
#: Examples by page and number that are compiled only, with what they lack. On pages of later date, a mark before the
#: block says so: <!-- needs: facades-train -->.
COMPILED_ONLY = {
    "docs/findings.md": {1: "descriptors of facades-train-large"},
    "docs/locore.md": {0: "a process group, a checkpoint and features, of a script under torchrun"},
}
#: The family that the pages on one's own re-ranker add.
FOREIGN = "mine"
#: What a command leaves out.
ELLIPSIS = "..."

_NEEDS = re.compile(r"<!-- needs: (?P<what>[^>]+) -->")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`[^`\n]+`")
_COMMAND = re.compile(r"(?:python3?|torchrun\b.*?) -m (?P<module>bench\.\w+)(?P<rest>.*)")
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block. line: of its first line on the page. needs: what the mark before it says, None without one."""

    language: str
    code: str
    line: int
    needs: str | None


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for found in _FENCE.finditer(text):
        before = text[: found.start()].rstrip().rpartition("\n")[2]
        mark = _NEEDS.fullmatch(before.strip())
        line = text.count("\n", 0, found.start("code")) + 1
        yield Block(found["language"], textwrap.dedent(found["code"]), line, mark and mark["what"])


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    return page.read_text(encoding="utf8")


def examples(page: Path) -> list[Block]:
    return [block for block in blocks(read(page)) if block.language == "python"]


def run_examples(name: str, found: list[Block], namespace: dict[str, Any]) -> int:
    """Runs a page's Python blocks in one namespace; gives how many ran, and were not only compiled."""
    ran = 0
    for number, block in enumerate(found):
        code = compile("\n" * (block.line - 1) + block.code, name, "exec")
        if block.needs is None and number not in COMPILED_ONLY.get(name, {}):
            exec(code, namespace)
            ran += 1
    return ran


def given(name: str) -> dict[str, Any]:
    """What the examples of a page take for granted."""
    if name != "README.md":
        return {}
    sizes = {"query_locals": 50, "candidate_locals": 50, "local_dim": 128, "global_dim": None}
    query, candidates, similarity = workload(candidates=8, seed=0, **sizes)
    return {"query": query, "candidates": candidates, "similarity": similarity}


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=name_of)
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = name_of(page)
    if name in RUN_ELSEWHERE:
        assert all(compile(block.code, name, "exec") for block in examples(page))
        return
    (tmp_path / "reports").symlink_to(ROOT / "reports")  # some read the report of record, and one writes lists
    monkeypatch.chdir(tmp_path)
    run_examples(name, examples(page), {"__name__": "example", **given(name)})


def test_blocks_that_are_compiled_only_are_there() -> None:
    for name, numbers in COMPILED_ONLY.items():
        assert max(numbers) < len(examples(ROOT / name)), name
    assert all((ROOT / name).is_file() for name in RUN_ELSEWHERE)


def test_a_broken_example_is_seen_and_a_marked_one_is_only_compiled() -> None:
    text = "```python\na = 1\n```\n\n```python\nassert a == 2\n```\n"
    with pytest.raises(AssertionError):
        run_examples("page", list(blocks(text)), {})
    marked = text.replace("```python\nassert", "<!-- needs: facades-train -->\n\n```python\nassert")
    assert [block.needs for block in blocks(marked)] == [None, "facades-train"]
    assert run_examples("page", list(blocks(marked)), {}) == 1
    with pytest.raises(SyntaxError):
        run_examples("page", list(blocks(marked.replace("assert a", "assert a b"))), {})


def commands(text: str) -> Iterator[str]:
    """Every command of this project on a page, from its blocks and from code in its lines."""
    for block in blocks(text):
        yield from re.sub(r"\\\n\s*", "", block.code).splitlines()
    yield from (span[0].strip("`") for span in _INLINE.finditer(_FENCE.sub("", text)))


@cache
def parser(module: str) -> Any:
    """The command line of `python -m module`."""
    spec = find_spec(module)
    name = f"{module}.__main__" if spec is not None and spec.submodule_search_locations else module
    app = typer.Typer(add_completion=False)
    app.command()(import_module(name).main)
    return typer.main.get_command(app)


def complaint(line: str) -> str | None:
    """What is wrong with a command; None where nothing is, or where the line is none."""
    found = _COMMAND.search(line)
    if not found:
        return None
    module, arguments = found["module"], shlex.split(found["rest"], comments=True)
    if find_spec(module) is None:
        return f"no module {module}"
    try:
        context = parser(module).make_context(module, [one for one in arguments if one != ELLIPSIS])
    except Exception as error:
        say = getattr(error, "format_message", None)  # of the option parser's own errors
        if say is None:
            raise
        left_out = not arguments or ELLIPSIS in arguments  # a command that is only named, or not written out
        return None if left_out and "Missing" in say() else say()
    return _unknown_rerankers(context.params)


def _unknown_rerankers(params: dict[str, Any]) -> str | None:
    for request in filter(None, (params.get("rerankers") or "").split(",")):
        if request == FOREIGN:
            continue
        try:
            parse(request)
        except RerankError as error:
            return str(error)
    return None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_parse(page: Path) -> None:
    wrong = {line: found for line in commands(read(page)) if (found := complaint(line)) is not None}
    assert not wrong


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("python -m bench.nothing", "no module"),
        ("python -m bench.accuracy --shortlst 100", "No such option"),
        ("python -m bench.accuracy --shortlist many  # a comment", "valid integer"),
        ("torchrun --nproc-per-node 2 -m bench.accuracy --policy junk", "is not one of"),
        ("python -m bench.accuracy --rerankers none,ames:mikro", "unknown variant"),
        ("python -m bench.parity --brief", "Missing argument"),
    ],
)
def test_a_wrong_command_is_seen(line: str, said: str) -> None:
    assert said in (complaint(line) or "")


def test_commands_are_found_on_a_page() -> None:
    text = "say `python -m bench.report --out x`\n```\npython -m bench.accuracy \\\n    --read 12\n```\n"
    assert list(commands(text)) == ["python -m bench.accuracy --read 12", "python -m bench.report --out x"]
    assert sum(_COMMAND.search(line) is not None for page in PAGES for line in commands(read(page))) > 50


def test_the_sessions_of_nox_on_the_pages_exist() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf8"))
    sessions = set()
    for node in tree.body:
        for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            named = [word.value.value for word in getattr(mark, "keywords", []) if word.arg == "name"]
            if ast.unparse(mark).startswith("nox.session"):
                sessions.add(named[0] if named else node.name)
    asked = {name for page in PAGES for name in re.findall(r"nox -s (\w+)", read(page))}
    assert asked and asked <= sessions


def anchors(text: str) -> set[str]:
    """What headings are linked by, as GitHub makes it."""
    found: set[str] = set()
    for title in re.findall(r"^#{1,6} (.+?)\s*$", _FENCE.sub("", text), re.MULTILINE):
        shown = _LINK.sub(lambda link: link[0][1:].split("](")[0], title).replace("`", "").replace("*", "")
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = next(count for count in range(1000) if (f"{slug}-{count}" if count else slug) not in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


def targets(text: str) -> list[str]:
    """Where a page links to, this project only."""
    prose = _INLINE.sub(lambda code: "x" * len(code[0]), _FENCE.sub("", text))
    return [link["target"] for link in _LINK.finditer(prose) if not re.match(r"[a-z]+:", link["target"])]


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead to no file of this project, or to no heading of one."""
    found = []
    for target in targets(text):
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        there = file.exists() and file.is_relative_to(ROOT)
        if not there or (anchor and anchor not in anchors(text if file == page else read(file))):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert not broken(page, read(page))


def test_a_link_to_nothing_is_seen() -> None:
    page = ROOT / "docs" / "facades.md"  # with another text
    text = (
        "# A page\n## It's `here`\n## Again\n## Again\n"
        "[1](ci.md) [2](nowhere.md) [3](ci.md#what-blocks) [4](ci.md#nowhere)\n"
        "[5](#its-here) [6](#again-1) [7](#again-2) [8](https://nowhere) `[9](nowhere.md)` [10](../../elsewhere.md)\n"
    )
    assert broken(page, text) == ["nowhere.md", "ci.md#nowhere", "#again-2", "../../elsewhere.md"]


def test_every_page_is_in_the_index() -> None:
    """Directly, or on the index of its folder."""
    for page in DOCS:
        indices = {page.parent / "README.md", ROOT / "docs" / "README.md"} - {page}
        linked = {
            (index.parent / unquote(target).partition("#")[0]).resolve()
            for index in indices
            for target in targets(read(index))
        }
        assert page in linked or page == ROOT / "docs" / "README.md", name_of(page)


def tables(text: str, head: str) -> Iterator[list[str]]:
    """The rows, as cells, of all tables whose first column has this heading."""
    inside = False
    for line in _FENCE.sub("", text).splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]] if line.startswith("|") else []
        if not cells:
            inside = False
        elif inside and not set(cells[0]) <= set("-: "):
            yield cells
        elif not inside:
            inside = cells[0] == head


def code_in(cell: str) -> list[str]:
    return [span[0].strip("`") for span in _INLINE.finditer(cell)]


@pytest.mark.parametrize("family", BUILT_IN)
def test_every_family_has_a_page_with_every_variant(family: str) -> None:
    rows = tables(read(FAMILIES / f"{family}.md"), "variant")
    named = [parse(request) for row in rows for request in code_in(row[0])]
    assert {(spec.family, spec.variant) for spec in named} == {(family, name) for name in variants(family)}
    assert len(named) == len(variants(family))


def test_every_combination_on_its_page_is_a_request() -> None:
    rows = list(tables(read(FAMILIES / "combinations.md"), "request"))
    requests = [request for row in rows for request in code_in(row[0])]
    assert len(requests) == len(rows) > 5
    for request in requests:
        assert parse(request)


@pytest.mark.parametrize("page", sorted(FAMILIES.glob("*.md")), ids=name_of)
def test_tolerances_are_those_of_the_reference_cases(page: Path) -> None:
    for row in tables(read(page), "case"):
        for name in code_in(row[0]):
            spec = json.loads((SMALL / name / "case.json").read_text(encoding="utf8"))
            said = [0.0, 0.0] if row[-1] == "exact" else [float(part) for part in row[-1].split("+")]
            assert said == [spec["atol"], spec["rtol"]], name


def test_every_reference_case_of_a_re_ranker_is_on_a_page() -> None:
    shown = {name for page in FAMILIES.glob("*.md") for name in code_in(read(page))}
    cases = {path.parent.name for path in SMALL.glob("*/case.json") if not path.parent.name.startswith("metrics-")}
    assert cases and not cases - shown
