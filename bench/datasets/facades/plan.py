"""Which photographs a recipe consists of: every building's style, layout and shots, each found by itself."""

from __future__ import annotations

import dataclasses

from . import labels
from .building import Layout, Style, look_alike, sample_layout, sample_style
from .recipe import LAYOUT, ORDER, SHOT, STYLE, Recipe, stream
from .shot import Shot, role_of, sample_shot

LANDMARK, DISTRACTOR, QUERY = range(3)
MIN_EASY, MIN_HARD = 2, 3  # labels that every query gets
_ATTEMPTS = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Building:
    """One building's photographs. names and shots: its gallery views, then its queries."""

    group: int
    index: int
    style: Style
    layout: Layout
    names: tuple[str, ...]
    shots: tuple[Shot, ...]
    views: tuple[labels.View, ...]  # of landmarks only
    boxes: tuple[tuple[float, float, float, float], ...]  # of the queries, as are the labels
    labels: tuple[labels.QueryLabels, ...]


def buildings(recipe: Recipe) -> list[tuple[int, int]]:
    """(group, index) of every building."""
    count = -(-recipe.distractors // recipe.distractor_views)
    return [(LANDMARK, k) for k in range(recipe.landmarks)] + [(DISTRACTOR, k) for k in range(count)]


def gallery_positions(recipe: Recipe) -> list[int]:
    """Where each photograph goes in the gallery: landmarks' views first, then distractors', all shuffled."""
    return [int(k) for k in stream(recipe.seed, ORDER).permutation(recipe.gallery_size)]


def gallery_name(position: int) -> str:
    return f"gallery/{position:05d}.jpg"


def query_name(number: int) -> str:
    return f"queries/{number:03d}.jpg"


def style_of(recipe: Recipe, group: int, index: int) -> Style:
    rng = stream(recipe.seed, STYLE, group, index)
    if group == DISTRACTOR and recipe.landmarks and rng.random() < recipe.look_alikes:
        return look_alike(rng, style_of(recipe, LANDMARK, int(rng.integers(recipe.landmarks))))
    return sample_style(rng)


def plan(recipe: Recipe, group: int, index: int, positions: list[int]) -> Building:
    """Everything about one building, short of painting it; positions as from gallery_positions."""
    style = style_of(recipe, group, index)
    layout = sample_layout(stream(recipe.seed, LAYOUT, group, index), wide=group == LANDMARK)
    if group == LANDMARK:
        start, stop = index * recipe.views, (index + 1) * recipe.views
    else:
        start = recipe.landmarks * recipe.views + index * recipe.distractor_views
        stop = min(start + recipe.distractor_views, recipe.gallery_size)
    shots = [
        sample_shot(
            stream(recipe.seed, SHOT, group, index, view), layout, role=role_of(view), long_side_px=recipe.long_side_px
        )
        for view in range(stop - start)
    ]
    names = [gallery_name(positions[k]) for k in range(start, stop)]
    if group == DISTRACTOR:
        return Building(
            group=group,
            index=index,
            style=style,
            layout=layout,
            names=tuple(names),
            shots=tuple(shots),
            views=(),
            boxes=(),
            labels=(),
        )
    views = [labels.see(layout, shot) for shot in shots]
    found = [_query(recipe, index, number, layout, views) for number in range(recipe.queries)]
    names += [query_name(index * recipe.queries + number) for number in range(recipe.queries)]
    return Building(
        group=group,
        index=index,
        style=style,
        layout=layout,
        names=tuple(names),
        shots=(*shots, *(shot for shot, *_ in found)),
        views=(*views, *(view for _, view, *_ in found)),
        boxes=tuple(box for _, _, box, _ in found),
        labels=tuple(answer for *_, answer in found),
    )


def _query(
    recipe: Recipe, index: int, number: int, layout: Layout, views: list[labels.View]
) -> tuple[Shot, labels.View, tuple[float, float, float, float], labels.QueryLabels]:
    """The first shot with enough easy and hard images; the best one where none has."""
    best, best_score = None, -1
    for attempt in range(_ATTEMPTS):
        rng = stream(recipe.seed, SHOT, QUERY, index, number, attempt)
        shot = sample_shot(rng, layout, role="query", long_side_px=recipe.long_side_px)
        view = labels.see(layout, shot)
        box, cells = labels.query_box(layout, view)
        answer = labels.label(layout, view, cells, views)
        score = min(MIN_EASY, len(answer.easy)) + min(MIN_HARD, len(answer.hard))
        if score > best_score:
            best, best_score = (shot, view, box, answer), score
        if score == MIN_EASY + MIN_HARD:
            break
    assert best is not None
    return best
