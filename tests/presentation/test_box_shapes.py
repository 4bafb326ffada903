"""Both shapes of boxes answer the same questions."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.columns import BOX_3D_COLUMNS, BOX_COLUMNS
from ml_debugger.presentation.box_shapes import FLAT, UPRIGHT, shape_of, shape_of_task

# The same rectangles of 4 x 2 and 4 x 1, half of the second within the first; and one far away.
FLAT_BOXES = [(0.0, 0.0, 4.0, 2.0), (2.0, 0.0, 6.0, 1.0), (100.0, 0.0, 104.0, 2.0)]
UPRIGHT_BOXES = [
    (2.0, 1.0, 0.0, 4.0, 2.0, 3.0, 0.0),
    (4.0, 0.5, 9.0, 1.0, 4.0, 2.0, np.pi / 2),
    (102.0, 1.0, 0.0, 4.0, 2.0, 1.0, 0.0),
]
BOTH = pytest.mark.parametrize(("shape", "boxes"), [(FLAT, FLAT_BOXES), (UPRIGHT, UPRIGHT_BOXES)], ids=["flat", "3d"])


@BOTH
def test_areas(shape, boxes):
    np.testing.assert_allclose(shape.areas(boxes), [8.0, 4.0, 8.0])
    np.testing.assert_allclose(shape.shared(boxes[0], boxes), [8.0, 2.0, 0.0])
    assert list(shape.areas([])) == list(shape.shared(boxes[0], [])) == []


@BOTH
def test_boxes_beside_each_other(shape, boxes):
    assert shape.beside(boxes[0], boxes, 0.1) == [True, True, False]
    assert shape.beside(boxes[0], boxes, 0.3) == [True, False, False]
    assert shape.beside(boxes[0], [], 0.1) == []
    assert shape.nearest(boxes[0], boxes[1:]) == 0
    assert shape.nearest(boxes[0], boxes[::-1]) == 2
    assert shape.nearest(boxes[0], []) is None


def test_only_in_3d_boxes_that_do_not_touch_can_belong_together():
    assert FLAT.nearest(FLAT_BOXES[0], FLAT_BOXES[2:]) is None
    far = (60.0, 1.0, 0.0, 4.0, 2.0, 1.0, 0.0)
    assert UPRIGHT.nearest(UPRIGHT_BOXES[0], [UPRIGHT_BOXES[2], far]) == 1
    assert UPRIGHT.nearest(UPRIGHT_BOXES[0], [UPRIGHT_BOXES[2], far], touching=True) is None


def test_large_objects():
    np.testing.assert_allclose(FLAT.sizes(np.array(FLAT_BOXES)), [8.0, 4.0, 8.0])
    np.testing.assert_allclose(UPRIGHT.sizes(np.array(UPRIGHT_BOXES)), [24.0, 8.0, 8.0])


def test_a_shape_is_found_by_box_and_by_task():
    assert [shape_of(box) for box in (FLAT_BOXES[0], UPRIGHT_BOXES[0])] == [FLAT, UPRIGHT]
    found = [shape_of_task(name) for name in ("object_detection", "object_detection_3d", "classification", None)]
    assert found == [FLAT, UPRIGHT, None, None]
    assert (FLAT.columns, UPRIGHT.columns) == (BOX_COLUMNS, BOX_3D_COLUMNS)
