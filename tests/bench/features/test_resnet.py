from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from bench.errors import BenchError
from bench.features.resnet import BACKBONES, MEAN, RELUP, Backbone, load_backbone, normalised
from rerankers import RerankError
from tests.support import golden


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    made = load_backbone("cvnet-r50", seed=1)
    for name, buffer in made.named_buffers():  # norms that have seen something
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return made


def plain(
    state: dict[str, torch.Tensor], x: torch.Tensor, depths: tuple[int, ...], *, floor: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The map of stage 3 before its last ReLU and the descriptor, from a state dict, as published.

    floor: what SuperGlobal puts for the zero of a ReLU, at the end of blocks but in stage 4, and within stage 1.
    """

    def conv(name: str, x: torch.Tensor, norm: str, **options) -> torch.Tensor:
        x = F.conv2d(x, state[f"{name}.weight"], **options)
        parts = (state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, training=False, eps=1e-5)

    x = F.max_pool2d(conv("stem.conv", x, "stem.bn", stride=2, padding=3).relu(), 3, 2, 1)
    found = None
    for stage, depth in enumerate(depths, 1):
        for block in range(1, depth + 1):
            at, stride = f"s{stage}.b{block}", 2 if block == 1 and stage > 1 else 1
            inner = floor if stage == 1 else 0.0
            y = conv(f"{at}.f.a", x, f"{at}.f.a_bn").clamp(min=inner)
            y = conv(f"{at}.f.b", y, f"{at}.f.b_bn", stride=stride, padding=1).clamp(min=inner)
            y = conv(f"{at}.f.c", y, f"{at}.f.c_bn")
            x = y + (conv(f"{at}.proj", x, f"{at}.bn", stride=stride) if block == 1 else x)
            found = x if (stage, block) == (3, depth) else found
            x = x.clamp(min=0.0 if stage == 4 else floor)
    p = state["head.pool.p"]
    pooled = x.clamp(min=1e-6).pow(p).mean(dim=(2, 3)).pow(1 / p)
    return found, F.linear(pooled, state["head.fc.weight"], state["head.fc.bias"])


def test_the_map_and_the_descriptor_are_those_of_the_definition(backbone):
    images = torch.randn(2, 3, 70, 97, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, head = plain(backbone.state_dict(), images, BACKBONES["cvnet-r50"])
        found = backbone.feature_map(images)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        assert found.shape == (2, 1024, 5, 7) and (found < 0).any()
        kept = found.clone()
        alone = F.normalize(backbone.head(backbone.last_map(found)), dim=1)
        torch.testing.assert_close(alone, F.normalize(head, dim=1), atol=1e-4, rtol=1e-4)
        assert torch.equal(found, kept)


def test_superglobal_raises_small_activations(backbone):
    raised = load_backbone("cvnet-r50", relup=True)
    raised.load_state_dict(backbone.state_dict())
    images = torch.randn(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, head = plain(backbone.state_dict(), images, BACKBONES["cvnet-r50"], floor=RELUP)
        found = raised.feature_map(images)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(raised.head(raised.last_map(found)), head, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found, backbone.feature_map(images), atol=1e-3)


@pytest.mark.parametrize(("name", "row"), [("cvnet-r50", "CVNet-R50"), ("cvnet-r101", "CVNet-R101")])
def test_published_sizes(name, row):
    wanted = json.loads((golden("cvnet") / "full_size.json").read_text())["parameters"][row]
    with torch.device("meta"):
        made = Backbone(name)
    assert sum(p.numel() for p in made.parameters()) == wanted["backbone_with_global_head_excluded"]


def test_official_checkpoints_load_and_others_name_their_keys(tmp_path, backbone):
    state = {f"encoder_q.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"model_state": state | {"conv2ds.0.weight": torch.zeros(1)}}, tmp_path / "cvnet.pyth")
    loaded = load_backbone("cvnet-r50", checkpoint=tmp_path / "cvnet.pyth")
    assert torch.equal(loaded.head.fc.weight, backbone.head.fc.weight) and "cvnet.pyth" in loaded.weights
    with pytest.raises(RerankError, match="missing: s3.b10"):
        load_backbone("cvnet-r101", checkpoint=tmp_path / "cvnet.pyth")
    with pytest.raises(BenchError, match="unknown backbone 'cvnet-r5'"):
        load_backbone("cvnet-r5")


def test_random_weights_come_from_the_seed_alone(backbone):
    same, other = load_backbone("cvnet-r50", seed=1), load_backbone("cvnet-r50", seed=2)
    assert torch.equal(same.stem.conv.weight, backbone.stem.conv.weight)
    assert not torch.equal(other.stem.conv.weight, backbone.stem.conv.weight)


def test_the_mean_colour_is_zero():
    image = torch.tensor(MEAN).view(1, 3, 1, 1) * 255
    torch.testing.assert_close(normalised(image), torch.zeros(1, 3, 1, 1), atol=1e-5, rtol=0)
