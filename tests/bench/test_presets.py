from __future__ import annotations

from bench.presets import page
from rerankers.registry import names, variants
from tests.support import ROOT


def test_the_page_of_presets_is_that_of_this_code():
    assert (ROOT / "docs" / "presets.md").read_text(encoding="utf8") == page(), "run: python -m bench.presets"


def test_every_variant_is_on_it():
    said = page()
    for family in names():
        for name in variants(family):
            assert f"| {family}:{name} " in said
