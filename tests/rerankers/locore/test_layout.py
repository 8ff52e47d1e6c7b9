from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankers.locore.layout import BLOCK, Layout, blocks

layouts = st.builds(Layout, st.integers(1, 30), st.integers(1, 12), st.booleans())


@given(layouts)
def test_every_token_has_one_place(layout):
    assert sorted(layout.order.tolist()) == list(range(layout.length))
    assert layout.front + layout.rest == layout.length


def test_global_tokens_stand_in_front():
    order = Layout(3, 2, True).order.tolist()  # query 0 1 S2, candidates 3 4 S5, 6 7 S8
    assert order == [0, 1, 2, 5, 8, 3, 4, 6, 7]
    assert Layout(3, 2, False).order.tolist() == [2, 5, 8, 0, 1, 3, 4, 6, 7]


@pytest.mark.parametrize("query_global", [True, False])
def test_rows_are_those_of_the_candidates(query_global):
    layout = Layout(4, 3, query_global)
    places = layout.order[layout.front :]
    assert places[list(layout.rows())].tolist() == [4, 5, 6, 8, 9, 10, 12, 13, 14]
    assert places[list(layout.rows(features=slice(-1, None)))].tolist() == [6, 10, 14]
    assert places[list(layout.rows(features=slice(0, 1)))].tolist() == [4, 8, 12]


@given(layouts, st.integers(1, 40), st.data())
def test_blocks_hold_every_row_once_with_the_keys_of_its_window(layout, half, data):
    features = data.draw(st.sampled_from([slice(None), slice(-1, None)]))
    rows = layout.rows(features=features)
    places = layout.order[layout.front :]
    found = blocks(layout, 2 * half, rows)
    assert [row for block in found for row in range(len(rows))[block.rows]] == list(range(len(rows)))
    for block in found:
        near = (places[list(rows)][block.rows, None] - places[None]).abs() <= half
        assert bool(block.read[:, : layout.front].all())
        assert torch.equal(block.read[:, layout.front :], near[:, block.keys])
        outside = near.clone()
        outside[:, block.keys] = False
        assert not bool(outside.any())


def test_blocks_waste_little():
    layout = Layout(101, 49, True)
    for rows in (layout.rows(), layout.rows(features=slice(-1, None))):
        for block in blocks(layout, 512, rows):
            assert block.read.shape[1] <= layout.front + 512 + 1 + BLOCK
