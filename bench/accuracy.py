"""What every re-ranker earns on a data set: `python -m bench.accuracy --shortlist 400`."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import options
from bench.cells import Cell, CellMissing, CellResult, Limits, earned, exit_code, isolated, run_cells
from bench.console import output, run
from bench.datasets import Dataset, Task
from bench.earn import EarnTask
from bench.errors import BenchError
from bench.ground import Ground, Setting, checkpoints_of, wanted
from bench.measure import this_machine
from bench.places import DATA_ROOT, DEFAULT_RECORDS, cache_folder, records_folder, unfinished
from bench.prepare import Descriptors
from bench.processes import Crew, joined, share_of_cores
from bench.protocols import Policy
from bench.provenance import Surroundings, code_sha256, command_line
from bench.reporting import accuracy_table
from bench.results import AccuracyKey, Figure, RankedLists, ResultStore
from bench.shards import Shards
from rerankers.registry import Spec, parse, variant_of

#: What the others are compared with; its cell says what shortlists of other lengths would allow, too.
FIRST_STAGE = "none"
#: Re-rankers of the default comparison.
DEFAULT = (
    FIRST_STAGE,
    "sg-rerank",
    "ransac",
    "chamfer:rootsift",
    "chamfer:rootsift-48",
    "elvis:micro",
    "ames:micro",
    "rrt:micro",
    "r2former:micro",
    "cvnet:micro",
    "locore:micro",
    "locore:micro+slide",
    "locore:rwkv-micro",
    "locore:mamba-micro",
    "sg-rerank+then+locore:micro",
    "sg-rerank+then+locore:micro+slide",
)


@dataclass(frozen=True)
class Request:
    """What all cells of one call share."""

    setting: Setting
    policy: Policy
    work: Path
    limits: Limits
    crew: Crew

    def cell(self, spec: Spec, read: int | None) -> Cell:
        key = AccuracyKey(
            reranker=str(spec),
            **self.setting.described(),
            policy=str(self.policy),
            weights=self.setting.weights(spec),
            read=read if any(variant_of(part).inputs.local_dim for part in spec.parts) else None,
        )
        return Cell(key, lambda: self.earn(spec, key), discard=lambda: self.shards(key).discard())

    def shards(self, key: AccuracyKey) -> Shards:
        """The journals of a cell."""
        heading = f"{key.model_dump_json()} {code_sha256()} {self.setting.surroundings.seed}"
        return Shards(self.crew, self.work, hashlib.sha256(heading.encode()).hexdigest()[:16], heading)

    def earn(self, spec: Spec, key: AccuracyKey) -> CellResult:
        """Runs one cell: its queries over all processes of the crew, each in a process of its own; then evaluates."""
        ground, shards = self.ground(spec), self.shards(key)
        title = str(spec) if key.read is None else f"{spec}, {key.read} descriptors"

        def run(journal: Path, queries: list[int] | None) -> dict[str, Any]:
            first_stage = str(spec) == str(parse(FIRST_STAGE))
            task = EarnTask(
                asdict(ground), str(self.policy), str(journal), shards.heading, key.read, queries, ceilings=first_stage
            )
            threads = self.setting.surroundings.threads
            shown = title if self.crew.first else None
            return isolated(
                "bench.earn:run",
                asdict(task),
                threads=threads,
                limits=self.limits,
                title=shown,
            )

        if self.crew.count > 1:
            shards.run(len(self.setting.prepared.dataset.truth.queries), run)
        else:
            shards.merged()
        if not self.crew.first:
            return CellResult({})
        found = run(shards.first_journal, None)
        notes = ["random weights: the accuracy of this row means nothing"] if key.weights == "random" else []
        ceilings = {
            name: Figure(reason=value) if isinstance(value, str) else earned({name: value})[name]
            for name, value in found["ceilings"].items()
        }
        return CellResult(
            earned(found["figures"]) | ceilings,
            found["series"],
            notes,
            found["scores_sha256"],
            found["scoring"],
            RankedLists(**found["lists"]),
        )

    def ground(self, spec: Spec) -> Ground:
        """See Setting. Process 0 makes what is missing, and the others find it; a reason is given by all or by none."""
        with self.crew.in_turn():
            try:
                found: Ground | CellMissing = self.setting.ground(spec)
            except CellMissing as reason:
                found = reason
        if isinstance(found, CellMissing):
            raise found
        return found


def main(
    shortlist: options.Shortlist = 400,
    dataset: options.DatasetName = "facades",
    rerankers: options.Rerankers = "",
    read: Annotated[
        str | None,
        typer.Option(help="Comma-separated: local descriptors read of an image; default: what the variant says."),
    ] = None,
    policy: options.Policy = Policy.JUNK_BEHIND,
    checkpoint: options.Checkpoints = None,
    allow_random: options.AllowRandom = False,
    local_descriptors: options.Locals = 500,
    data_root: options.DataRoot = DATA_ROOT,
    descriptors: options.StoredDescriptors = None,
    globals_: options.StoredGlobals = None,
    neighbours: options.Neighbours = None,
    training: options.Training = "facades-train",
    records: options.Records = DEFAULT_RECORDS,
    cache: options.Cache = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    timeout: options.Timeout = 3600,
    memory_limit: options.MemoryLimit = None,
    again: options.Again = False,
) -> None:
    """Re-ranks the shortlist of every query with every re-ranker, evaluates the lists, and keeps a record of each.

    Several processes share the queries: torchrun --nproc-per-node N -m bench.accuracy ...
    """
    specs = list(dict.fromkeys(parse(one) for one in rerankers.split(","))) if rerankers else compared(shortlist)
    lengths = _lengths(read, most=local_descriptors if descriptors is None else None)
    described = wanted(descriptors, globals_, neighbours) or Descriptors(locals=local_descriptors, training=training)
    folder, store = cache_folder(cache), ResultStore(records_folder(records))
    used = threads or share_of_cores(this_machine().cores)
    surroundings = Surroundings(used, seed, command_line("bench.accuracy"))
    with joined("cpu") as crew:
        if not crew.first:
            logging.getLogger("bench").setLevel(logging.WARNING)  # what goes on is said once
        with crew.in_turn():
            setting = Setting.make(
                dataset,
                described,
                shortlist=shortlist,
                checkpoints=checkpoints_of(checkpoint or [], specs),
                allow_random=allow_random,
                cache=folder,
                surroundings=surroundings,
                data_root=data_root,
                searches=crew.first,
            )
        check_policy(policy, setting.prepared.dataset)
        request = Request(setting, policy, unfinished(folder, records), Limits(timeout, memory_limit), crew)
        cells = {cell.key: cell for spec in specs for length in lengths for cell in [request.cell(spec, length)]}
        found = run_cells(list(cells.values()), store, surroundings, again=again, crew=crew)
    if crew.first:
        output.print(accuracy_table(found).markdown(), markup=False, highlight=False)
    raise typer.Exit(exit_code(found))


def compared(shortlist: int) -> list[Spec]:
    """The default comparison, without windows that would hold the whole shortlist: they slide nowhere."""
    specs = [parse(one) for one in DEFAULT]
    return [one for one in specs if not any(part.slide and part.slide.window >= shortlist for part in one.parts)]


def check_policy(policy: Policy, dataset: Dataset) -> None:
    """BenchError for a policy that the data set's task does not know."""
    if policy is Policy.PER_PROTOCOL and dataset.task is not Task.REVISITED:
        raise BenchError(
            f"--policy {str(policy)!r} on {dataset.name}, which has no protocols to choose candidates for",
            wanted=f"{str(Policy.JUNK_BEHIND)!r} or {str(Policy.JUNK_STAYS)!r}",
            cure="Leave --policy out.",
        )


def _lengths(given: str | None, *, most: int | None) -> list[int | None]:
    """The numbers of --read, [None] without; BenchError unless they are from 1 to the number that is kept, if known."""
    try:
        found: list[int | None] = [None] if given is None else [int(one) for one in given.split(",")]
    except ValueError:
        found = [0]
    if any(one is not None and (one < 1 or (most is not None and one > most)) for one in found):
        raise BenchError(
            f"--read {given}",
            wanted=f"numbers from 1{f' to the {most} descriptors that are kept' if most else ''}, as in 12,24,48",
            cure="Change them, or keep more with --locals.",
        )
    return found


if __name__ == "__main__":
    run(main)
