"""Reference cases of CVNet's re-ranker: its learner alone, and the whole path from feature maps to scores."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.parity.case import Case, Verdict
from bench.parity.given import load, scores
from rerankers.cvnet import Cvnet, CvnetConfig, CvnetNetwork, Learner, thinned
from rerankers.interface import Features

BACKBONE = ("encoder_q.",)


def learner(case: Case) -> list[Verdict]:
    """From whole correlations to scores; block by block for the last item."""
    network = Learner().eval()
    load(case, network, within="cv_learner.", skip=BACKBONE)
    with torch.inference_mode():
        blocks = network.blocks(*thinned(torch.from_numpy(case.inputs["corr"])))
        outputs = _ends(network, blocks[-1])
    for name in case.outputs:
        if name.startswith("block"):
            outputs[name] = _official(blocks[int(name[len("block")]) - 1])[int(name.split("_")[-1])]
    return [case.compare(name, value.numpy()) for name, value in outputs.items()]


def path(case: Case) -> list[Verdict]:
    """Scores through the re-ranker, with all candidates in one list; the steps from the network, pair by pair."""
    given = case.config
    cvnet = Cvnet(
        CvnetConfig(
            channels=given["in_channels"], compressed=given["channel_compressed"], scales=tuple(given["scales"])
        )
    )
    network = cvnet.network
    load(case, network, skip=BACKBONE)
    maps = {name: torch.from_numpy(value) for name, value in case.inputs.items()}
    query = maps.pop("query")
    candidates = [maps[name] for name in sorted(maps)]
    outputs: dict[str, Tensor] = {
        "scores": scores(cvnet, _images(query), _images(*candidates)),
        "scores_swapped": torch.cat([scores(cvnet, _images(one), _images(query)) for one in candidates]),
    }
    if "batch_ids" in case.outputs:
        chosen = case.outputs["batch_ids"]
        outputs["batch_ids"] = torch.from_numpy(chosen)
        outputs["batch_scores"] = scores(cvnet, _images(query), _images(*(candidates[one] for one in chosen)))
    with torch.inference_mode():
        for scale, level in enumerate(network.pyramid(query[None]).levels):
            outputs[f"query_compressed_scale{scale}"] = level[0]
        pairs = [_pair(network, query, one) for one in candidates]
    for name in ("logits", "pooled"):
        outputs[name] = torch.cat([pair[name] for pair in pairs])
    for name in case.outputs:
        step, _, number = name.partition("_cand_")
        if number:
            outputs[name] = pairs[int(number)][step][0]
    return [case.compare(name, value.numpy()) for name, value in outputs.items() if name in case.outputs]


def _pair(network: CvnetNetwork, query: Tensor, candidate: Tensor) -> dict[str, Tensor]:
    """Every step for one pair, by the definition."""
    whole = network.correlation(network.pyramid(query[None]), network.pyramid(candidate[None]))
    blocks = network.cv_learner.blocks(*thinned(whole))
    named = {f"block{number}": _official(block) for number, block in enumerate(blocks, 1)}
    return {"corr": whole, **named, **_ends(network.cv_learner, blocks[-1])}


def _ends(network: Learner, last: Tensor) -> dict[str, Tensor]:
    pooled = network.pooled(last)
    logits = network.mlp(pooled)
    return {"pooled": pooled, "logits": logits, "scores": logits.softmax(dim=1)[:, 1]}


def _official(block: Tensor) -> Tensor:
    """Channels first."""
    return block.permute(0, 5, 1, 2, 3, 4)


def _images(*maps: Tensor) -> Features:
    return Features(dense=maps)


RUNNERS = {"cvnet_learner": learner, "cvnet_path": path}
