"""What transitive positives owe to their linking positives: `python -m bench.linking`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from bench import datasets, options
from bench.cells import Cell, CellResult, Limits, exit_code, isolated, run_cells
from bench.console import output, progress, run
from bench.datasets import Dataset
from bench.datasets.facades import read_recipe
from bench.errors import BenchError
from bench.ground import Setting, checkpoints_of
from bench.linked import LinkTask, unread
from bench.measure import this_machine
from bench.places import DEFAULT_RECORDS, cache_folder, records_folder
from bench.prepare import Descriptors
from bench.protocols import Policy
from bench.provenance import Surroundings, command_line
from bench.reporting import linking_table
from bench.results import Figure, LinkingKey, ResultStore
from rerankers.registry import Spec, parse, variant_of

#: A list-wise re-ranker, and a pair-wise one as a check: what it says of one candidate cannot depend on another.
DEFAULT = "locore:micro,elvis:micro"


@dataclass(frozen=True)
class Request:
    """What all cells of one call share."""

    setting: Setting
    policy: Policy
    draws: int
    limits: Limits

    def cell(self, spec: Spec) -> Cell:
        key = LinkingKey(
            reranker=str(spec),
            **self.setting.described(),
            policy=str(self.policy),
            weights=self.setting.weights(spec),
            draws=self.draws,
        )
        return Cell(key, lambda: self.link(spec, key))

    def link(self, spec: Spec, key: LinkingKey) -> CellResult:
        """Runs one cell in its own process."""
        task = LinkTask(ground=asdict(self.setting.ground(spec)), policy=str(self.policy), draws=self.draws)
        found = isolated(
            "bench.linked:run",
            asdict(task),
            threads=self.setting.surroundings.threads,
            limits=self.limits,
            title=str(spec),
        )
        figures = {name: Figure(value=value) for name, value in found["figures"].items()}
        notes = ["random weights: the falls of this row mean nothing"] if key.weights == "random" else []
        return CellResult(figures, found["series"], notes, found["scores_sha256"])


def main(
    rerankers: Annotated[
        str, typer.Option(help="Comma-separated: family[:variant], without +slide and +then+.")
    ] = DEFAULT,
    dataset: options.DatasetName = "facades",
    shortlist: options.Shortlist = 100,
    draws: Annotated[int, typer.Option(help="How often other descriptors are drawn for each case.", min=1)] = 10,
    policy: options.Policy = Policy.JUNK_BEHIND,
    checkpoint: options.Checkpoints = None,
    allow_random: options.AllowRandom = False,
    local_descriptors: options.Locals = 500,
    training: options.Training = "facades-train",
    records: options.Records = DEFAULT_RECORDS,
    cache: options.Cache = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    timeout: options.Timeout = 3600,
    memory_limit: options.MemoryLimit = None,
    again: options.Again = False,
) -> None:
    """Replaces what a linking positive shows of a transitive positive, and says how far the latter's score falls.

    The control replaces as many of the linking positive's descriptors elsewhere.
    """
    specs = list(dict.fromkeys(scored(one) for one in rerankers.split(",")))
    folder, store = cache_folder(cache), ResultStore(records_folder(records))
    surroundings = Surroundings(threads or this_machine().cores, seed, command_line("bench.linking"))
    with progress(f"data set {dataset}") as shown:
        check(datasets.load(dataset, cache=folder, workers=surroundings.threads, progress=shown))
    setting = Setting.make(
        dataset,
        Descriptors(locals=local_descriptors, training=training),
        shortlist=shortlist,
        checkpoints=checkpoints_of(checkpoint or [], specs),
        allow_random=allow_random,
        cache=folder,
        surroundings=surroundings,
    )
    request = Request(setting, policy, draws, Limits(timeout, memory_limit))
    found = run_cells([request.cell(spec) for spec in specs], store, surroundings, again=again)
    output.print(linking_table(found).markdown(), markup=False, highlight=False)
    raise typer.Exit(exit_code(found))


def scored(request: str) -> Spec:
    """The Spec of a request; BenchError for a chain and for windows, which give an order and no scores, and for a
    re-ranker that reads no local descriptors."""
    spec = parse(request)
    if spec.then is not None or spec.slide is not None:
        part = "+slide" if spec.then is None else "+then+"
        raise BenchError(
            f"re-ranker {request.strip()!r}",
            wanted=f"one without {part}, which gives an order and no scores that could fall",
            cure="Leave that part out.",
        )
    if variant_of(spec).inputs.local_dim is None:
        raise unread(spec)
    return spec


def check(dataset: Dataset) -> None:
    """BenchError for a data set of which nobody knows the transitive positives, or what its images show together."""
    if all(truth.transitive is None for truth in dataset.truth.truths):
        raise BenchError(
            f"{dataset.name} without transitive positives",
            wanted="'transitive' in the entries of gnd, as facades has it",
            cure="Pass --dataset facades or facades-val.",
        )
    read_recipe(dataset.folder)


if __name__ == "__main__":
    run(main)
