"""What every re-ranker earns on a data set: `python -m bench.accuracy --shortlist 400`."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bench.cells import Cell, CellMissing, CellResult, exit_code, isolated, run_cells
from bench.console import output, progress, run
from bench.earn import EarnTask
from bench.errors import BenchError
from bench.files import replacing
from bench.measure import this_machine
from bench.places import DEFAULT_RECORDS, cache_folder, records_folder
from bench.prepare import Descriptors, Prepared, prepare
from bench.protocols import Policy
from bench.provenance import Surroundings, code_sha256, command_line
from bench.reporting import accuracy_table
from bench.results import AccuracyKey, Figure, ResultStore
from rerankers.registry import Spec, parse, variant_of

log = logging.getLogger(__name__)

#: Re-rankers of the default comparison.
DEFAULT = ("none", "sg-rerank", "ransac", "ames:rootsift")


@dataclass(frozen=True)
class Request:
    """What all cells of one call share."""

    prepared: Prepared
    descriptors: Descriptors
    shortlist: int
    policy: Policy
    shortlist_file: Path
    work: Path
    checkpoints: dict[str, Path]
    allow_random: bool
    surroundings: Surroundings
    timeout_s: float

    def cell(self, spec: Spec) -> Cell:
        checkpoint = self.checkpoints.get(spec.family)
        learned = variant_of(spec).learned
        weights = "none" if not learned else _weights_name(checkpoint) if checkpoint else "random"
        dataset = self.prepared.dataset
        key = AccuracyKey(
            reranker=str(spec),
            dataset=dataset.name,
            dataset_sha256=dataset.sha256,
            descriptors=self.descriptors.name,
            shortlist=self.shortlist,
            policy=str(self.policy),
            weights=weights,
        )
        return Cell(key, lambda: self.earn(spec, key, checkpoint))

    def earn(self, spec: Spec, key: AccuracyKey, checkpoint: Path | None) -> CellResult:
        """Runs one cell in its own process."""
        if key.weights == "random" and not self.allow_random:
            raise CellMissing("no trained weights: pass --checkpoint, or --allow-random to run it untrained")
        heading = f"{key.model_dump_json()} {code_sha256()} {self.surroundings.seed}"
        journal = self.work / f"{hashlib.sha256(heading.encode()).hexdigest()[:16]}.journal"
        task = EarnTask(
            reranker=str(spec),
            dataset_name=self.prepared.dataset.name,
            dataset_folder=str(self.prepared.dataset.folder),
            descriptors=str(self.prepared.folder),
            shortlist_file=str(self.shortlist_file),
            shortlist=self.shortlist,
            policy=str(self.policy),
            checkpoint=str(checkpoint) if checkpoint else None,
            allow_random=self.allow_random,
            seed=self.surroundings.seed,
            journal=str(journal),
            heading=heading,
        )
        with progress(str(spec)) as shown:
            found = isolated(
                "bench.earn:run",
                task.payload(),
                threads=self.surroundings.threads,
                timeout_s=self.timeout_s,
                progress=lambda done, total, text: shown(done, total),
            )
        journal.unlink(missing_ok=True)
        notes = ["random weights: the accuracy of this row means nothing"] if key.weights == "random" else []
        figures = {
            name: Figure(reason="no query has a positive under this protocol")
            if math.isnan(value)
            else Figure(value=value)
            for name, value in found["figures"].items()
        }
        return CellResult(figures, found["series"], notes, found["scores_sha256"])


def main(
    shortlist: Annotated[int, typer.Option(help="How many first-stage candidates are re-ranked.", min=1)] = 400,
    dataset: Annotated[str, typer.Option(help="An embedded data set, or a folder with ground_truth.json.")] = "facades",
    rerankers: Annotated[str, typer.Option(help="Comma-separated: family[:variant][+blend[=W/T]].")] = ",".join(
        DEFAULT
    ),
    policy: Annotated[Policy, typer.Option(help="Junk images before re-ranking.")] = Policy.JUNK_BEHIND,
    checkpoint: Annotated[list[str] | None, typer.Option(help="FAMILY=PATH; may be given several times.")] = None,
    allow_random: Annotated[bool, typer.Option(help="Run learned re-rankers without trained weights.")] = False,
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
    """Re-ranks the shortlist of every query with every re-ranker, evaluates the lists, and keeps a record of each."""
    specs = list(dict.fromkeys(parse(one) for one in rerankers.split(",")))
    checkpoints = _checkpoints(checkpoint or [], specs)
    cores = threads or this_machine().cores
    descriptors = Descriptors(locals=local_descriptors, training=training)
    folder, store = cache_folder(cache), ResultStore(records_folder(records))

    prepared = prepare(dataset, descriptors, cache=folder, workers=cores, progress=progress)
    if shortlist > len(prepared.dataset.truth.gallery):
        raise BenchError(
            f"a shortlist of {shortlist} from a gallery of {len(prepared.dataset.truth.gallery)} images",
            wanted="a shortlist no longer than the gallery",
            cure=f"Pass --shortlist {len(prepared.dataset.truth.gallery)} or less.",
        )
    first_stage = prepared.first_stage()
    shortlist_file = prepared.folder / "first_stage.npz"
    with replacing(shortlist_file) as beside, beside.open("wb") as file:
        np.savez(file, indices=first_stage.indices, similarity=first_stage.similarity)

    surroundings = Surroundings(threads=cores, seed=seed, command=command_line("bench.accuracy"))
    request = Request(
        prepared,
        descriptors,
        shortlist,
        policy,
        shortlist_file,
        folder / "unfinished",
        checkpoints,
        allow_random,
        surroundings,
        timeout,
    )
    found = run_cells([request.cell(spec) for spec in specs], store, surroundings, again=again)
    output.print(accuracy_table(found).markdown(), markup=False, highlight=False)
    raise typer.Exit(exit_code(found))


def _checkpoints(given: list[str], specs: list[Spec]) -> dict[str, Path]:
    """FAMILY=PATH pairs; BenchError when one is malformed, unused or not there."""
    found = {}
    for pair in given:
        family, _, path = pair.partition("=")
        if not path or family not in {spec.family for spec in specs} or not Path(path).is_file():
            raise BenchError(
                f"--checkpoint {pair}",
                wanted="FAMILY=PATH with a re-ranker of this run and a file that exists",
                cure=f"Families of this run: {', '.join(spec.family for spec in specs)}.",
            )
        found[family] = Path(path)
    return found


def _weights_name(checkpoint: Path) -> str:
    with checkpoint.open("rb") as file:
        return f"{checkpoint.name} sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


if __name__ == "__main__":
    run(main)
