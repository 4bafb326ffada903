"""Examples in point clouds as pictures: boxes and points where they are, whatever a scene holds."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.transforms import Bbox

from ml_debugger.presentation.bev_drawing import draw_frame
from ml_debugger.presentation.bev_view import look_at
from ml_debugger.presentation.example_style import CANVAS, OTHER, REGION, TRUTH, find_colour
from ml_debugger.presentation.examples import Neighbour
from tests.helpers.examples import CAR, EXAMPLE_3D, MISSED_3D, ring_of_points

NONE = np.empty((0, 3))
ALONE = replace(EXAMPLE_3D, truths=(), others=())


def where(picture: np.ndarray, colour: str) -> np.ndarray:
    """``(h, w)`` which pixels have nearly a colour."""
    return np.abs(picture.astype(int) - np.round(np.array(to_rgb(colour)) * 255)).max(axis=2) < 12


def spots(points: np.ndarray, example=ALONE) -> np.ndarray:
    """``(N, 2)`` across and down: pixels that points change."""
    changed = (draw_frame(points, example) != draw_frame(None, example)).any(axis=2)
    return np.argwhere(changed)[:, ::-1]


def test_boxes_have_the_colours_of_what_they_are():
    picture = draw_frame(ring_of_points(), EXAMPLE_3D)
    assert picture.dtype == np.uint8
    assert picture.shape == (CANVAS[1], CANVAS[0], 3)
    for colour in (find_colour(EXAMPLE_3D), TRUTH, OTHER):
        assert where(picture, colour).sum() > 100
    assert where(draw_frame(None, replace(EXAMPLE_3D, truths=())), TRUTH).sum() == 0
    missed = draw_frame(None, MISSED_3D)
    assert where(missed, TRUTH).sum() > 100
    assert where(missed, find_colour(EXAMPLE_3D)).sum() == 0
    near = replace(ALONE, truths=(Neighbour((12.0, 1.0, -1.0, 2.0, 2.0, 2.0, 0.0), 7, ignored=True),))
    assert where(draw_frame(None, near), REGION).sum() > 100


def test_an_outline_is_where_the_box_is():
    for yaw in (0.0, 0.6, 2.5):
        box = (*CAR[:6], yaw)
        picture = draw_frame(None, replace(MISSED_3D, box=box))
        view = look_at([box], CANVAS)
        for across, down in view.outline(box):
            around = where(picture, TRUTH)[int(down) - 4 : int(down) + 5, int(across) - 4 : int(across) + 5]
            assert around.any(), (yaw, across, down)


def test_the_heading_leaves_through_the_front():
    ahead = replace(MISSED_3D, box=(*CAR[:6], 0.0))
    back = replace(MISSED_3D, box=(*CAR[:6], np.pi))
    view = look_at([ahead.box], CANVAS)
    corners = view.outline(ahead.box)
    front, rear = corners[:, 1].min(), corners[:, 1].max()
    middle = int(corners[:, 0].mean())
    for example, beyond, other in ((ahead, int(front - 7), int(rear + 7)), (back, int(rear + 7), int(front - 7))):
        green = where(draw_frame(None, example), TRUTH)[:, middle - 3 : middle + 4]
        assert green[beyond].any()
        assert not green[other].any()


def test_points_are_where_they_are():
    view = look_at([CAR], CANVAS)
    place = np.array([9.0, 8.0, -1.0])
    inside_map = (CANVAS[0] - 150, 160)
    found = spots(place[None])
    found = found[(found[:, 0] < inside_map[0]) | (found[:, 1] > inside_map[1])]
    assert len(found)
    assert np.abs(found - view.pixels(place[:2])).max() <= 3


def test_points_in_the_box_are_white():
    place = np.array([CAR[0], CAR[1] + 0.4])
    across, down = (int(value) for value in look_at([CAR], CANVAS).pixels(place))
    for height, expected in ((CAR[2], True), (CAR[2] + 5.0, False)):
        points = np.array([[*place, height], [9.0, 8.0, -1.7], [9.0, 8.0, 9.0]])
        spot = where(draw_frame(points, ALONE), "#ffffff")[down - 2 : down + 3, across - 2 : across + 3]
        assert spot.any() == expected


def test_the_sensor_is_drawn_where_it_is_in_view():
    near = replace(MISSED_3D, box=(4.0, 0.0, -1.0, 4.0, 1.8, 1.5, 0.0))
    view = look_at([near.box], CANVAS)
    across, down = (int(value) for value in view.origin)
    assert 0 < across < CANVAS[0]
    assert 0 < down < CANVAS[1]
    assert where(draw_frame(None, near), "#ffffff")[down - 6 : down + 7, across - 6 : across + 7].sum() > 20


def test_the_map_shows_the_whole_frame():
    points = ring_of_points(40.0)
    found = spots(points, replace(ALONE, box=(3.0, 0.0, -1.0, 4.0, 2.0, 1.5, 0.0)))
    assert len(found) > 100  # the ring is far outside of what the picture shows, and in the map
    assert found[:, 0].min() >= CANVAS[0] - 160
    assert found[:, 1].max() <= 170


@pytest.mark.parametrize(
    "box",
    [
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (1e7, 1e7, 0.0, 1e-3, 1e-3, 1e-3, 1.0),
        (10.0, 0.0, 0.0, 1e6, 1e-6, 2.0, 0.5),
        (-3e30, 1.0, 0.0, 4.0, 2.0, 1.5, 0.5),
    ],
)
def test_boxes_of_any_size_and_place_are_drawn(box):
    with np.errstate(all="raise"):
        example = replace(EXAMPLE_3D, box=box, others=(*EXAMPLE_3D.others, Neighbour((9e30,) * 6 + (1.0,), 1)))
        assert draw_frame(ring_of_points(), example).shape == (CANVAS[1], CANVAS[0], 3)


@pytest.mark.parametrize(
    "points", [None, NONE, np.full((4, 3), np.nan), np.array([[1.0, 2.0, np.inf]]), np.zeros((300, 3), np.float32)]
)
def test_any_points_will_do(points):
    assert draw_frame(points, EXAMPLE_3D).shape == (CANVAS[1], CANVAS[0], 3)


@pytest.fixture
def texts(monkeypatch):
    """The texts of pictures, as they are drawn."""
    found = []
    text = Axes.text
    monkeypatch.setattr(Axes, "text", lambda ax, *at, **how: found.append(text(ax, *at, **how)) or found[-1])
    return found


def test_texts_do_not_cover_each_other(texts):
    several = (Neighbour((12.2, 5.1, *CAR[2:]), 123), Neighbour((14.0, 6.4, *CAR[2:]), 5))
    draw_frame(ring_of_points(), replace(EXAMPLE_3D, truths=several), {123: "car", 5: "van"})
    said = [one.get_text() for one in texts]
    assert {"DET:SG*:CLS123->456  91%", "true car", "true van"} <= set(said)
    assert sum(word.startswith("map, rings ") for word in said) == 1
    assert sum(word.endswith(" m") and word[0].isdigit() for word in said) >= 2


@pytest.mark.parametrize("code", ["DET:N:CLS->3", "DET:SG*:CLS12345->45678"])
@pytest.mark.parametrize("side", range(4))
def test_texts_stay_within_the_picture_and_off_each_other_and_the_map(texts, code, side):
    angle = side * np.pi / 2 + 0.4
    box = (15 * np.cos(angle), 15 * np.sin(angle), -1.0, 4.0, 1.8, 1.5, 1.0)
    draw_frame(None, replace(EXAMPLE_3D, box=box, code=code))
    found = [(text.get_text(), text.get_window_extent()) for text in texts]
    caption = next(box for word, box in found if word.startswith("map, "))
    sheet = Bbox([[caption.x0 - 4, caption.y1 + 3], [caption.x0 + 132, caption.y1 + 136]])
    found.append(("the map", sheet))
    for at, (word, one) in enumerate(found):
        assert 0 <= one.x0 < one.x1 <= CANVAS[0], word
        assert 0 <= one.y0 < one.y1 <= CANVAS[1], word
        assert not [other for other, place in found[:at] if one.overlaps(place)], word


def test_the_same_example_is_the_same_picture():
    pictures = [draw_frame(ring_of_points(), EXAMPLE_3D).tobytes() for _ in range(2)]
    assert len({hashlib.sha256(pixels).hexdigest() for pixels in pictures}) == 1
