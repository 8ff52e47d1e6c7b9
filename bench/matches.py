"""What a re-ranker has to go by in one list, as a picture: `python -m bench.matches --reranker locore:micro`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from bench import options
from bench.cells import CellMissing
from bench.console import console, progress, run
from bench.errors import BenchError
from bench.files import write_bytes
from bench.ground import Setting, checkpoints_of
from bench.matched import pairs, rerank_all, rises_most
from bench.measure import limit_threads, this_machine
from bench.places import DATA_ROOT, cache_folder
from bench.prepare import Descriptors
from bench.protocols import Policy
from bench.provenance import Surroundings, command_line, git_state
from bench.reporting.matches import draw
from rerankers.registry import parse


def main(
    reranker: Annotated[str, typer.Option(help="One that reads local descriptors.")] = "locore:micro",
    query: Annotated[
        int | None, typer.Option(help="Number of a query; default: the one whose hard positives rise most.")
    ] = None,
    dataset: options.DatasetName = "facades",
    shortlist: options.Shortlist = 100,
    policy: options.Policy = Policy.JUNK_BEHIND,
    checkpoint: options.Checkpoints = None,
    allow_random: options.AllowRandom = False,
    local_descriptors: options.Locals = 500,
    data_root: options.DataRoot = DATA_ROOT,
    training: options.Training = "facades-train",
    out: Annotated[Path, typer.Option(help="Where the picture is written.")] = Path("reports"),
    cache: options.Cache = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
) -> None:
    """Draws a query, its hard positive that rose most and the positive that links both, with matches and ranks."""
    spec = parse(reranker)
    surroundings = Surroundings(threads or this_machine().cores, seed, command_line("bench.matches"))
    limit_threads(surroundings.threads)
    setting = Setting.make(
        dataset,
        Descriptors(locals=local_descriptors, training=training),
        shortlist=shortlist,
        checkpoints=checkpoints_of(checkpoint or [], [spec]),
        allow_random=allow_random,
        cache=cache_folder(cache),
        surroundings=surroundings,
        data_root=data_root,
    )
    prepared, count = setting.prepared, len(setting.prepared.dataset.truth.queries)
    if query is not None and not 0 <= query < count:
        raise BenchError(
            f"query {query} of {prepared.dataset.name}",
            wanted=f"0 to {count - 1}, for it has {count} queries",
            cure="Pass another --query, or leave it out.",
        )
    try:
        ground = setting.ground(spec)
    except CellMissing as reason:
        raise BenchError(f"re-ranker {spec}", wanted="one that can be run", cure=f"{reason}.") from reason
    with progress(str(spec)) as shown:
        found = rerank_all(ground, policy, query, progress=shown)
    commit, dirty = git_state()
    origin = (
        f"Matches: mutual nearest neighbours among the local descriptors that are read. {spec}, weights "
        f"{setting.weights(spec)}; first {shortlist} candidates of {prepared.dataset.name} (sha256 "
        f"{prepared.dataset.sha256[:12]}), {setting.descriptors}, {policy}; "
        f"commit {(commit or 'unknown')[:7]}{'+dirty' if dirty else ''}"
    )
    picture = draw(pairs(rises_most(found, ground), prepared.images, Path(ground.dataset_folder)), origin)
    path = out / f"matches_{re.sub(r'[^A-Za-z0-9.-]+', '-', str(spec))}.png"
    write_bytes(path, picture)
    console.print(f"wrote {path}", markup=False, highlight=False)


if __name__ == "__main__":
    run(main)
