"""The exact ground truth, on cameras whose view can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bench.datasets.facades import labels
from bench.datasets.facades.building import Layout
from bench.datasets.facades.camera import Camera
from bench.datasets.facades.shot import Film, Prop, Shot

LAYOUT = Layout(
    width_m=20.0,
    eaves_m=10.0,
    top_m=12.0,
    floors_m=(0.0, 5.0, 10.0),
    sections=(),
    peaks=(),
    doors=frozenset(),
    blanks=frozenset(),
    balconies=frozenset(),
)
FILM = Film(sun="high", sky=0, gain=(1, 1, 1), gamma=1, lift=0, blur=0, noise=0, grain=(0, 0), quality=90)


def straight(x: float, *, y: float = 5.0, z: float = 10.0, focal: float = 480, props: tuple[Prop, ...] = ()) -> Shot:
    """A camera that looks straight at the front from (x, y, z): 480 x 480 pixels."""
    camera = Camera(position=(x, y, z), target=(x, y, 0.0), focal=focal, size=(480, 480))
    return Shot(camera=camera, props=props, film=FILM, role="part")


def test_cells_are_half_metres_up_to_the_eaves() -> None:
    points = labels.centres(LAYOUT)
    assert len(points) == 40 * 20
    assert points[0].tolist() == [0.25, 0.25]
    assert points[-1].tolist() == [19.75, 9.75]


def test_a_straight_view_shows_exactly_its_frustum() -> None:
    view = labels.see(LAYOUT, straight(5))  # 10 m away, focal = width: it sees 10 m by 10 m
    x = labels.centres(LAYOUT)[:, 0]
    assert (view.cells == (x < 10)).all()
    assert view.scale == pytest.approx(48.0)  # 480 pixels on 10 m


def test_shares_of_two_shifted_views() -> None:
    first, second = labels.see(LAYOUT, straight(5)).cells, labels.see(LAYOUT, straight(12.5)).cells
    assert labels.share(first, second) == 0.25  # 7.5..10 m of 0..10 m
    narrow = labels.see(LAYOUT, straight(5, focal=960)).cells  # 2.5..7.5 m
    assert labels.share(narrow, first) == 1.0
    assert labels.share(first, narrow) == 0.25


def test_too_small_cells_are_not_shown() -> None:
    assert labels.see(LAYOUT, straight(10, z=59)).cells.all()  # 480 / 59 x 0.5 m = 4.07 pixels
    assert not labels.see(LAYOUT, straight(10, z=61)).cells.any()  # 3.93 pixels


def test_a_bus_hides_what_is_behind_it() -> None:
    bus = Prop(kind="bus", variant=0, x_m=10.0, z_m=5.0)
    free = labels.see(LAYOUT, straight(10, y=2.0, focal=160))
    view = labels.see(LAYOUT, straight(10, y=2.0, focal=160, props=(bus,)))
    # seen from twice its distance the bus's roof, 3.17 m high, hides the front up to 2 + 2 x 1.17 = 4.34 m
    y = labels.centres(LAYOUT)[:, 1]
    assert free.cells.all()
    assert not view.cells[y < 4.2].any()
    assert view.cells[y > 4.5].all()


def test_the_query_box_encloses_what_is_seen_within_the_margin() -> None:
    view = labels.see(LAYOUT, straight(5))
    box, cells = labels.query_box(LAYOUT, view)
    # 3 % of 480 is 14.4: the first centre inside it is at 36 pixels (0.75 m x 48), the last at 444
    assert box == (36.0, 36.0, 444.0, 444.0)
    assert cells.sum() == 18 * 18


def _view(shot: Shot, *columns: tuple[int, int]) -> labels.View:
    """A view that shows some of the 40 columns of cells, from the left one to the one before the right one."""
    cells = np.zeros((20, 40), bool)
    for left, right in columns:
        cells[:, left:right] = True
    return labels.View(cells=cells.ravel(), scale=np.full(800, 48, np.float32), camera=shot.camera)


def test_labels_of_hand_made_views() -> None:
    query = _view(straight(5), (0, 20))
    turned = Shot(
        camera=Camera(position=(25, 5, 10), target=(5, 5, 0), focal=480, size=(480, 480)),
        props=(),
        film=FILM,
        role="part",
    )
    views = [
        _view(straight(5), (0, 20)),  # all of it: easy
        _view(straight(7), (11, 31)),  # 9 of 20 columns: easy, exactly at the threshold
        _view(straight(7), (12, 32)),  # 8 of 20: hard
        _view(turned, (0, 20)),  # all of it, from over 35 degrees aside: hard
        _view(straight(15), (19, 39)),  # 1 of 20, and the third view holds 13 of its 20: transitive
        _view(straight(15), (20, 40)),  # nothing shared: junk
        _view(straight(5), (2, 4)),  # a close-up, 2 of 20 but all its own 40 cells: hard
        _view(straight(15)),  # nothing seen at all: junk
    ]
    answer = labels.label(LAYOUT, query, query.cells, views)
    assert answer.easy == (0, 1)
    assert answer.hard == (2, 3, 4, 6)
    assert answer.transitive == (4,)
    assert answer.junk == (5, 7)


def test_another_scale_is_not_easy() -> None:
    query, near = _view(straight(5), (0, 20)), _view(straight(5), (0, 20))
    far = labels.View(cells=near.cells, scale=near.scale / 2.3, camera=near.camera)
    assert labels.label(LAYOUT, query, query.cells, [near, far]).easy == (0,)
