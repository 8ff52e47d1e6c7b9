"""Describes the images of a data set: `python -m bench.extract DATASET --preset NAME --weights PATH`.

Several processes, each with a GPU of its own: torchrun --nproc-per-node N -m bench.extract ...
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench import datasets, options
from bench.console import output, progress, run, silent
from bench.datasets import Dataset
from bench.errors import BenchError
from bench.features.backbones import PRESETS, Preset, preset_of
from bench.features.backbones.rootsift import RootSift
from bench.features.detector import load_detector
from bench.features.images import ImageRef
from bench.features.learned import Learned
from bench.features.published import Describer, extract, outlines
from bench.ground import weights_name
from bench.measure import limit_threads, this_machine, versions
from bench.places import DATA_ROOT, cache_folder
from bench.processes import device_for, joined, share_of_cores
from rerankers import hub

#: Libraries that decide the numbers.
DECIDING = ("torch", "transformers", "opencv-python-headless", "numpy")


class Dtype(StrEnum):
    FLOAT16 = "float16"
    FLOAT32 = "float32"


@dataclass(frozen=True, kw_only=True)
class Request:
    """How images are to be described. preset: with what the command line says instead. checkpoint: None for random."""

    name: str
    preset: Preset
    checkpoint: Path | None
    detector: Path | None
    seed: int
    device: str

    def describer(self) -> Describer:
        preset = self.preset
        if preset.load is None:
            assert preset.side_px is not None
            if self.detector is not None:
                raise BenchError(f"--detector for {self.name}", wanted="a preset with maps", cure="Leave it out.")
            return RootSift(side_px=preset.side_px, top=preset.top)
        return Learned(
            preset.load(preset.config, self.checkpoint, self.seed),
            side_px=preset.side_px,
            scales=preset.scales,
            top=preset.top,
            kinds=preset.globals,
            detector=None if self.detector is None else load_detector(self.detector),
            device=self.device,
        )

    @property
    def weights(self) -> str:
        if self.preset.load is None:
            return "none"
        return f"random, seed {self.seed}" if self.checkpoint is None else weights_name(self.checkpoint)

    def descriptor(self) -> dict[str, object]:
        """Everything that decides the numbers, beside the images."""
        preset, found = self.preset, versions()
        return {
            "preset": self.name,
            "config": dict(preset.config),
            "weights": self.weights,
            "detector": None if self.detector is None else weights_name(self.detector),
            "side_px": preset.side_px,
            "scales": list(preset.scales),
            "top": preset.top,
            "device": self.device.partition(":")[0],
            "versions": {name: found[name] for name in DECIDING if name in found},
        }

    def about(self) -> str:
        """The same in a few words."""
        preset = self.preset
        parts = [
            preset.about,
            "random weights" if self.weights.startswith("random") else "",
            "full size" if preset.side_px is None else f"{preset.side_px} px",
            f"{len(preset.scales)} scales" if len(preset.scales) > 1 else "",
            f"top {preset.top}{' by detector' if self.detector else ''}" if preset.top else "",
        ]
        return ", ".join(part for part in parts if part)


def main(
    dataset: Annotated[str, typer.Argument(help="A data set's name, or a folder with ground_truth.json.")],
    preset: Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")] = "dinov2-b14-reg",
    weights: Annotated[
        str | None, typer.Option(help="File or folder of a checkpoint, or hf:OWNER/NAME[@REVISION].")
    ] = None,
    allow_random: Annotated[bool, typer.Option(help="Describe with random weights, for a first look.")] = False,
    detector: Annotated[
        Path | None, typer.Option(help="Checkpoint of the attention detector that chooses local descriptors.")
    ] = None,
    side: Annotated[
        int | None, typer.Option(help="Pixels of an image's longer side; default: the preset's.", min=1)
    ] = None,
    top: Annotated[int | None, typer.Option(help="Local descriptors kept of an image.", min=1)] = None,
    crop: Annotated[bool, typer.Option(help="Cut queries to their boxes.")] = True,
    dtype: Annotated[Dtype, typer.Option(help="Type of stored local descriptors.")] = Dtype.FLOAT16,
    out: Annotated[Path | None, typer.Option(help="Where the files go; default: the data set's folder.")] = None,
    data_root: options.DataRoot = DATA_ROOT,
    cache: options.Cache = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: cuda where there is one.")] = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
) -> None:
    """Writes PRESET_query_local.hdf5, PRESET_gallery_local.hdf5, and the global descriptors beside them.

    Interrupted, the same command goes on where it stopped.
    """
    used = threads or share_of_cores(this_machine().cores)
    limit_threads(used)
    chosen = adjusted(preset, side_px=side, top=top)
    request = Request(
        name=preset,
        preset=chosen,
        checkpoint=checkpoint_of(preset, chosen, weights, allow_random=allow_random),
        detector=detector,
        seed=seed,
        device=device_for(device),
    )
    describer = request.describer()
    with joined(request.device) as crew:
        shows = progress if crew.first else silent
        with crew.in_turn(), shows(f"data set {dataset}") as shown:
            data = datasets.load(dataset, cache=cache_folder(cache), workers=used, data_root=data_root, progress=shown)
        for one in sides(data, out or data.folder, crop=crop):
            stores = outlines(
                one.images,
                one.folder,
                name=preset,
                side=one.name,
                shapes=describer.shapes,
                descriptor=request.descriptor() | one.said,
                about=", ".join([request.about(), *one.said.values()]),
                dtype=dtype,
            )
            with shows(f"{one.name or 'distractors'} of {data.name}") as shown:
                extract(one.images, stores, describer, crew=crew, workers=used, progress=shown)
            if crew.first:
                for store in stores.values():
                    output.print(f"{store.path}: {store.attributes['about']}", markup=False, highlight=False)


def adjusted(name: str, *, side_px: int | None, top: int | None) -> Preset:
    """The preset with what the command line says instead."""
    preset = preset_of(name)
    if top is not None and not preset.top:
        raise BenchError(f"--top {top} for {name}", wanted="a preset with local descriptors", cure="Leave --top out.")
    return replace(preset, side_px=side_px or preset.side_px, top=top or preset.top)


def checkpoint_of(name: str, preset: Preset, weights: str | None, *, allow_random: bool) -> Path | None:
    """Where the weights lie; None for random ones, and for a preset without any."""
    if preset.load is None and weights is not None:
        raise BenchError(f"--weights for {name}, which has learnt nothing", wanted="none", cure="Leave it out.")
    if preset.load is not None and weights is None and not allow_random:
        raise BenchError(
            f"no weights for {name}",
            wanted="--weights PATH or --weights hf:OWNER/NAME",
            cure="Or pass --allow-random, for a first look.",
        )
    if weights is None:
        return None
    return hub.fetch(weights) if weights.startswith(hub.PREFIX) else Path(weights)


@dataclass(frozen=True)
class Side:
    """Images that are described into files of one name, None where they are no side of the data set; and what else is
    to be said of them."""

    name: str | None
    images: list[ImageRef]
    folder: Path
    said: dict[str, str]


def sides(data: Dataset, folder: Path, *, crop: bool) -> list[Side]:
    """Queries, gallery, and real distractors, which have files of their own in theirs: several data sets share them."""
    truths = data.truth.truths
    boxed = crop and any(truth.box is not None for truth in truths)
    queries = [
        ImageRef(path, truth.box if crop else None) for path, truth in zip(data.query_paths, truths, strict=True)
    ]
    found = [
        Side("query", queries, folder, {"queries": "query crop" if boxed else "whole queries"}),
        Side("gallery", [ImageRef(path) for path in data.gallery_paths], folder, {}),
    ]
    if (behind := data.distractors) is not None:
        if behind.folder is None:
            raise BenchError(
                f"the distractors of {data.name}, which are made up from descriptors",
                wanted="images to describe",
                cure=f"Describe {data.name.partition('+')[0]}.",
            )
        found.append(Side(None, [ImageRef(path) for path in behind.paths], behind.folder, {}))
    return [side for side in found if side.images]


if __name__ == "__main__":
    run(main)
