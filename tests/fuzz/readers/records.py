"""Records, journals and settings: JSON of this suite and of others, lines of JSON, and the published values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.datasets.facades.recipe import SUBSETS
from bench.datasets.facades.rendering import read_recipe, specification
from bench.features.distractors import read_recipe as read_distractors
from bench.fetching.install import read_records
from bench.parity.case import Case
from bench.reporting.published import read_published
from bench.results import AccuracyKey, CostKey, Figure, Journal, NoiseKey, Provenance, RankedLists, Record, ResultStore
from bench.training.descent import configuration
from rerankers.hub import pinned_in
from tests.fuzz.reading import REFUSALS, Reader

PROVENANCE = Provenance(
    project_version="1", commit="c0", dirty=False, code_sha256="0", command="x", started_at="now", wall_s=1.5, seed=0,
    threads=1, fingerprint="f", machine={"cpu": "x"}, versions={"torch": "2"},
)  # fmt: skip
WORK = {"reranker": "none", "device": "cpu", "dtype": "float32", "candidates": 100, "inputs": "x"}
LISTS = RankedLists(first_stage_sha256="0", images=[[1, 2]], places=[[1, 2]], scores=[[0.5, None]], labels=["e-"])


def records(_: Path) -> Iterator[bytes]:
    key = AccuracyKey(
        reranker="none", dataset="d", dataset_sha256="0", descriptors="x", shortlist=100, policy="p", weights="none"
    )
    series = {"ap": [0.5, None, 1]}
    for record in (
        Record(
            key=key, status="ok", figures={"map": Figure(value=0.5)}, series=series, lists=LISTS, provenance=PROVENANCE
        ),
        Record(key=CostKey(**WORK), status="failed", reason="why", provenance=PROVENANCE),
        Record(key=NoiseKey(**WORK, duels=3), status="ok", figures={"x": Figure(reason="no")}, provenance=PROVENANCE),
    ):
        yield record.model_dump_json().encode()


def read_records_of(path: Path) -> None:
    store = ResultStore(path.parent)
    for record in store:
        store.path(record.key)
        record.model_dump_json()


def journals(_: Path) -> Iterator[bytes]:
    yield b'"heading"\n["one", {"a": [1, 2.5, null]}]\n["two", "x"]\n["three", 1'
    yield b'"other"\n["one", 1]\n'


def read_journal(path: Path) -> None:
    journal = Journal(path, "heading")
    journal.add("one", 1)
    assert Journal(path, "heading").parts["one"] == 1


def values(_: Path) -> Iterator[bytes]:
    heading = b"method,variant,dataset,protocol,metric,value,unit,hardware,source,remark,uncertain\n"
    yield heading + b'AMES,dinov2_ames,ROxf,Hard,mAP,77.1,%,,"a, b",,\nRRT,,SOP,"",R@1,84.5,%,,c,,\n'


def every_value(path: Path) -> None:
    for row in read_published(path):
        _ = row.number, row.setting, row.words


def settings(_: Path) -> Iterator[bytes]:
    """One document of each kind; every reader gets all of them."""
    recipe = {"count": 3, "seed": 0, "folder": "../x", "stem": "", "parents": "0", "synthetic": True}
    for document in (
        {"a.zip": {"url": "https://a", "bytes": 3, "sha256": "0", "date": "2024-01-01"}},
        {"commit": "0" * 40, "file": "model.safetensors"},
        specification(SUBSETS["facades-mini"]),
        recipe,
        {"vision_config": {"hidden_size": 768, "layer_norm_eps": 1e-6}},
        {"hidden_size": 768, "patch_size": 14},
        {
            "kind": "metric",
            "config": {"a": 1},
            "notes": ["a"],
            "atol": 1e-5,
            "tolerances": {"x": {"atol": 0, "rtol": 1}},
        },
        {"zero_optimization": {"stage": 1}, "torch_autocast": {"enabled": True, "dtype": "bfloat16"}},
        {"train_batch_size": 1},
    ):
        yield json.dumps(document).encode()


def read_case(folder: Path) -> None:
    case = Case.read(folder)
    _ = case.name, case.kind, case.config, case.notes, case.checkpoint, case.tolerances("x")


def read_configuration(folder: Path) -> None:
    from bench.features.backbones.vit import check_configuration  # and transformers, slowly: for this reader alone

    own = {"hidden_size": 768, "patch_size": 14, "layer_norm_eps": 1e-6}
    check_configuration({**own, "num_hidden_layers": 12, "num_attention_heads": 12}, folder)


SETTINGS: dict[str, Callable[[Path], object]] = {
    "fetched.json": read_records,
    "recipe.json": read_recipe,
    "case.json": read_case,
    "rerankers-pin.json": pinned_in,
    "distractors.json": lambda folder: read_distractors(folder / "distractors.json"),
    "config.json": read_configuration,
    "deepspeed.json": lambda folder: configuration(folder / "deepspeed.json"),
}


def links(folder: Path) -> None:
    for name in SETTINGS:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to("case.json.all")


def read_settings(path: Path) -> None:
    for read in SETTINGS.values():
        try:
            read(path.parent)
        except REFUSALS:
            continue


READERS = (
    Reader("record", "case.json", records, read_records_of),
    Reader("journal", "case.journal", journals, read_journal),
    Reader("published", "published.csv", values, every_value),
    Reader("settings", "case.json.all", settings, read_settings, prepare=links),
)
