"""LOCORE: list-wise re-ranking with a long-context encoder (Xiao et al., CVPR 2025), on local and global descriptors.

The query and its candidates are one sequence of tokens; every token sees its neighbours, and the query's and each
image's closing token see all. A candidate's score is read from its own tokens.

config: the shape of a network. entry: images to tokens, tokens to scores. layout: where tokens stand. attention: who
reads whom, on CPU and CUDA. model: the Longformer. recurrent: RWKV and Mamba in its place. reranker: the contract.
flops: the closed form. parallel: one list on several processes. start: weights to train from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

from rerankers.checkpoints import load_into, load_state
from rerankers.interface import Reranker
from rerankers.locore.config import RESERVED, LocoreConfig
from rerankers.locore.recurrent import LocoreRecurrent, RecurrentConfig
from rerankers.locore.reranker import Locore
from rerankers.registry import MICRO, MICRO_LOCALS, Inputs, Variant

__all__ = ["VARIANTS", "Locore", "LocoreConfig"]

C = TypeVar("C", bound=LocoreConfig)

PAPER = "Xiao et al., CVPR 2025"
TABLE_D = f"{PAPER}, supplement, Table D; sizes are this project's, no trained weights"
OURS = "this project; no trained weights"

BASE = LocoreConfig()
SMALL = LocoreConfig(windows=(512,) * 6)
TINY = LocoreConfig(width=512, heads=8, hidden=2048, windows=(1024,) * 4)
NAMES = {"rwkv": "RWKV", "mamba": "Mamba"}
RECURRENT = {"rwkv": RecurrentConfig(kind="rwkv"), "mamba": RecurrentConfig(kind="mamba")}
SIZES = {"base": BASE, "small": SMALL, "tiny": TINY}


def rootsift(config: C) -> C:
    """For RootSIFT descriptors with scales in pixels, cut into thirds on `facades-train`, and a VLAD of 512."""
    return replace(config, local_dim=128, global_dim=512, scale_bounds=(2.6, 4.2))


def micro(config: C) -> C:
    """As wide as RootSIFT, so that descriptors become tokens as they are; with places of images, not of tokens, so that
    few rows need to be learnt. A score is the sum over all tokens of a candidate."""
    return replace(
        rootsift(config),
        width=128,
        heads=2,
        hidden=256,
        table=101 + RESERVED,
        positions="segment",
        force_linear=True,
        pooling="max-sum",
    )


#: With windows of about two images; about as large, two blocks that read from both ends, each with a crossing.
MICRO_SIZE = micro(replace(BASE, windows=(128,) * 3))
MICRO_RECURRENT = {
    kind: micro(replace(config, layers=2, crossings=(0, 1), mixed=128, state=8, expand=1))
    for kind, config in RECURRENT.items()
}


def _variant(
    about: str,
    config: LocoreConfig,
    *,
    source: str = PAPER,
    locals_: int = 48,
    window: int = 100,
    published: bool = False,
    kind: type[Locore] = Locore,
) -> Variant:
    def load(reranker: Reranker, path: Path) -> None:
        load_into(cast(Locore, reranker).network, load_state(path))

    return Variant(
        about=f"{about}, {window} candidates of {locals_} descriptors",
        source=source,
        make=lambda: kind(config, window=window, locals_=locals_),
        inputs=Inputs(
            query_locals=locals_,
            candidate_locals=locals_,
            local_dim=config.local_dim,
            global_dim=config.global_dim if config.reads_global else None,
            scales=None if config.scale_bounds else config.scales,
        ),
        load=load,
        blend=(0.5, 0.1) if published else None,
        slide=(400, window, window // 2) if window < 400 else None,
    )


VARIANTS: dict[str, Variant] = {
    **{size: _variant(f"{size}, DINOv2", config, published=True) for size, config in SIZES.items()},
    **{
        f"{size}-sum": _variant(
            f"{size}, DINOv2, every token of a candidate scored", replace(config, pooling="max-sum")
        )
        for size, config in SIZES.items()
    },
    **{
        f"{size}-1024": _variant(
            f"{size}, descriptors 1,024 wide, as Table A counts", replace(config, local_dim=1024, global_dim=1024)
        )
        for size, config in SIZES.items()
    },
    "base-100x50": _variant("base, DINOv2", BASE, source=f"{PAPER}, Table C", locals_=98, window=50),
    "base-25x200": _variant("base, DINOv2", BASE, source=f"{PAPER}, Table C", locals_=23, window=200),
    "small-400": _variant(
        "small, DINOv2, positions for 20,050 tokens",
        replace(SMALL, table=20_050 + RESERVED),
        source="this project, after the paper's supplement; no trained weights",
        window=400,
    ),
    **{
        f"{size}-rootsift": _variant(f"{size}, RootSIFT", rootsift(config), source=OURS)
        for size, config in SIZES.items()
    },
    **{
        kind: _variant(f"{NAMES[kind]}, DINOv2", config, source=TABLE_D, kind=LocoreRecurrent)
        for kind, config in RECURRENT.items()
    },
    "micro": _variant("micro, RootSIFT", MICRO_SIZE, source=MICRO, locals_=MICRO_LOCALS),
    **{
        f"{kind}-micro": _variant(
            f"micro {NAMES[kind]}, RootSIFT", config, source=MICRO, locals_=MICRO_LOCALS, kind=LocoreRecurrent
        )
        for kind, config in MICRO_RECURRENT.items()
    },
    **{
        f"{kind}-rootsift": _variant(f"{NAMES[kind]}, RootSIFT", rootsift(config), source=OURS, kind=LocoreRecurrent)
        for kind, config in RECURRENT.items()
    },
}
