"""What images show, found again from a recipe: it must be what the ground truth was made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.datasets import facades
from bench.datasets.facades import Sights, labels, plan
from bench.datasets.facades.rendering import specification
from bench.datasets.facades.shot import Prop
from bench.datasets.facades.truth import covisibility, ground_truth
from bench.errors import BenchError
from tests.bench.datasets.test_facades_labels import LAYOUT, straight

MINI = facades.SUBSETS["facades-mini"]


@pytest.fixture(scope="module")
def buildings() -> list[plan.Building]:
    positions = plan.gallery_positions(MINI)
    return [plan.plan(MINI, plan.LANDMARK, k, positions) for k in range(MINI.landmarks)]


def test_a_pixel_sees_the_cell_that_is_projected_there() -> None:
    shot = straight(5, props=(Prop(kind="bus", variant=0, x_m=5.0, z_m=5.0),))
    points, view = labels.centres(LAYOUT), labels.see(LAYOUT, shot)
    pixels = labels.project(shot.camera.front(), points)[0]
    found = labels.cells_at(LAYOUT, shot, pixels)
    assert (found[view.cells] == np.flatnonzero(view.cells)).all()
    hidden = labels.hidden(shot, pixels)
    assert hidden.any() and (found[hidden] == -1).all()


def test_there_is_no_cell_beside_a_front_or_in_the_sky() -> None:
    shot = straight(0)  # its left half looks past the front, which ends 5 m up at its upper edge
    assert labels.cells_at(LAYOUT, shot, np.array([[100.0, 240.0], [300.0, -50.0]])).tolist() == [-1, -1]
    assert labels.cells_at(LAYOUT, shot, np.array([[250.0, 250.0]])).tolist() == [9 * 40]


def test_shares_are_those_of_the_co_visibility_graph(buildings: list[plan.Building]) -> None:
    sights, graph = Sights(MINI), covisibility(MINI, buildings)
    edges = zip(*(graph[name] for name in ("first", "second", "first_share", "second_share")), strict=True)
    checked = 0
    for first, second, one, two in edges:
        if second < MINI.gallery_size:
            assert sights.share(first, second) == pytest.approx(one)
            assert sights.share(second, first) == pytest.approx(two)
            checked += 1
    assert checked > 20


def test_images_of_two_landmarks_or_of_none_share_nothing(buildings: list[plan.Building]) -> None:
    sights, landmark = Sights(MINI), np.array(ground_truth(MINI, buildings)["landmark"])
    first, other, distractor = (int(np.flatnonzero(landmark == k)[0]) for k in (0, 1, -1))
    pixels = np.array([[160.0, 120.0]])
    for pair in ((first, other), (first, distractor), (distractor, first), (distractor, distractor)):
        assert sights.share(*pair) == 0.0
        assert not sights.shared(*pair, pixels).any()
    assert sights.query_share(0, other) == sights.query_share(0, distractor) == 0.0


def test_every_transitive_positive_shows_little_and_has_a_bridge(buildings: list[plan.Building]) -> None:
    sights, found = Sights(MINI), 0
    for query, truth in enumerate(ground_truth(MINI, buildings)["gnd"]):
        for image in truth["transitive"]:
            assert 0 < sights.query_share(query, image) < labels.HARD_SHARE
            assert any(
                sights.query_share(query, bridge) >= labels.BRIDGE_QUERY_SHARE
                and sights.share(image, bridge) >= labels.BRIDGE_IMAGE_SHARE
                for bridge in {*truth["easy"], *truth["hard"]} - {image}
            )
            found += 1
    assert found


def test_pixels_of_the_shared_part_see_cells_that_both_show(buildings: list[plan.Building]) -> None:
    sights, positions = Sights(MINI), plan.gallery_positions(MINI)
    building, (one, two) = buildings[0], positions[:2]
    pixels = labels.project(building.shots[0].camera.front(), labels.centres(building.layout))[0]
    first, second = (view.cells for view in building.views[:2])
    assert (sights.shared(one, two, pixels)[first] == second[first]).all()


def test_a_recipe_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(specification(MINI)))
    assert facades.read_recipe(tmp_path) == MINI
    assert Sights.read(tmp_path).recipe == MINI


@pytest.mark.parametrize("change", [None, {"version": 1}, {"landmarks": 0}, {"towers": 3}, {"views": None}])
def test_a_folder_of_anything_else_is_refused(tmp_path: Path, change: dict[str, object] | None) -> None:
    if change is not None:
        (tmp_path / "recipe.json").write_text(json.dumps(specification(MINI) | change))
    with pytest.raises(BenchError, match=r"without the recipe\.json.*--dataset facades or facades-val"):
        facades.read_recipe(tmp_path)
