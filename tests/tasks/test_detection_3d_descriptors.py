"""Descriptors of predicted boxes of frames: oriented, and silent about what a model does not show."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml_debugger.analysis.boxes import PredictedBoxes
from ml_debugger.columns import BOX_3D_CONTEXT, NEIGHBOUR_CONTEXT, SCENE_CONTEXT
from ml_debugger.tasks.detection_3d_descriptors import (
    BOX_DESCRIPTORS,
    box_descriptors,
    box_geometry,
    box_numbers,
    neighbours,
)
from ml_debugger.tasks.task import Units

CAR = [20.0, 0.0, -0.5, 4.0, 2.0, 1.5, 0.0]


def units(boxes: list[list[float]], **context: float) -> Units:
    count = len(boxes)
    table = np.full((count, len(BOX_3D_CONTEXT)), np.nan, dtype=np.float32)
    for name, value in context.items():
        table[:, BOX_3D_CONTEXT.index(name)] = value
    none = np.zeros((count, 0), np.float32)
    box = np.array(boxes, np.float32).reshape(-1, 7)
    return Units(np.zeros(count, np.int64), np.full(count, 0.5), none, none, box, table)


def told(name: str, box: list[float] = CAR, **context: float) -> float:
    return float(box_descriptors(units([box], **context))[0, BOX_DESCRIPTORS.index(name)])


def moved(**changed: float) -> list[float]:
    names = ("x", "y", "z", "dx", "dy", "dz", "yaw")
    return [changed.get(name, value) for name, value in zip(names, CAR, strict=True)]


@pytest.mark.parametrize(
    ("name", "context", "better", "worse"),
    [
        ("few_points", "n_points", 200, 5),
        ("flat_points", "points_height", 0.9, 0.1),
        ("gathered_points", "points_spread", 0.9, 0.1),
        ("sparse", "n_points", 200, 5),
        ("hidden", "hidden", 0.0, 0.9),
        ("turned", "turned", 0.0, 0.9),
        ("off_ground", "raised", 0.0, -1.0),
        ("raised", "raised", -1.0, 1.0),
        ("alone", "nearest", 3.0, 30.0),
        ("inside_border", "border_distance", 1.0, 30.0),
        ("not_inside_border", "border_distance", 30.0, -1.0),
        ("better_iou_same", "better_iou_same", 0.0, 0.4),
        ("rank", "rank", 0, 9),
    ],
)
def test_context_is_oriented(name: str, context: str, better: float, worse: float) -> None:
    known = {"n_points": 10.0, "border_distance": 5.0}
    assert told(name, **{**known, context: better}) < told(name, **{**known, context: worse})


@pytest.mark.parametrize("name", ["size_std", "yaw_std"])
def test_spread_of_candidates_counts_where_they_are_seen(name: str) -> None:
    assert told(name, n_suppressed_same=4.0, **{name: 0.3}) == pytest.approx(0.3)
    assert told(name, **{name: 0.3}) == 0.0


@pytest.mark.parametrize(
    ("name", "lower", "higher"),
    [
        ("far", {"x": 10.0}, {"x": 40.0}),
        ("range", {"x": 10.0}, {"x": 40.0}),
        ("solid_angle", {"x": 40.0}, {"x": 10.0}),
        ("solid_angle", {"dz": 1.0}, {"dz": 2.0}),
        ("along_x", {"y": 20.0}, {"y": 0.0}),
        ("along_y", {"y": 0.0}, {"y": 20.0}),
        ("large", {"dz": 1.0}, {"dz": 2.0}),
        ("long", {"dx": 2.0}, {"dx": 5.0}),
        ("tall", {"dz": 1.0}, {"dz": 2.0}),
        ("height", {"dz": 1.0}, {"dz": 2.0}),
        ("end_on", {"yaw": math.pi / 2}, {"yaw": math.pi}),
        ("broadside", {"yaw": math.pi}, {"yaw": math.pi / 2}),
        ("diagonal", {"yaw": math.pi / 2}, {"yaw": math.pi / 4}),
        ("bottom", {"z": -1.0}, {"z": 0.0}),
        ("one_side", {"yaw": math.atan2(2, 4)}, {"yaw": 0.0}),
    ],
)
def test_place_and_size(name: str, lower: dict[str, float], higher: dict[str, float]) -> None:
    assert told(name, moved(**lower)) < told(name, moved(**higher))
    if f"not_{name}" in BOX_DESCRIPTORS:
        assert told(f"not_{name}", moved(**lower)) == -told(name, moved(**lower))


def test_how_much_of_a_box_shows() -> None:
    """Sides equally wide: 0; one side alone: 1. Twice as far: a quarter of the solid angle."""
    assert told("one_side", moved(yaw=math.atan2(2, 4))) == pytest.approx(0, abs=1e-6)
    assert told("one_side", moved(yaw=math.pi)) == pytest.approx(1, abs=1e-6)
    ahead, behind = told("one_side", moved(yaw=1.0)), told("one_side", moved(x=-20.0, yaw=1.0))
    assert ahead == pytest.approx(behind)
    near, far = told("solid_angle", moved(x=20.0)), told("solid_angle", moved(x=40.0))
    assert near - far == pytest.approx(math.log(4), abs=1e-5)


def test_what_is_not_shown_is_zero() -> None:
    for context in ({}, {"n_kept": 3.0}):
        for name in (*("few_points", "flat_points", "gathered_points", "sparse"), "inside_border", "no_suppressed"):
            assert told(name, **context) == 0.0
    bare = units([CAR, CAR])
    without = Units(bare.label, bare.score, bare.features, bare.logits, bare.box)
    assert np.isfinite(box_descriptors(without)).all()
    assert told("no_suppressed", n_suppressed_same=3.0) == pytest.approx(-math.log(4))


def test_shapes_of_nothing_and_odd_boxes() -> None:
    assert box_descriptors(units([])).shape == (0, len(BOX_DESCRIPTORS))
    assert len(set(BOX_DESCRIPTORS)) == len(BOX_DESCRIPTORS)
    odd = units([[0] * 7, [0, 0, 0, 1e-30, 1e9, 1e30, 500.0], [1e30, -1e30, 1e30, 4, 2, 1, 0]])
    assert np.isfinite(box_descriptors(odd)).all()
    assert np.isfinite(box_geometry(odd)).all()
    assert np.isfinite(box_numbers(odd)).all()


def test_numbers_and_geometry() -> None:
    np.testing.assert_allclose(box_numbers(units([CAR])), [[math.log(4), math.log(2), math.log(1.5), -1.25]], rtol=1e-6)
    np.testing.assert_allclose(box_geometry(units([CAR])), [[math.log(12), math.log(2)]], rtol=1e-6)


def test_neighbours_overlap_as_seen_from_above() -> None:
    boxes = np.array([CAR, moved(x=22.0, z=5.0), moved(x=60.0), CAR], np.float32)
    label, score = np.array([0, 0, 1, 0]), np.array([0.9, 0.6, 0.8, 0.5])
    found = neighbours(PredictedBoxes(np.array([0, 0, 0, 1]), boxes, label, score))
    names = (*NEIGHBOUR_CONTEXT, *SCENE_CONTEXT)
    assert found.shape == (4, len(names))
    column = {name: found[:, place] for place, name in enumerate(names)}
    np.testing.assert_allclose(column["better_iou_same"], [0, 1 / 3, 0, 0], atol=1e-6)
    np.testing.assert_allclose(column["inside_better_same"], [0, 0.5, 0, 0], atol=1e-6)
    np.testing.assert_allclose(column["nearest"], [2, 2, 30, 30])  # at most 30
    assert column["n_kept"].tolist() == [3, 3, 3, 1]
    np.testing.assert_allclose(column["hidden"], [0, 1, 1, 0])
