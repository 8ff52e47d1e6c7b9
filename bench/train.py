"""Trains a re-ranker: `python -m bench.train ames:micro`."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer

from bench import options
from bench.console import output, progress, run, silent
from bench.errors import BenchError
from bench.features.dense import DenseStore
from bench.features.store import DescriptorStore
from bench.ground import weights_name
from bench.measure import limit_threads, this_machine, versions
from bench.places import cache_folder, records_folder
from bench.prepare import Descriptors, Gallery, Maps, Prepared, prepare, prepare_gallery, prepare_maps
from bench.prepare import Progress as Shows
from bench.processes import device_for, joined, share_of_cores
from bench.provenance import code_sha256, command_line, git_state
from bench.training import card
from bench.training.allocation import keep_freed_memory
from bench.training.data import TrainingData
from bench.training.descent import autocast, configuration
from bench.training.loop import train
from bench.training.objectives import objective
from bench.training.recipes import Recipe, recipe_for
from bench.training.state import Progress
from bench.training.validation import Validation
from rerankers import Reranker, mimetic
from rerankers.ames import Ames, AmesNetwork
from rerankers.registry import BINARIZED, Spec, build, drawn, parse, variant_of, variants, weights_of

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
    teacher: Annotated[
        Path | None,
        typer.Option(help="Weights of the full-precision variant, to learn a binarized AMES from; default: own ones."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Default: the recipe's.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Lists or triplets of a step.", min=1)] = None,
    accumulation: Annotated[int | None, typer.Option(help="Parts that a step is computed in.", min=1)] = None,
    rate: Annotated[float | None, typer.Option(help="Learning rate; default: the recipe's.")] = None,
    minutes: Annotated[float, typer.Option(help="Time for steps; a later call goes on.", min=0)] = 45,
    shortlist: Annotated[int, typer.Option(help="Candidates re-ranked in validation.", min=1)] = 100,
    training: options.Training = "facades-train",
    cache: options.Cache = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: cuda where there is one.")] = None,
    deepspeed: Annotated[Path | None, typer.Option(help="Configuration of DeepSpeed, which makes the steps.")] = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
    again: Annotated[bool, typer.Option(help="Begin anew.")] = False,
) -> None:
    """Trains until validation stops rising or the recipe ends, and writes weights, a card and the curve.

    Interrupted or out of minutes, the same command goes on where it stopped. Several processes compute each step
    together: torchrun --nproc-per-node N -m bench.train ...
    """
    spec = requested(name)
    recipe = adjusted(recipe_for(spec), epochs=epochs, batch=batch, accumulation=accumulation, rate=rate)
    taught, sharding = teacher_of(spec, teacher), None if deepspeed is None else configuration(deepspeed)
    folder, cached = records_folder(out), cache_folder(cache)
    used = threads or share_of_cores(this_machine().cores)
    limit_threads(used)
    keep_freed_memory()
    descriptors, place = Descriptors(training=training), device_for(device)
    guide = None if taught is None else built(*taught, place)
    slug = f"{spec.family}-{spec.variant}"
    state = folder / f"{slug}.state.safetensors"
    lock = folder / f".{slug}.lock"
    with joined(place, alone=sharding is not None) as crew, crew.alone(lock, f"training of {spec} in {folder}"):
        shows = progress if crew.first else silent
        with crew.in_turn():
            gallery = prepare_gallery(data, descriptors, cache=cached, workers=used, progress=shows)
            held = prepare(validation, descriptors, cache=cached, workers=used, progress=shows)
            fits(gallery, held, spec)
            store = _store(gallery, "gallery", spec, seed, shows)
            learnt = TrainingData.make(gallery, store, depth=recipe.depth, fewest=FEWEST)
            checked = watched(held, spec, shortlist, seed, shows)
            if again and crew.first:
                state.unlink(missing_ok=True)
        reranker = begun(spec, start, seed, learnt if recipe.mimetic else None)
        network = reranker.module()
        assert network is not None
        network.to(place)
        settings = {
            "reranker": str(spec),
            "recipe": asdict(recipe),
            "data": f"{learnt.name} sha256:{learnt.sha256[:12]}",
            "validation": f"{checked.name} sha256:{checked.sha256[:12]}, shortlist of {shortlist}",
            "descriptors": descriptors.name,
            "start": "drawn" if start is None else start.name,
            "seed": seed,
            **optional(taught, sharding),
        }
        if crew.first:
            count = sum(one.numel() for one in network.parameters())
            log.info("%s: %d anchors of %s, %d parameters", spec, len(learnt.anchors), data, count)
        with shows(str(spec)) as shown:
            done, best = train(
                objective(reranker, learnt, recipe, seed=seed, teacher=guide),
                checked,
                state,
                settings=json.dumps(settings, sort_keys=True),
                minutes=minutes,
                report=lambda now, total: _report(now, total, shown) if crew.first else None,
                crew=crew,
                sharding=sharding,
            )
        if crew.first:
            ran = {"anchors": len(learnt.anchors), "device": place, "processes": crew.count, "deepspeed": sharding}
            facts = settings | ran | provenance(used)
            summary(done, card.write(folder, slug, best, done, facts))


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


def begun(spec: Spec, start: Path | None, seed: int, learnt: TrainingData | None) -> Reranker:
    """The re-ranker before its first step: drawn, never with the weights that come along, or from a checkpoint.

    learnt: for a drawn one to start from weights that compare such descriptors.
    """
    variant = variant_of(spec)
    reranker = drawn(variant, seed=seed)
    if start is not None:
        if variant.load is not None:
            variant.load(reranker, start)
    elif learnt is not None and (network := reranker.module()) is not None:
        torch.manual_seed(seed)
        mimetic.start(network, learnt.described())
    return reranker


def optional(taught: tuple[Spec, Path] | None, sharding: dict[str, Any] | None) -> dict[str, str]:
    """Settings that only some trainings have."""
    found = {}
    if taught is not None:
        found["teacher"] = f"{taught[0]}, {weights_name(taught[1])}"
    if (lower := autocast(sharding)) is not None:
        found["products in"] = lower
    return found


def teacher_of(spec: Spec, given: Path | None) -> tuple[Spec, Path] | None:
    """Who teaches a binarized AMES: the variant in full precision, with the weights given or those that come along.

    None without either. BenchError where weights are given for another re-ranker.
    """
    if spec.family == "ames" and spec.variant.endswith(BINARIZED):
        teacher = replace(spec, variant=spec.variant.removesuffix(BINARIZED))
        weights = weights_of(teacher, {} if given is None else {teacher.family: given})
        if weights is None:
            log.warning("no weights of %s: %s learns from pairs alone; --teacher names some", teacher, spec)
        return None if weights is None else (teacher, weights)
    if given is not None:
        raise BenchError(
            f"--teacher for {spec}", wanted=f"a variant of ames that ends in {BINARIZED}", cure="Leave --teacher out."
        )
    return None


def built(teacher: Spec, weights: Path, device: str) -> AmesNetwork:
    """The teacher's network, in evaluation mode."""
    return cast(Ames, build(teacher, checkpoint=weights)).network.to(device)


def fits(gallery: Gallery, held: Prepared, spec: Spec) -> None:
    """Raises BenchError unless validation is apart, and descriptors are as wide as the re-ranker reads them."""
    if gallery.dataset.sha256 == held.dataset.sha256:
        raise BenchError(
            f"--data {gallery.dataset.name} and --validation {held.dataset.name}, which are the same data",
            wanted="validation landmarks that are not learnt from",
            cure="Pass another --validation.",
        )
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


def watched(held: Prepared, spec: Spec, shortlist: int, seed: int, shows: Shows) -> Validation:
    """The first candidates of each query of a prepared data set."""
    found = held.first_stage()
    return Validation.make(
        held.dataset.name,
        held.dataset.sha256,
        (_store(held, "queries", spec, seed, shows), _store(held, "gallery", spec, seed, shows)),
        (found.indices, found.similarity),
        held.dataset.truth.truths,
        shortlist=shortlist,
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


def _store(gallery: Gallery, side: str, spec: Spec, seed: int, shows: Shows) -> DescriptorStore:
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
    folder = prepare_maps(gallery, Maps(variant.backbone, None, seed), progress=shows)
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


if __name__ == "__main__":
    run(main)
