import pytest
import torch

from bench.errors import BenchError
from bench.features.backbones import PRESETS, preset_of
from bench.features.detector import AVERAGES

#: Parameters of the published networks, in millions, without what a preset leaves out.
MILLIONS = {
    "dinov2-s14": 22.1,
    "dinov2-b14-reg": 86.6,
    "dinov2-l14-reg": 304.4,
    "dinov3-b16": 85.7,
    "dinov3-l16": 303.1,
    "siglip2-b16": 93.5,
    "siglip2-so400m16": 428.8,
}


@pytest.mark.parametrize("name", MILLIONS)
def test_networks_have_the_published_sizes(name: str) -> None:
    preset = PRESETS[name]
    with torch.device("meta"):
        network = preset.load(preset.config, None, 0).network
    assert sum(one.numel() for one in network.parameters()) / 1e6 == pytest.approx(MILLIONS[name], abs=0.1)


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_gives_something(name: str) -> None:
    preset = PRESETS[name]
    assert preset.top or preset.globals
    assert preset.load is not None or not preset.globals
    assert preset.globals[:1] not in [(kind,) for kind in AVERAGES]  # the main one is the backbone's own
    assert list(preset.scales) == sorted(preset.scales)


def test_an_unknown_preset_names_its_neighbour() -> None:
    with pytest.raises(BenchError, match="unknown preset 'dinov2-b14-regs'.*Did you mean 'dinov2-b14-reg'"):
        preset_of("dinov2-b14-regs")
