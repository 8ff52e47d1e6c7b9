"""The blend of every re-ranker with the first stage, chosen on a validation set: `python -m bench.tune`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated

import typer

from bench import options
from bench.blending import TuneTask
from bench.cells import Cell, CellResult, Limits, earned, exit_code, isolated, run_cells
from bench.console import output, run
from bench.datasets import Dataset, Task
from bench.errors import BenchError
from bench.ground import Setting, checkpoints_of, wanted
from bench.measure import this_machine
from bench.places import DATA_ROOT, DEFAULT_RECORDS, cache_folder, records_folder
from bench.prepare import Descriptors
from bench.protocols import Policy
from bench.provenance import Surroundings, command_line
from bench.reporting import oracle_table, tune_table
from bench.results import Record, ResultStore, TuneKey
from rerankers.registry import Spec, parse

#: Parts of a request that leave no raw scores to blend, and why.
REFUSED = {
    "+blend": "the blend is what is chosen",
    "+sum": "the blend is what is chosen",
    "+slide": "sliding windows give an order, not scores",
    "+then+": "a chain gives an order, not scores",
}


@dataclass(frozen=True)
class Request:
    """What all cells of one call share."""

    validation: Setting
    evaluated: Setting
    policy: Policy
    limits: Limits

    def cell(self, spec: Spec) -> Cell:
        chosen_on = self.validation.prepared.dataset
        key = TuneKey(
            reranker=str(spec),
            **self.evaluated.described(),
            policy=str(self.policy),
            weights=self.evaluated.weights(spec),
            validation=chosen_on.name,
            validation_sha256=chosen_on.sha256,
        )
        return Cell(key, lambda: self.tune(spec, key))

    def tune(self, spec: Spec, key: TuneKey) -> CellResult:
        """Runs one cell in its own process."""
        task = TuneTask(
            validation=asdict(self.validation.ground(spec)),
            evaluated=asdict(self.evaluated.ground(spec)),
            policy=str(self.policy),
        )
        found = isolated(
            "bench.blending:run",
            asdict(task),
            threads=self.evaluated.surroundings.threads,
            limits=self.limits,
            title=str(spec),
        )
        notes = ["random weights: the blend of this row means nothing"] if key.weights == "random" else []
        return CellResult(earned(found["figures"]), notes=notes, scores_sha256=found["scores_sha256"])


def main(
    rerankers: Annotated[
        str, typer.Option(help="Comma-separated: family[:variant], without a blend.")
    ] = options.DESCRIBED,
    validation: Annotated[
        str, typer.Option(help="Where blends are chosen: a data set or folder, never the evaluated one.")
    ] = "facades-val",
    dataset: options.DatasetName = "facades",
    shortlist: options.Shortlist = 400,
    policy: options.Policy = Policy.JUNK_BEHIND,
    checkpoint: options.Checkpoints = None,
    allow_random: options.AllowRandom = False,
    local_descriptors: options.Locals = 500,
    data_root: options.DataRoot = DATA_ROOT,
    descriptors: options.StoredDescriptors = None,
    globals_: options.StoredGlobals = None,
    training: options.Training = "facades-train",
    records: options.Records = DEFAULT_RECORDS,
    cache: options.Cache = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    timeout: options.Timeout = 3600,
    memory_limit: options.MemoryLimit = None,
    again: options.Again = False,
) -> None:
    """Chooses each re-ranker's blend on the validation set, and says what it earns on the evaluated one.

    The oracle, whose blend is chosen on the evaluated set itself, is printed apart.
    """
    specs = list(dict.fromkeys(unblended(one) for one in rerankers.split(",")))
    if validation == dataset:
        raise same_data(validation, dataset)
    folder, store = cache_folder(cache), ResultStore(records_folder(records))
    surroundings = Surroundings(threads or this_machine().cores, seed, command_line("bench.tune"))
    checkpoints = checkpoints_of(checkpoint or [], specs)

    def setting(name: str) -> Setting:
        return Setting.make(
            name,
            wanted(descriptors, globals_, None) or Descriptors(locals=local_descriptors, training=training),
            shortlist=shortlist,
            checkpoints=checkpoints,
            allow_random=allow_random,
            cache=folder,
            surroundings=surroundings,
            data_root=data_root,
        )

    request = Request(setting(validation), setting(dataset), policy, Limits(timeout, memory_limit))
    if request.validation.prepared.dataset.sha256 == request.evaluated.prepared.dataset.sha256:
        raise same_data(validation, dataset)
    for one in (request.validation, request.evaluated):
        check_task(one.prepared.dataset)
    found = run_cells([request.cell(spec) for spec in specs], store, surroundings, again=again)
    texts = [tune_table(found).markdown(), oracle_table(found).markdown()]
    if frozen := [blended(record) for record in found if record.status == "ok"]:
        texts.append(f"To pass on: --rerankers {','.join(frozen)}")
    output.print("\n".join(texts), markup=False, highlight=False)
    raise typer.Exit(exit_code(found))


def unblended(request: str) -> Spec:
    """The Spec of a request; BenchError when it leaves no raw scores to blend."""
    for part, reason in REFUSED.items():
        if part in request:
            raise BenchError(
                f"re-ranker {request.strip()!r}",
                wanted=f"one without {part}: {reason}",
                cure="Leave that part out, or evaluate the request with bench.accuracy.",
            )
    return parse(request)


def blended(record: Record) -> str:
    """The request for the record's re-ranker with the blend that was chosen."""
    weight, temperature = (float(record.figure(name).value or 0) for name in ("weight", "temperature"))
    return str(replace(parse(record.key.reranker), blend=(weight, temperature)))


def check_task(dataset: Dataset) -> None:
    """BenchError for a data set without the protocols that a blend is chosen by."""
    if dataset.task is not Task.REVISITED:
        raise BenchError(
            f"blends for {dataset.name}, which is judged as {dataset.task}",
            wanted="data sets with easy and hard images: a blend is chosen by mAP medium and hard",
            cure="Choose it on another data set, and pass it on to bench.accuracy as +blend=W/T.",
        )


def same_data(validation: str, dataset: str) -> BenchError:
    return BenchError(
        f"--validation {validation} and --dataset {dataset}, which are the same data",
        wanted="a validation set apart: to choose on the evaluated set would be the oracle",
        cure="Pass another --validation; the oracle is printed beside it in any case.",
    )


if __name__ == "__main__":
    run(main)
