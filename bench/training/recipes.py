"""How each re-ranker is trained: as published, and in small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.errors import BenchError
from rerankers.registry import BINARIZED, Spec

Sampling = Literal["lists", "triplets", "hard-first"]
#: Of the learning rate: one of bench.training.schedules, or constant until validation stops rising.
PLATEAU = "plateau"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a training.

    source: where they are published. sampling: which images a step learns from. batch: lists or triplets of a step;
    accumulation: parts that a step is computed in. epochs: times that every anchor is taken. depth: neighbours of an
    anchor that are looked at. shortest: local descriptors are cut to a random number from here on, None: never.
    warm_up: steps in which the rate rises to `rate`. clip: largest norm of a gradient.
    patience: validations without a rise until the rate falls to a third and, after `falls` falls, training ends.
    validate_every: steps. earliest: steps before which validation may stand still without consequence: attention often
    finds out late, and at once, that descriptors are to be compared.
    mimetic: starts from weights that compare descriptors (rerankers.mimetic).
    """

    source: str
    sampling: Sampling
    rate: float
    decay: float = 0.0
    schedule: str = "constant"
    epochs: int
    batch: int
    accumulation: int = 1
    depth: int = 100
    shortest: int | None = None
    warm_up: int = 0
    clip: float | None = None
    patience: int | None = None
    falls: int = 0
    validate_every: int = 100
    earliest: int = 0
    mimetic: bool = False

    def __post_init__(self) -> None:
        if min(self.batch, self.accumulation, self.epochs, self.validate_every) < 1 or self.batch < self.accumulation:
            raise BenchError(
                f"batches of {self.batch} in {self.accumulation} parts, {self.epochs} epochs,"
                f" validated every {self.validate_every} steps",
                wanted="numbers of at least 1, and no more parts than a batch has",
                cure="Change --batch, --accumulation or --epochs.",
            )
        if self.rate <= 0:
            raise BenchError(f"a learning rate of {self.rate}", wanted="one above 0", cure="Change --rate.")


ELVIS_CODE = "pavelsuma/ELViS, commit 6a37f20"
MICRO_SOURCE = "this project: one plan for all micro models"

PUBLISHED = {
    "locore": Recipe(
        source="Xiao et al., CVPR 2025, supplement",
        sampling="lists",
        rate=5e-5,
        epochs=5,
        batch=128,
        accumulation=4,
    ),
    "ames": Recipe(
        source=ELVIS_CODE,
        sampling="triplets",
        rate=5e-4,
        decay=5e-4,
        schedule="cosine",
        epochs=10,
        batch=200,
        depth=300,
        shortest=10,
    ),
    "elvis": Recipe(
        source=ELVIS_CODE,
        sampling="triplets",
        rate=5e-4,
        decay=5e-4,
        schedule="warm-cosine",
        epochs=10,
        batch=200,
        depth=300,
        shortest=100,
    ),
    "rrt": Recipe(source="Tan et al., ICCV 2021", sampling="hard-first", rate=1e-4, decay=4e-4, epochs=15, batch=32),
    "r2former": Recipe(
        source="Zhu et al., CVPR 2023", sampling="hard-first", rate=5e-4, schedule="cosine", epochs=50, batch=32
    ),
    "cvnet": Recipe(
        source="this project: the official training code is not public",
        sampling="hard-first",
        rate=1e-4,
        schedule="cosine",
        epochs=10,
        batch=32,
    ),
}

#: Lists of a step of a list-wise micro model, and triplets of a pair-wise one: about as many candidates.
MICRO_LISTS, MICRO_TRIPLETS = 2, 50
#: Where the common rate of micro models is not 1e-3: ELViS has few parameters, and stands still for long with it.
MICRO_RATES = {"elvis": 5e-3}


def micro(family: str, published: Recipe) -> Recipe:
    """The same sampling, with a rate and batches for a small network that starts from nothing.

    All micro models share the data, the rate's course and the end: when validation has stopped rising.
    """
    listwise = published.sampling == "lists"
    return Recipe(
        source=f"{MICRO_SOURCE}; sampling and loss of {published.source}",
        sampling=published.sampling,
        rate=MICRO_RATES.get(family, 1e-3),
        decay=published.decay,
        schedule=PLATEAU,
        epochs=100,
        batch=MICRO_LISTS if listwise else MICRO_TRIPLETS,
        depth=published.depth,
        warm_up=50,
        clip=1.0,
        patience=2,
        falls=1,
        validate_every=250,
        earliest=1000,
        mimetic=True,
    )


def recipe_for(spec: Spec) -> Recipe:
    """The recipe of a re-ranker; BenchError for one that is not trained here."""
    if spec.family not in PUBLISHED or spec.then or spec.blend or spec.sum or spec.slide:
        raise BenchError(
            f"training of {spec}",
            wanted=f"one of {', '.join(PUBLISHED)}, with a variant if you like, and nothing around it",
            cure="Train its parts by themselves.",
        )
    published = PUBLISHED[spec.family]
    small = spec.variant.removesuffix(BINARIZED).endswith("micro")
    return micro(spec.family, published) if small else published
