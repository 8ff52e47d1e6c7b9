from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.features import pooling
from bench.features.backbones import cvnet, delg
from bench.features.resnet import RELUP, load_backbone, normalised

CONFIG = {"network": "cvnet-r50"}
PIXELS = np.random.default_rng(0).integers(0, 256, (100, 130, 3), np.uint8)


@pytest.fixture(scope="module")
def scales() -> list[torch.Tensor]:
    """An image at the scales of CVNet, as prepared."""
    return [cvnet.own_head(CONFIG, None, 0).prepare(PIXELS, scale)[None] for scale in cvnet.SCALES]


def test_images_stay_bytes_until_they_are_on_the_device(scales: list[torch.Tensor]) -> None:
    assert [tuple(one.shape) for one in scales] == [(1, 3, 71, 92), (1, 3, 100, 130), (1, 3, 141, 184)]
    assert all(one.dtype == torch.uint8 for one in scales)
    assert torch.equal(scales[1][0].permute(1, 2, 0), torch.from_numpy(PIXELS))


def test_the_own_head_sees_what_cvnet_re_ranks_by(scales: list[torch.Tensor]) -> None:
    backbone, network = cvnet.own_head(CONFIG, None, 0), load_backbone("cvnet-r50")
    with torch.inference_mode():
        seen = [backbone.see(one) for one in scales]
        assert torch.equal(seen[1].maps, network.feature_map(normalised(scales[1])))
        wanted = [F.normalize(network.head(network.last_map(one.maps)), dim=1) for one in seen]
        found = backbone.joined([one.whole for one in seen])
        torch.testing.assert_close(found, F.normalize(torch.stack(wanted).mean(dim=0), dim=1))
        assert all(one.token is None for one in seen)
        local = delg.load(CONFIG, None, 0).see(scales[0])
        assert torch.equal(local.maps, seen[0].maps) and local.whole is None


def test_superglobal_pools_as_its_reference_cases(scales: list[torch.Tensor]) -> None:
    backbone = cvnet.superglobal(CONFIG, None, 0)
    network = backbone.network
    assert network.floor == RELUP
    state = {f"{pooling.HEAD}{name}": value for name, value in network.head.state_dict().items()}
    with torch.inference_mode():
        maps = [network.last_map(network.feature_map(normalised(one))) for one in scales]
        found = backbone.joined([backbone.see(one).whole for one in scales])
        torch.testing.assert_close(found, pooling.Head.from_state(state)(maps))
    assert backbone.see(scales[0]).maps is None
