"""Reference cases of the attention detector: its outputs, the chosen descriptors, and the global ones beside them."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.features.detector import Attended, Detector, attend, load_detector, over_scales, strongest
from bench.parity.case import Case, Verdict


def forward(case: Case) -> list[Verdict]:
    """All scales through the detector, and through the choice with and without it."""
    if case.checkpoint is None:
        raise BenchError(f"case {case.name} without a checkpoint", wanted="its weights", cure="Fetch the case again.")
    detector = load_detector(case.checkpoint)
    numbers = range(case.config["scales"])
    maps, tokens = ([torch.from_numpy(case.inputs[f"{name}_{i}"]) for i in numbers] for name in ("maps", "cls"))
    found: dict[str, Tensor] = {}
    with torch.inference_mode():
        for number, one in enumerate(maps):
            found[f"normed_{number}"], weights = detector(one)
            found[f"attention_{number}"] = weights[:, None]
        for name, used in (("detector", detector), ("cosine", None)):
            found |= {f"{name}_{output}": value for output, value in _stored(maps, tokens, used, case).items()}
    return [case.compare(name, value.numpy()) for name, value in found.items()]


def _stored(maps: list[Tensor], tokens: list[Tensor], detector: Detector | None, case: Case) -> dict[str, Tensor]:
    scales: list[Attended] = [attend(*both, detector) for both in zip(maps, tokens, strict=True)]
    stores = {f"store_{top}": strongest(scales, top) for top in case.config["topk"]}
    averages = {f"global_{kind}": over_scales([one.averages[kind] for one in scales]) for kind in scales[0].averages}
    return {"global_cls": over_scales(tokens), **stores, **averages}


RUNNERS = {"detector_forward": forward}
