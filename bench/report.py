"""Stored records as a page, tables and plots: `python -m bench.report`."""

from __future__ import annotations

import logging
import os
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from bench import options
from bench.console import console, output, progress, run
from bench.errors import BenchError
from bench.files import write_bytes
from bench.measure import this_machine
from bench.places import DATA_ROOT, DEFAULT_RECORDS, cache_path
from bench.reporting.comparing import comparisons, sheet
from bench.reporting.pages import render
from bench.reporting.tables import escaped
from bench.reporting.web import comparison_payload, document, payload, thumbnails
from bench.results import ResultStore
from bench.serving import LOOPBACK, server
from bench.thumbnails import pictures

log = logging.getLogger(__name__)

TITLE = "rerank-bench"
#: The page, and that of two runs; how tables call the two.
PAGE, COMPARISON = "index.html", "compare.html"
RUNS = ("A", "B")

#: Where, inside a report, the records lie that it was made from.
EVIDENCE = "records"
#: Pictures that `bench.matches` leaves beside a report.
MATCHES = "matches_*.png"
#: What a report consists of.
KINDS = (
    "README.md",
    PAGE,
    *(
        f"{page}.*"
        for page in ("accuracy", "churn", "cost", "tune", "linking", "published", "scaling", "noise", "power")
    ),
    *(f"{picture}_*.{ending}" for picture in ("scatter", "noise", "scaling") for ending in ("png", "svg")),
    f"{EVIDENCE}/*.json",
)


def main(
    records: Annotated[Path, typer.Option(help="Where records are kept.")] = DEFAULT_RECORDS,
    out: Annotated[Path, typer.Option(help="Where the report is written.")] = Path("reports"),
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two folders of records: only what they differ in, as compare.html, .md and .csv."),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Then show it in a browser of this machine.")] = False,
    port: Annotated[int, typer.Option(help="Of --serve; 0: any that is free.", min=0, max=65535)] = 0,
    images: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER: where the images of a data set of your own lie; may be given several times."),
    ] = None,
    data_root: options.DataRoot = DATA_ROOT,
    cache: options.Cache = None,
) -> None:
    """Writes the report: index.html, README.md, tables (Markdown, CSV, LaTeX) and plots (PNG, SVG)."""
    if compare is not None:
        page = compared(*compare, out)
    else:
        page = reported(records, out, folders_of(images or []), data_root, cache, as_it_is=serve)
    if serve:
        shown(page, port)


def reported(
    records: Path, out: Path, folders: Mapping[str, Path], data_root: Path, cache: Path | None, *, as_it_is: bool
) -> Path:
    """Writes the report of all records; its page. as_it_is: whether one that is there already does, without records."""
    stored = list(ResultStore(records))
    if not stored and as_it_is and (out / PAGE).is_file():
        log.info("no records in %s: showing the report in %s as it is", records, out)
        return out / PAGE
    if not stored:
        raise BenchError(
            f"no records in {records}",
            wanted="a folder with at least one record",
            cure="Run `python -m bench.profile` or `python -m bench.accuracy --shortlist 400`, or pass --records.",
        )
    with progress("thumbnails") as told:
        found = pictures(
            stored,
            cache=cache_path(cache),
            data_root=data_root,
            folders=folders,
            workers=this_machine().cores,
            progress=told,
        )
    files = render(stored, sorted(path.name for path in out.glob(MATCHES)))
    files[PAGE] = document(TITLE, payload(stored, found, EVIDENCE), thumbnails(found))
    written(out, files)
    evidence = ResultStore(out / EVIDENCE)
    kept = {evidence.put(record) for record in stored} | {out / name for name in files}
    for stale in sorted({path for kind in KINDS for path in out.glob(kind)} - kept):
        console.print(f"{stale} is not of these records: delete it", style="yellow", markup=False)
    return out / PAGE


def compared(first: Path, second: Path, out: Path) -> Path:
    """Writes what two folders of records differ in; the page."""
    runs = []
    for folder in (first, second):
        runs.append(list(ResultStore(folder)))
        if not runs[-1]:
            raise BenchError(
                f"no records in {folder}",
                wanted="two folders with records of cells",
                cure="Pass the --records folders of two runs, or reports/records of two checkouts.",
            )
    found = comparisons(runs[0], runs[1], RUNS)
    names = f"A is {first}, B is {second}. Differences are B minus A."
    lines = [f"## {escaped(one.title)}\n\n{escaped(one.summary)}\n\n{one.table.markdown()}" for one in found]
    folders = os.path.relpath(first, out), os.path.relpath(second, out)
    data = comparison_payload(found, RUNS, folders)
    files = {
        "compare.md": "\n".join(["# Two runs side by side\n", f"{escaped(names)}\n", *lines]).encode(),
        "compare.csv": sheet(runs[0], runs[1], RUNS).csv().encode(),
        COMPARISON: document(f"{TITLE}: two runs", data),
    }
    written(out, files)
    for one in found:
        output.print(f"{one.title}: {one.summary}", markup=False, highlight=False)
    return out / COMPARISON


def written(out: Path, files: Mapping[str, bytes]) -> None:
    for name, contents in files.items():
        write_bytes(out / name, contents)
        console.print(f"wrote {out / name}", markup=False, highlight=False)


def folders_of(given: Sequence[str]) -> dict[str, Path]:
    """NAME=FOLDER pairs; BenchError for one that is none."""
    found = {}
    for pair in given:
        name, _, folder = pair.partition("=")
        if not name or not Path(folder).is_dir() or not folder:
            raise BenchError(
                f"--images {pair}",
                wanted="NAME=FOLDER, a data set as its records call it and a folder that exists",
                cure="The name is that of the folder which --dataset named.",
            )
        found[name] = Path(folder)
    return found


def shown(page: Path, port: int) -> None:
    """Serves the folder of a page until interrupted, and opens the page."""
    serving = server(page.parent, port)
    address = f"http://{LOOPBACK}:{serving.server_port}/{page.name}"
    console.print(f"{address} (this machine only; Ctrl-C ends it)", markup=False, highlight=False)
    if _has_screen():
        webbrowser.open(address)
    with serving, suppress(KeyboardInterrupt):
        serving.serve_forever()


def _has_screen() -> bool:
    """Without one, what opens would be a browser for text, in this terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


if __name__ == "__main__":
    run(main)
