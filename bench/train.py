"""Trains a re-ranker: `python -m bench.train ames:micro`."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from bench import options
from bench.console import output, progress, run
from bench.errors import BenchError
from bench.features.dense import DenseStore
from bench.features.store import DescriptorStore
from bench.measure import limit_threads, this_machine, versions
from bench.places import cache_folder, records_folder
from bench.prepare import Descriptors, Gallery, Maps, prepare, prepare_gallery, prepare_maps
from bench.provenance import code_sha256, command_line, git_state
from bench.training import card
from bench.training.data import TrainingData
from bench.training.loop import train
from bench.training.objectives import objective
from bench.training.recipes import Recipe, recipe_for
from bench.training.state import Progress
from bench.training.validation import Validation
from rerankers import Reranker, mimetic
from rerankers.registry import Spec, drawn, parse, variant_of, variants

log = logging.getLogger(__name__)

#: Other names of re-rankers that are variants here.
ALIASES = {"locore-rwkv": "locore:rwkv-micro", "locore-mamba": "locore:mamba-micro"}
#: Descriptors that an image must have to be learnt from.
FEWEST = 16


def main(
    name: Annotated[str, typer.Argument(help="family[:variant]; a family alone means its micro variant.")],
    data: Annotated[
        str, typer.Option(help="What is learnt from: an embedded data set, or a folder with landmarks.")
    ] = "facades-train-large",
    validation: Annotated[str, typer.Option(help="Landmarks that are not learnt from.")] = "facades-val",
    out: Annotated[Path, typer.Option(help="Where weights, card and curve go.")] = Path("results/training"),
    start: Annotated[Path | None, typer.Option("--from", help="Weights to start from; default: drawn.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Default: the recipe's.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Lists or triplets of a step.", min=1)] = None,
    accumulation: Annotated[int | None, typer.Option(help="Parts that a step is computed in.", min=1)] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate; default: the recipe's.")] = None,
    minutes: Annotated[float, typer.Option(help="Time for steps; a later call goes on.", min=0)] = 45,
    shortlist: Annotated[int, typer.Option(help="Candidates re-ranked in validation.", min=1)] = 100,
    training: options.Training = "facades-train",
    cache: options.Cache = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    again: Annotated[bool, typer.Option(help="Begin anew.")] = False,
) -> None:
    """Trains until validation stops rising or the recipe ends, and writes weights, a card and the curve.

    Interrupted or out of minutes, the same command goes on where it stopped.
    """
    spec = requested(name)
    recipe = adjusted(recipe_for(spec), epochs=epochs, batch=batch, accumulation=accumulation, rate=rate)
    folder, cached = records_folder(out), cache_folder(cache)
    used = threads or this_machine().cores
    limit_threads(used)
    descriptors = Descriptors(training=training)
    gallery = prepare_gallery(data, descriptors, cache=cached, workers=used, progress=progress)
    held = prepare(validation, descriptors, cache=cached, workers=used, progress=progress)
    if gallery.dataset.sha256 == held.dataset.sha256:
        raise BenchError(
            f"--data {data} and --validation {validation}, which are the same data",
            wanted="validation landmarks that are not learnt from",
            cure="Pass another --validation.",
        )
    fits(gallery, spec)
    reranker = begun(spec, start, seed)
    learnt = TrainingData.make(gallery, _store(gallery, "gallery", spec, seed), depth=recipe.depth, fewest=FEWEST)
    if start is None and recipe.mimetic:
        torch.manual_seed(seed)
        network = reranker.module()
        assert network is not None
        mimetic.start(network, learnt.common())
    found = held.first_stage()
    checked = Validation.make(
        held.dataset.name,
        held.dataset.sha256,
        (_store(held, "queries", spec, seed), _store(held, "gallery", spec, seed)),
        (found.indices, found.similarity),
        held.dataset.truth.truths,
        shortlist=shortlist,
    )
    settings = {
        "reranker": str(spec),
        "recipe": asdict(recipe),
        "data": f"{learnt.name} sha256:{learnt.sha256[:12]}",
        "validation": f"{checked.name} sha256:{checked.sha256[:12]}, shortlist of {shortlist}",
        "descriptors": descriptors.name,
        "start": "drawn" if start is None else start.name,
        "seed": seed,
    }
    slug = f"{spec.family}-{spec.variant}"
    state = folder / f"{slug}.state.safetensors"
    if again:
        state.unlink(missing_ok=True)
    log.info("%s: %d anchors of %s, %d parameters", spec, len(learnt.anchors), data, _parameters(reranker))
    with progress(str(spec)) as shown:
        done, best = train(
            objective(reranker, learnt, recipe, seed=seed),
            checked,
            state,
            settings=json.dumps(settings, sort_keys=True),
            minutes=minutes,
            report=lambda now, total: _report(now, total, shown),
        )
    path = card.write(folder, slug, best, done, settings | {"anchors": len(learnt.anchors)} | provenance(used))
    summary(done, path)


def requested(name: str) -> Spec:
    """The Spec of a name; a family alone means its micro variant."""
    name = ALIASES.get(name, name)
    spec = parse(name)
    if ":" not in name and "micro" in variants(spec.family):
        return replace(spec, variant="micro")
    return spec


def adjusted(recipe: Recipe, **given: Any) -> Recipe:
    """The recipe with what the command line says instead."""
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def begun(spec: Spec, start: Path | None, seed: int) -> Reranker:
    """The re-ranker before its first step: drawn, never with the weights that come along, or from a checkpoint."""
    variant = variant_of(spec)
    reranker = drawn(variant, seed=seed)
    if start is not None and variant.load is not None:
        variant.load(reranker, start)
    return reranker


def fits(gallery: Gallery, spec: Spec) -> None:
    """Raises BenchError unless the descriptors are as wide as the re-ranker reads them."""
    inputs, store = variant_of(spec).inputs, gallery.gallery
    found = {
        "local": (inputs.local_dim, store.local and store.local.dim),
        "global": (inputs.global_dim, store.global_ and store.global_.dim),
    }
    for kind, (wanted, given) in found.items():
        if wanted is not None and wanted != given:
            raise BenchError(
                f"{kind} descriptors {given} wide in {gallery.dataset.name}, for {spec}",
                wanted=f"{wanted}",
                cure="Choose a variant for these descriptors, or learn global ones on more images (--training).",
            )


def provenance(threads: int) -> dict[str, Any]:
    commit, dirty = git_state()
    here = this_machine()
    return {
        "commit": commit,
        "dirty": dirty,
        "code_sha256": code_sha256(),
        "command": command_line("bench.train"),
        "machine": f"{here.cpu}, {threads} threads",
        "versions": versions(),
    }


def summary(done: Progress, path: Path) -> None:
    best = done.best
    assert best is not None
    end = "validation stopped rising" if done.finished else "out of time or epochs: the same command goes on"
    output.print(
        f"{path}: mAP medium {100 * best.map_medium:.2f}, hard {100 * best.map_hard:.2f} at step {best.step}"
        f" of {done.step}, {done.seconds / 60:.1f} min; {end}",
        markup=False,
        highlight=False,
    )


def _store(gallery: Gallery, side: str, spec: Spec, seed: int) -> DescriptorStore:
    """The descriptors of one side, with feature maps for a re-ranker that reads them."""
    store = DescriptorStore.open(gallery.folder / side)
    variant = variant_of(spec)
    if variant.inputs.dense is None:
        return store
    if variant.backbone is None:
        raise BenchError(
            f"training of {spec}, which reads maps of a backbone that the suite does not have",
            wanted="a variant with a backbone",
            cure="Train its micro variant.",
        )
    folder = prepare_maps(gallery, Maps(variant.backbone, None, seed), progress=progress)
    return replace(store, dense=DenseStore.open(folder / side))


def _report(now: Progress, total: int, shown: Any) -> None:
    shown(now.step, total)
    if now.curve and now.curve[-1].step == now.step:
        row = now.curve[-1]
        log.info(
            "step %d: loss %.4f, mAP medium %.2f, hard %.2f, %.0f s, %.1f %% waiting",
            row.step,
            row.loss,
            100 * row.map_medium,
            100 * row.map_hard,
            row.seconds,
            100 * row.waited,
        )


def _parameters(reranker: Reranker) -> int:
    network = reranker.module()
    return 0 if network is None else sum(one.numel() for one in network.parameters())


if __name__ == "__main__":
    run(main)
