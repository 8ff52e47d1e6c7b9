"""Reference cases of LOCORE: its scores, every token's logits, and one step of training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.parity.case import Case, Verdict
from bench.parity.given import load, scores
from rerankers.interface import ABSENT, Features
from rerankers.locore.config import LocoreConfig, Pooling
from rerankers.locore.entry import Lists, pool
from rerankers.locore.reranker import Locore

POOLINGS: tuple[Pooling, ...] = ("max-prod", "max-sum", "max-start", "max-end")


def forward(case: Case) -> list[Verdict]:
    """Raw scores of each pooling through the re-ranker, query by query; softmaxed ones and logits from the network."""
    given = _given(case)
    found: dict[str, Tensor] = {}
    for pooling in POOLINGS:
        reranker = locore_of(case, pooling=pooling)
        found[f"{pooling}_raw"] = torch.stack([scores(reranker, *_images(given, number)) for number in _lists(given)])
    with torch.inference_mode():
        logits = reranker.network(_joined(given))
        candidates = _candidates(logits, given).softmax(dim=-1)
        found |= {f"{pooling}_softmax": pool(candidates[:, :, :-1], pooling) for pooling in POOLINGS}
    found["token_logits"] = logits
    return [case.compare(name, value.numpy()) for name, value in found.items()]


def train(case: Case) -> list[Verdict]:
    """Loss, gradients, and how often a positive is among the first of softmaxed scores."""
    given, network = _given(case), locore_of(case).network.train()
    positive = (given["positive_mask"] == 1) | (given["positive_mask"] == 2)
    logits = network(_joined(given))
    loss = network.loss(logits, positive)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    if logits.shape[1] % max(network.config.windows):  # the official code pads then, with what nothing reads
        pad = "language_model.longformer.pad_embedding"
        gradients[pad] = torch.zeros_like(network.get_parameter(pad))
    norms = [-1.0 if (grad := gradients[name]) is None else float(grad.norm()) for name in case.spec["grad_norm_names"]]
    found: dict[str, Any] = {
        "loss": loss.detach().reshape(1).numpy(),
        "grad_norms": torch.tensor(norms).numpy(),
        "grad_classifier_bias": cast(Tensor, gradients["language_model.classifier.bias"]).numpy(),
        "grad_sep_embedding": cast(Tensor, gradients["language_model.longformer.sep_embedding"]).numpy(),
    }
    with torch.inference_mode():
        candidates = _candidates(logits, given).softmax(dim=-1)[:, :, :-1]
        for pooling in POOLINGS:
            best = pool(candidates, pooling).argsort(dim=1, descending=True, stable=True)
            hits = positive.gather(1, best)
            for k in (1, 5, 10):
                share = hits[:, :k].any(dim=1).float().mean()
                found[f"{pooling}_recall_{k}"] = share.reshape(1).numpy()
    return [case.compare(name, value) for name, value in found.items() if name in case.outputs]


def locore_of(case: Case, *, pooling: Pooling = "max-end") -> Locore:
    """The re-ranker of a case's configuration, with its checkpoint."""
    reranker = Locore(replace(_config(case), pooling=pooling))
    load(case, reranker.network)
    return reranker


def _config(case: Case) -> LocoreConfig:
    encoder, wrapper = case.config["longformer"], case.config["wrapper"]
    if encoder.get("hidden_act", "gelu") != "gelu":
        raise BenchError(f"activation {encoder['hidden_act']}", wanted="gelu", cure="No published network has another.")
    windows = encoder["attention_window"]
    layers = wrapper.get("num_layers_kept") or encoder["num_hidden_layers"]
    return LocoreConfig(
        local_dim=wrapper["local_dim"],
        global_dim=wrapper["global_dim"],
        reads_global="query_global_features" in case.inputs,
        width=encoder["hidden_size"],
        heads=encoder["num_attention_heads"],
        hidden=encoder["intermediate_size"],
        windows=(windows,) * layers if isinstance(windows, int) else tuple(windows[:layers]),
        table=encoder["max_position_embeddings"],
        positions={"no": "none"}.get(kind := wrapper.get("pos_type", "absolute"), kind),
        query_global=wrapper.get("query_global_attention", True),
        scales=wrapper.get("num_scales", 3),
        normalize=wrapper.get("do_norm", False),
        bottleneck=wrapper.get("bottleneck_dim"),
        activation=wrapper.get("linear_activation"),
        force_linear=wrapper.get("force_linear", False),
        norm_eps=encoder["layer_norm_eps"],
    )


def _given(case: Case) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in case.inputs.items()}


def _lists(given: dict[str, Tensor]) -> range:
    return range(len(given["query_local_features"]))


def _images(given: dict[str, Tensor], number: int) -> tuple[Features, Features]:
    """Query and candidates of one list."""

    def features(side: str, pick: Any) -> Features:
        globals_ = given.get(f"{side}_global_features")
        return Features(
            global_=ABSENT if globals_ is None else globals_[pick].squeeze(-2),
            local=given[f"{side}_local_features"][pick],
            scale=given[f"{side}_local_scales"][pick],
            valid=given[f"{side}_local_mask"][pick] == 0,
        )

    return features("query", slice(number, number + 1)), features("gallery", number)


def _joined(given: dict[str, Tensor]) -> Lists:
    """All lists of the case as one batch."""

    def both(name: str) -> Tensor:
        return torch.cat([given[f"query_{name}"][:, None], given[f"gallery_{name}"]], dim=1)

    globals_ = both("global_features").squeeze(2) if "query_global_features" in given else None
    return Lists(both("local_features"), both("local_scales"), both("local_mask") == 0, globals_)


def _candidates(logits: Tensor, given: dict[str, Tensor]) -> Tensor:
    """Logits (B, candidates, F + 1, 2) of the candidates' tokens."""
    found: Tensor = logits.unflatten(1, (given["gallery_local_features"].shape[1] + 1, -1))[:, 1:]
    return found


RUNNERS = {"locore_forward": forward, "locore_train": train}
