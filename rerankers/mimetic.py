"""Weights that small networks start from when nothing is pretrained: they compare descriptors at once.

Attention drawn at random has to find out first that equal descriptors belong together, which a small training never
does. Here queries and keys are projected alike, so that a token reads most where it finds its own like from the first
step on. Source: mimetic initialisation (Trockman and Kolter, ICML 2023), in its simplest form.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from rerankers.ames import AmesNetwork
from rerankers.attention import Attention
from rerankers.cvnet import BLOCKS, CvnetNetwork
from rerankers.elvis import ElvisNetwork
from rerankers.errors import RerankError
from rerankers.locore.config import RESERVED
from rerankers.locore.model import LocoreNetwork, SelfAttention
from rerankers.locore.recurrent import Crossing, RecurrentNetwork
from rerankers.rrt import GldNetwork

#: Logit of a token that meets its like, over that of one at a right angle.
SHARPNESS = 16.0
#: How far the query's tokens are moved towards what all descriptors have in common, so that all read them first.
QUERY_LEAD = 0.5
#: Deviation of an image's place in a list; and what other embeddings are shrunk by, beside descriptors of unit length.
PLACE, SHRUNK = 0.3, 0.05
#: Of CVNet's learner: similarities from which a match counts, one channel of four each; what is left of drawn weights;
#: by how much a layer raises what it passes on; half the spread of the biases in a group.
COUNTED, DRAWN, RAISED, SPREAD = (0.35, 0.45, 0.55, 0.65), 0.1, 6.0, 1.0


def start(network: nn.Module, described: Tensor) -> None:
    """Draws the weights of a network anew, from torch's generator; one of another kind stays as it is.

    described: (n, D) descriptors like those that it will read. RerankError where tokens are not as wide.
    """
    with torch.no_grad():
        common = described.mean(dim=0)
        lead = QUERY_LEAD * common / common.norm()
        if isinstance(network, ElvisNetwork):
            entry = _linear(network.remap_local)
            _through(entry, 1.0)
            entry.bias.copy_(-common)  # transport tells right from wrong by cosines, which share little then
        elif isinstance(network, CvnetNetwork):
            _start_maps(network, described)
        elif isinstance(network, AmesNetwork):
            _through(_linear(network.remap_local), 1.0)
            _alike(network, width=network.config.width)
        elif isinstance(network, GldNetwork):
            for embedding in (network.scale_encoder, network.seg_encoder):
                embedding.weight.mul_(SHRUNK)
            network.seg_encoder.weight[0] += lead
            _alike(network, width=network.config.width)
            first = next(one for one in network.modules() if isinstance(one, Attention))
            _project(first, norm=1.0)
        elif isinstance(network, LocoreNetwork | RecurrentNetwork):
            _start_list(network, lead)


def _start_maps(network: CvnetNetwork, described: Tensor) -> None:
    """Cells alone are compared, whitened: else everything correlates with everything. Then matches are counted.

    GroupNorm would take away how many there are. Biases of either sign make a spread in each group that is the same for
    all pairs, and the norm's own ones undo them.
    """
    size, axes = torch.linalg.eigh(described.T @ described / len(described))
    for conv in network.conv2ds:
        weight = cast(nn.Conv2d, conv).weight
        kept = slice(len(size) - len(weight), None)
        weight.zero_()
        whitening = (axes[:, kept] * size[kept].rsqrt()).T
        weight[:, :, 1, 1] = len(whitening) ** 0.5 * whitening / whitening.norm()
    for number in range(1, len(BLOCKS) + 1):
        parts = list(getattr(network.cv_learner, f"block{number}"))
        for pivot, norm in zip(parts[::3], parts[1::3], strict=True):
            for conv in (pivot.conv1, pivot.conv2):
                out, channels, side, _ = conv.weight.shape
                conv.weight.mul_(DRAWN)
                conv.bias.zero_()
                if number == 1:
                    conv.weight[:, -1, side // 2, side // 2] += 0.5  # both maps at full size
                else:
                    conv.weight[torch.arange(out), torch.arange(out) * channels // out] += RAISED / (2 * side**2)
            sign = SPREAD * torch.tensor([1.0, -1.0]).repeat(out // 2)
            pivot.conv1.bias.copy_(sign)
            norm.weight.fill_(SPREAD)
            norm.bias.copy_(-sign)
            if number == 1:
                norm.bias -= torch.tensor(COUNTED).repeat(out // len(COUNTED))


def _start_list(network: LocoreNetwork | RecurrentNetwork, lead: Tensor) -> None:
    width = network.config.width
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith("blocks."):  # recurrences have a start of their own
            nn.init.xavier_uniform_(module.weight)
    _through(_linear(network.local_to_lm), width**0.5)
    if isinstance(network, RecurrentNetwork):
        table = network.position_embeddings
    else:
        table = network.longformer.embeddings.position_embeddings
    nn.init.normal_(table.weight, std=PLACE)
    if network.config.positions == "segment":
        table.weight[RESERVED] += width**0.5 * lead
    _alike(network, width=width)


def _alike(network: nn.Module, *, width: int) -> None:
    """All attention whose tokens a norm has brought to a length of about sqrt(width)."""
    for module in network.modules():
        if isinstance(module, Attention):
            _project(module, norm=width**0.5)
        elif isinstance(module, SelfAttention):
            rotation = _rotation(width, module.heads, norm=width**0.5)
            for one in (module.query, module.key, module.query_global, module.key_global):
                one.weight.copy_(rotation)
        elif isinstance(module, Crossing):
            rotation = _rotation(width, module.heads, norm=width**0.5)
            module.query.weight.copy_(rotation)
            module.key.weight.copy_(rotation)


def _project(attention: Attention, *, norm: float) -> None:
    width = attention.heads * attention.depth
    rotation = _rotation(width, attention.heads, norm=norm)
    attention.in_proj_weight[:width] = rotation
    attention.in_proj_weight[width : 2 * width] = rotation


def _rotation(width: int, heads: int, *, norm: float) -> Tensor:
    """A rotation, as large as it takes for SHARPNESS between tokens of this length."""
    scale = SHARPNESS * heads * (width // heads) ** 0.5 / norm**2
    found: Tensor = nn.init.orthogonal_(torch.empty(width, width)) * scale**0.5
    return found


def _linear(entry: nn.Module) -> nn.Linear:
    """The layer from descriptors to tokens."""
    return next(one for one in entry.modules() if isinstance(one, nn.Linear))


def _through(layer: nn.Linear, scale: float) -> None:
    """Lets descriptors through as they are, times `scale`."""
    if layer.in_features != layer.out_features:
        raise RerankError(
            f"descriptors {layer.in_features} wide for tokens {layer.out_features} wide",
            wanted="one width",
            cure="Start a `micro` variant so; others start as they are drawn, or from a pretrained encoder.",
        )
    layer.weight.copy_(scale * torch.eye(layer.in_features))
