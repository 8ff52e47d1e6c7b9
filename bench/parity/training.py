"""Reference cases of training: one step of AMES and ELViS, the triplets they are trained on, their learning rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from bench.parity.ames import reranker_of
from bench.parity.case import Case, Verdict
from bench.parity.given import load
from bench.training.losses import (
    ames_logits,
    pair_accuracy,
    pair_loss,
    teacher_tokens,
    token_distillation,
)
from bench.training.schedules import SCHEDULES
from bench.training.triplets import Neighbours, trimmed, valid_anchors
from rerankers.ames import AmesNetwork
from rerankers.elvis import ElvisConfig, ElvisNetwork

#: Descriptors (B, L, D), and which are real (B, L).
Image: TypeAlias = tuple[Tensor, Tensor]
#: Our names of the official schedules.
OFFICIAL = {"none": "constant", "cos": "cosine", "warmcos": "warm-cosine"}


def ames(case: Case) -> list[Verdict]:
    """One step; where the case has a teacher, with distillation to a student of shorter lists."""
    student, (anchor, *others) = _ames_of(case, case.config).train(), _images(case)
    if "teacher_config" not in case.spec:
        return _step(case, student, [ames_logits(student, *_pair(anchor, other))[0] for other in others])
    given = case.spec["training"]
    teacher = _ames_of(case, case.spec["teacher_config"], checkpoint=case.spec["teacher_checkpoint"])
    rng = np.random.RandomState(given["numpy_seed"])
    lengths = trimmed(rng, given["desc_variable_min"], given["query_desc_num"], given["db_desc_num"])
    wanted = [teacher_tokens(teacher, *_pair(anchor, other), lengths=lengths) for other in others]
    found = [ames_logits(student, *_pair(_cut(anchor, lengths[0]), _cut(other, lengths[1]))) for other in others]
    mse = token_distillation(torch.cat([tokens for _, tokens in found]), torch.cat(wanted))
    return _step(case, student, [logits for logits, _ in found], mse)


def elvis(case: Case) -> list[Verdict]:
    """One step."""
    given = case.config
    network = ElvisNetwork(
        ElvisConfig(
            local_dim=given["local_dim"],
            embed=given["embed_dim"],
            hidden=given["proj_dim"],
            iterations=given["sh_iter"],
            temperature=given["sh_temp"],
            binarized=given["binarized"],
        )
    ).train()
    load(case, network)
    anchor, *others = _images(case)
    return _step(case, network, [network(*_pair(anchor, other)) for other in others])


def sampler(case: Case) -> list[Verdict]:
    """Anchors, an epoch of triplets, and the learning rate at every step, times 1000."""
    given = case.spec["protocol"]
    labels, similarity, indices = (case.inputs[name] for name in ("labels", "nn_sims", "nn_inds"))
    anchors = valid_anchors(labels, similarity, indices, depth=given["num_candidates"])
    batches = Neighbours.of_classes(labels, similarity, indices, depth=given["num_candidates"]).epoch(
        anchors,
        rng=np.random.RandomState(given["seed"]),
        generator=torch.Generator().manual_seed(given["seed"]),
        batch=given["batch_size"] // 3,
    )
    flat = [np.array([batch.size, *batch.flat]) for batch in batches]
    steps = given["epochs"] * given["loader_length"]
    found = {
        "valid_anchors": anchors,
        "batches": np.concatenate([[len(flat)], *flat]),
        **{
            f"lr_{official}": np.array([1000 * given["lr"] * SCHEDULES[name](step, steps) for step in range(steps)])
            for official, name in OFFICIAL.items()
        },
    }
    return [case.compare(name, value) for name, value in found.items()]


def _step(case: Case, network: nn.Module, logits: list[Tensor], mse: Tensor | None = None) -> list[Verdict]:
    """Losses, gradients, and what one step of AdamW changes; weight decay is on everything."""
    given = case.spec["training"]
    bce = pair_loss(*logits)
    loss = bce if mse is None else bce + given["beta"] * mse
    loss.backward()
    parameters = [network.get_parameter(name) for name in case.spec["grad_norm_names"]]
    before = [parameter.detach().clone() for parameter in parameters]
    gradients = [parameter.grad for parameter in parameters]
    torch.optim.AdamW(network.parameters(), lr=given["lr"], weight_decay=given["weight_decay"]).step()
    found: dict[str, Any] = {
        "loss": loss.reshape(1),
        "bce": bce.reshape(1),
        "mse": None if mse is None else mse.reshape(1),
        "accuracy": pair_accuracy(*logits).reshape(1),
        "sims": torch.cat(logits),
        "grad_norms": _norms(gradients),
        "step_norms": _norms([new - old for new, old in zip(parameters, before, strict=True)]),
        "param_norms_after": _norms(parameters),
    }
    return [case.compare(name, value.detach().numpy()) for name, value in found.items() if value is not None]


def _norms(values: Iterable[Tensor | None]) -> Tensor:
    return torch.stack([torch.tensor(-1.0) if value is None else value.norm() for value in values])


def _ames_of(case: Case, config: Mapping[str, Any], **spec: Any) -> AmesNetwork:
    """The network of the ELViS repository, which takes descriptors as they are; binarized ones have no other width."""
    config = {"itq_local_dim": config["local_dim"], **config}
    return reranker_of(Case(case.folder, {**case.spec, "config": config, **spec}), normalize_input=False).network


def _images(case: Case) -> list[Image]:
    """Descriptors and which are real, of anchors, positives and negatives."""
    return [
        (torch.from_numpy(case.inputs[f"{side}_local"]), torch.from_numpy(case.inputs[f"{side}_mask"]) == 0)
        for side in ("anchor", "positive", "negative")
    ]


def _pair(query: Image, candidate: Image) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return query[0], candidate[0], query[1], candidate[1]


def _cut(image: Image, length: int) -> Image:
    return image[0][:, :length], image[1][:, :length]


RUNNERS = {"ames_train": ames, "elvis_train": elvis, "elvis_sampler": sampler}
