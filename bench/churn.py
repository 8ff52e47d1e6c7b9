"""How far rankings depend on number type and batch size: `python -m bench.churn`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from bench.cells import Cell, CellResult, exit_code, isolated, run_cells
from bench.console import output, progress, run
from bench.errors import BenchError
from bench.ground import Setting, checkpoints_of
from bench.measure import this_machine
from bench.places import DEFAULT_RECORDS, cache_folder, records_folder
from bench.prepare import Descriptors
from bench.provenance import Surroundings, command_line
from bench.reporting import churn_table
from bench.results import ChurnKey, Figure, ResultStore
from bench.steady import ALTERNATIVES, SteadyTask
from rerankers.registry import SYNTAX, Spec, parse

#: Every family that reads what the default descriptors hold.
DEFAULT = (
    "sg-rerank",
    "ransac",
    "chamfer:rootsift",
    "elvis:rootsift",
    "ames:rootsift",
    "rrt:rootsift",
    "r2former:rootsift",
    "cvnet",
    "locore:tiny-rootsift",
)
MEASURES = ("kendall_tau_mean", "kendall_tau_min", "left_top_10", "queries_changed", "score_change_max")


def main(
    rerankers: Annotated[str, typer.Option(help=f"Comma-separated: {SYNTAX}.")] = ",".join(DEFAULT),
    shortlist: Annotated[int, typer.Option(help="How many first-stage candidates are re-ranked.", min=2)] = 100,
    queries: Annotated[int, typer.Option(help="How many queries, from the first on.", min=1)] = 10,
    dataset: Annotated[str, typer.Option(help="An embedded data set, or a folder with ground_truth.json.")] = "facades",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="FAMILY=PATH or FAMILY=hf:OWNER/NAME; may be given several times.")
    ] = None,
    local_descriptors: Annotated[
        int, typer.Option("--locals", help="Local descriptors kept of an image.", min=1, max=1000)
    ] = 500,
    training: Annotated[
        str, typer.Option(help="Data set that the visual words and their whitening are learnt on.")
    ] = "facades-train",
    records: Annotated[Path, typer.Option(help="Where records are kept.")] = DEFAULT_RECORDS,
    cache: Annotated[Path | None, typer.Option(help="Where images and descriptors are kept.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of every library; default: all cores.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of random weights.")] = 0,
    timeout: Annotated[float, typer.Option(help="Seconds that one re-ranker may take.")] = 3600,
    again: Annotated[bool, typer.Option(help="Run cells again that this code has finished on this machine.")] = False,
) -> None:
    """Ranks the same shortlists with other number types and batch sizes, and says what changed.

    A learned re-ranker without a checkpoint runs with random weights, and its row says so.
    """
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise BenchError(f"device {device!r}", wanted="cpu, or a CUDA device that is there", cure="Pass --device cpu.")
    specs = list(dict.fromkeys(parse(one) for one in rerankers.split(",")))
    store = ResultStore(records_folder(records))
    surroundings = Surroundings(threads or this_machine().cores, seed, command_line("bench.churn"))
    setting = Setting.make(
        dataset,
        Descriptors(locals=local_descriptors, training=training),
        shortlist=shortlist,
        checkpoints=checkpoints_of(checkpoint or [], specs),
        allow_random=True,
        cache=cache_folder(cache),
        surroundings=surroundings,
    )
    asked = min(queries, len(setting.prepared.dataset.truth.queries))

    def cell(spec: Spec) -> Cell:
        weights = setting.weights(spec)
        key = ChurnKey(reranker=str(spec), device=device, queries=asked, weights=weights, **setting.described())

        def measure() -> CellResult:
            task = SteadyTask(asdict(setting.ground(spec)), device, asked)
            with progress(str(spec)) as shown:
                found = isolated(
                    "bench.steady:run",
                    asdict(task),
                    threads=surroundings.threads,
                    timeout_s=timeout,
                    progress=lambda done, total, text: shown(done, total),
                )
            notes = ["random weights: trained ones may rank more or less steadily"] if weights == "random" else []
            return CellResult(figures(found), notes=notes)

        return Cell(key, measure)

    found = run_cells([cell(spec) for spec in specs], store, surroundings, again=again)
    output.print(churn_table(found).markdown(), markup=False, highlight=False)
    raise typer.Exit(exit_code(found))


def figures(found: dict[str, dict[str, Any]]) -> dict[str, Figure]:
    """What the cell found, or why it did not look, by measure and alternative."""
    return {
        f"{measure}_{name}": Figure(reason=found["reasons"][name])
        if name in found["reasons"]
        else Figure(value=found["figures"][name][measure])
        for name in ALTERNATIVES
        for measure in MEASURES
    }


if __name__ == "__main__":
    run(main)
