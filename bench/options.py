"""What several commands may be told, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from bench.protocols import Policy as _Policy
from rerankers.registry import SYNTAX

#: Every family that reads what the default descriptors hold.
DESCRIBED = ",".join(
    (
        "sg-rerank",
        "ransac",
        "chamfer:rootsift",
        "elvis:micro",
        "ames:micro",
        "rrt:micro",
        "r2former:micro",
        "cvnet:micro",
        "locore:micro",
    )
)

Rerankers: TypeAlias = Annotated[str, typer.Option(help=f"Comma-separated; default: a comparison. {SYNTAX}.")]
DatasetName: TypeAlias = Annotated[
    str,
    typer.Option("--dataset", help="A data set's name, NAME+1m for distractors, or a folder with ground_truth.json."),
]
DataRoot: TypeAlias = Annotated[
    Path, typer.Option(envvar="RERANK_DATA", help="Where the data sets of papers lie; see docs/datasets.")
]
StoredDescriptors: TypeAlias = Annotated[
    str | None,
    typer.Option("--descriptors", help="Descriptors beside the data, by the start of their files; default: RootSIFT."),
]
StoredGlobals: TypeAlias = Annotated[
    str | None, typer.Option("--globals", help="Global descriptors beside the data; default: those of --descriptors.")
]
Neighbours: TypeAlias = Annotated[
    Path | None, typer.Option(help="First-stage lists of others (nn_NAME.pkl), in place of a search.")
]
Shortlist: TypeAlias = Annotated[int, typer.Option(help="How many first-stage candidates are re-ranked.", min=1)]
Policy: TypeAlias = Annotated[_Policy, typer.Option(help="What becomes of junk images before re-ranking.")]
Checkpoints: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--checkpoint", help="FAMILY=PATH or FAMILY=hf:OWNER/NAME; may be given several times."),
]
AllowRandom: TypeAlias = Annotated[bool, typer.Option(help="Run learned re-rankers without trained weights.")]
Locals: TypeAlias = Annotated[
    int, typer.Option("--locals", help="Local descriptors kept of an image.", min=1, max=1000)
]
Training: TypeAlias = Annotated[
    str, typer.Option(help="Data set that the visual words and their whitening are learnt on.")
]
Device: TypeAlias = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Records: TypeAlias = Annotated[Path, typer.Option(help="Where records are kept.")]
Cache: TypeAlias = Annotated[Path | None, typer.Option(help="Where images and descriptors are kept.")]
Threads: TypeAlias = Annotated[int | None, typer.Option(help="Threads of every library; default: all cores.", min=1)]
Seed: TypeAlias = Annotated[int, typer.Option(help="Seed of random weights, and of inputs that are made up.")]
Timeout: TypeAlias = Annotated[float, typer.Option(help="Seconds that one re-ranker may take.", min=1)]
MemoryLimit: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="GiB that a process of a cell may allocate, mapped files left out; beyond, its cell fails. Linux. "
        "Default: what the machine has.",
        min=0.1,
    ),
]
Again: TypeAlias = Annotated[bool, typer.Option(help="Run cells again that this code has finished on this machine.")]
