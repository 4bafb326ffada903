"""Boxes are drawn on what they belong to, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml_debugger.errors import InputError, NotFoundError
from ml_debugger.presentation.box_shapes import FLAT, UPRIGHT
from ml_debugger.presentation.example_drawers import find_drawer, frame_drawer, missing_source
from ml_debugger.presentation.example_plot import draw_pictures
from ml_debugger.presentation.examples import Neighbour
from tests.helpers.examples import EXAMPLE, EXAMPLE_3D, GREY, MISSED_3D, ring_of_points
from tests.helpers.kitti import kitti_folder, lidar_rows, read_frame

FRAMES = {134: ring_of_points()}
EXAMPLES = [replace(one, input_id=134) for one in (EXAMPLE_3D, MISSED_3D)]


def test_captions_say_where_a_box_in_3d_is():
    box, missed = draw_pictures(EXAMPLES, frame_drawer(FRAMES), {123: "car"})
    assert box.lines == (
        "One prediction over several annotations",
        "predicted 456, annotated car",
        "error 91%, place 85%, class 12%; score 0.44",
        "13.0 m away, 4.0 x 1.8 x 1.5 m, 0 points, 0.3 m too high",
    )
    assert missed.lines[-2:] == ("annotated car, not found", "13.0 m away, 4.0 x 1.8 x 1.5 m, 0 points")
    assert box.width_share == "100%"
    alone = draw_pictures(EXAMPLES, frame_drawer(None))[0]
    assert "points" not in alone.lines[-1]
    assert (alone.pixels != box.pixels).any()


def test_each_shape_of_boxes_has_its_source():
    pytest.importorskip("supervision")
    assert find_drawer(None, None, None) is None
    assert find_drawer(FLAT, None, None) is None
    pixels, more = find_drawer(FLAT, lambda input_id: GREY, None)(EXAMPLE)
    assert (pixels.shape, more) == ((420, 560, 3), ())
    assert find_drawer(UPRIGHT, None, None)(MISSED_3D)[1]
    assert find_drawer(UPRIGHT, None, FRAMES)(EXAMPLES[0])[1]


def test_the_wrong_source_is_refused():
    with pytest.raises(InputError, match=r"images: these are boxes of point clouds.* pass the points as frames"):
        find_drawer(UPRIGHT, {}, None)
    with pytest.raises(InputError, match="frames: these are boxes of images; pass the images as images"):
        find_drawer(FLAT, None, {})
    for images, frames in (({}, None), (None, {})):
        with pytest.raises(InputError, match="no boxes to draw"):
            find_drawer(None, images, frames)
    with pytest.raises(NotFoundError, match="frames: there is none for input_id '000134'"):
        frame_drawer({})(EXAMPLE_3D)
    assert "images: expected a folder" in str(missing_source(FLAT))


def test_points_in_other_axes_are_refused():
    moved = ring_of_points() + np.array([500.0, 0.0, 0.0])
    with pytest.raises(InputError, match=r"points of input_id '000134' reach from x 480 .* first at x 12, y 5 m; give"):
        frame_drawer({"000134": moved})(EXAMPLE_3D)
    one_there = replace(EXAMPLE_3D, others=(Neighbour((505.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0), 1),))
    assert frame_drawer({"000134": moved})(one_there)[1]
    few = {"000134": moved[:5]}  # hardly a point: nothing can be said
    assert frame_drawer(few)(EXAMPLE_3D)[1]
    assert frame_drawer({"000134": np.full((200, 3), np.nan)})(EXAMPLE_3D)[1]


@pytest.mark.parametrize("name", ["000000", "000008", "000134"])
def test_annotated_objects_of_real_scenes_hold_points(name):
    """Boxes of KITTI drawn on its points, from its files: what is near holds many points."""
    folder = kitti_folder()
    frame = read_frame(folder, name)
    boxes = lidar_rows(frame)
    boxes[:, 2] += boxes[:, 5] / 2  # KITTI names the middle of the bottom
    draw = frame_drawer(folder / "velodyne")
    for box in boxes[np.hypot(*boxes[:, :2].T) < 20]:
        others = tuple(Neighbour(tuple(one), 0) for one in boxes.tolist() if one[0] != box[0])
        pixels, (said,) = draw(replace(MISSED_3D, input_id=name, box=tuple(box.tolist()), truths=others))
        count = int(said.split(" m, ")[-1].split()[0].replace(",", ""))
        assert count > 20, said
        assert (pixels == 255).all(axis=2).sum() > 100  # white: the points inside
