"""Backbones that describe images, by the names of their presets."""

from __future__ import annotations

from collections.abc import Mapping

from bench.errors import unknown_name
from bench.features.backbones import cvnet, delg, dinov2, dinov3, siglip2
from bench.features.backbones.contract import Backbone, Loader, Preset, Seen
from bench.features.detector import AVERAGES

__all__ = ["PRESETS", "Backbone", "Loader", "Preset", "Seen", "preset_of"]


def _vit(about: str, load: Loader, config: Mapping[str, int], *, side_px: int = 768) -> Preset:
    """As ELViS describes images."""
    return Preset(about=about, load=load, config=config, globals=("cls", *AVERAGES), side_px=side_px)


def _cvnet(depth: int) -> Preset:
    """As AMES describes images."""
    config = {"network": f"cvnet-r{depth}"}
    return Preset(
        about=f"CVNet-R{depth}", load=cvnet.own_head, config=config, globals=("cvnet",), scales=cvnet.SCALES, top=700
    )


def _superglobal(depth: int) -> Preset:
    config = {"network": f"cvnet-r{depth}"}
    return Preset(
        about=f"SuperGlobal-R{depth}",
        load=cvnet.superglobal,
        config=config,
        globals=("superglobal",),
        scales=cvnet.SCALES,
        top=0,
    )


def _delg(depth: int) -> Preset:
    config = {"network": f"cvnet-r{depth}"}
    return Preset(about=f"CVNet-R{depth} as DELG", load=delg.load, config=config, scales=delg.SCALES, top=1000)


PRESETS: dict[str, Preset] = {
    "dinov2-s14": _vit("DINOv2 ViT-S/14", dinov2.plain, dinov2.SMALL, side_px=770),
    "dinov2-s14-reg": _vit("DINOv2 ViT-S/14 reg", dinov2.registered, dinov2.SMALL, side_px=770),
    "dinov2-b14": _vit("DINOv2 ViT-B/14", dinov2.plain, dinov2.BASE, side_px=770),
    "dinov2-b14-reg": _vit("DINOv2 ViT-B/14 reg", dinov2.registered, dinov2.BASE, side_px=770),
    "dinov2-l14": _vit("DINOv2 ViT-L/14", dinov2.plain, dinov2.LARGE, side_px=770),
    "dinov2-l14-reg": _vit("DINOv2 ViT-L/14 reg", dinov2.registered, dinov2.LARGE, side_px=770),
    "dinov3-s16": _vit("DINOv3 ViT-S/16", dinov3.load, dinov3.SMALL),
    "dinov3-b16": _vit("DINOv3 ViT-B/16", dinov3.load, dinov3.BASE),
    "dinov3-l16": _vit("DINOv3 ViT-L/16", dinov3.load, dinov3.LARGE),
    "siglip2-b16": _vit("SigLIP2 ViT-B/16", siglip2.load, siglip2.BASE),
    "siglip2-so400m16": _vit("SigLIP2 ViT-SO400M/16", siglip2.load, siglip2.SO400M),
    "cvnet-r50": _cvnet(50),
    "cvnet-r101": _cvnet(101),
    "superglobal-r50": _superglobal(50),
    "superglobal-r101": _superglobal(101),
    "delg-r50": _delg(50),
    "delg-r101": _delg(101),
    "rootsift": Preset(about="RootSIFT", side_px=640, top=500),
}


def preset_of(name: str) -> Preset:
    """BenchError for one that is not there: it lists those that are."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
