"""Every variant of every re-ranker on one page: `python -m bench.presets`."""

from __future__ import annotations

import torch

from bench.console import output, run
from bench.cost import describe_inputs
from bench.reporting.numbers import count
from bench.reporting.tables import Cell, Column, Table, missing
from rerankers.registry import Variant, names, variants

COLUMNS = (
    Column("re-ranker"),
    Column("what it is"),
    Column("kind"),
    Column("parameters", count),
    Column("one query against one candidate"),
    Column("published blend, sum, windows"),
    Column("source"),
)
CAPTION = (
    "The first variant of a family is what its bare name stands for. Parameters leave the backbone out. "
    "`+blend=W/T` sorts by W * similarity + (1 - W) * sigmoid(T * score), `+sum=R` by similarity + R * score; "
    "`+slide=N/K/S` slides windows of K, S apart, over the first N candidates."
)
UNJOINED = "none is published: the scores alone decide, or `+blend=W/T` and `+sum=R` with weights of your own"


def table() -> Table:
    """The variants that this installation knows, plug-ins too, with their exact sizes."""
    return Table(columns=COLUMNS, rows=tuple(_row(family, name) for family in names() for name in variants(family)))


def page() -> str:
    """docs/presets.md."""
    return f"# Presets\n\n{CAPTION}\n\n{table().markdown()}"


def _row(family: str, name: str) -> tuple[Cell, ...]:
    variant = variants(family)[name]
    with torch.device("meta"):  # sizes are asked for, not weights
        reranker = variant.make()
    network = reranker.module()
    return (
        Cell(f"{family}:{name}"),
        Cell(variant.about),
        Cell(reranker.kind),
        Cell(0 if network is None else sum(parameter.numel() for parameter in network.parameters())),
        Cell(describe_inputs(variant.inputs) or "nothing"),
        _published(variant),
        Cell(variant.source),
    )


def _published(variant: Variant) -> Cell:
    settings = {
        "blend": variant.blend,
        "sum": None if variant.sum is None else (variant.sum,),
        "slide": variant.slide,
    }
    said = [f"+{name}={'/'.join(f'{one:g}' for one in given)}" for name, given in settings.items() if given is not None]
    return Cell(", ".join(said)) if said else missing(UNJOINED)


def main() -> None:
    """Prints the page of presets."""
    output.print(page(), markup=False, highlight=False, end="")


if __name__ == "__main__":
    run(main)
