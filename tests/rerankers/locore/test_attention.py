from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rerankers.locore.attention import BlockSparse, Flex, reading
from rerankers.locore.layout import Layout


def tensors(layout: Layout, *, lists: int = 2, seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(3, lists, 3, layout.length, 8, generator=draw)


def definition(q, k, v, layout: Layout, valid, window: int):
    """Every token against every other one, under one mask, in the order of the network."""
    places = layout.order
    read = (places[:, None] - places[None]).abs() <= window // 2
    read[: layout.front] = True
    read[:, : layout.front] = True
    read = read[None, None] if valid is None else read[None, None] & valid[:, None, None]
    return F.scaled_dot_product_attention(q, k, v, read)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("form", [BlockSparse, Flex])
@pytest.mark.parametrize("query_global", [True, False])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("window", [2, 16, 400])
def test_both_forms_give_what_the_definition_does(form, query_global, padded, window):
    layout = Layout(12, 5, query_global)
    q, k, v = tensors(layout)
    valid = None
    if padded:
        valid = torch.rand(2, layout.length, generator=torch.Generator().manual_seed(1)) < 0.7
        valid[:, layout.first * layout.features : layout.front] = True  # SEP is always real
    seen, wanted = form(layout, valid), definition(q, k, v, layout, valid, window)
    for rows in (range(layout.rest), layout.rows(features=slice(-1, None)), layout.rows(features=slice(0, 1))):
        asked = q[:, :, layout.front :][:, :, list(rows)]
        found = seen.rest(asked, k, v, window=window, rows=rows)
        torch.testing.assert_close(found, wanted[:, :, layout.front :][:, :, list(rows)], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(seen.front(q[:, :, : layout.front], k, v), wanted[:, :, : layout.front])


def test_long_lists_take_several_blocks():
    layout = Layout(101, 9, True)
    q, k, v = tensors(layout, lists=1)
    found = BlockSparse(layout, None).rest(q[:, :, layout.front :], k, v, window=64, rows=range(layout.rest))
    wanted = definition(q, k, v, layout, None, 64)[:, :, layout.front :]
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


def test_the_device_decides_the_form():
    layout = Layout(3, 2, True)
    assert isinstance(reading(layout, None, torch.device("cpu")), BlockSparse)
    assert isinstance(reading(layout, None, torch.device("cuda")), Flex)
