"""Descriptors of predicted boxes: oriented, and silent about what a model does not show."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.analysis.boxes import PredictedBoxes
from ml_debugger.columns import BOX_CONTEXT, NEIGHBOUR_CONTEXT
from ml_debugger.tasks.detection_descriptors import (
    BOX_DESCRIPTORS,
    box_descriptors,
    box_geometry,
    neighbours,
    score_log_odds,
)
from ml_debugger.tasks.task import Units


def units(count: int = 2, **context: list[float]) -> Units:
    table = np.full((count, len(BOX_CONTEXT)), np.nan, dtype=np.float32)
    for name, values in context.items():
        table[:, BOX_CONTEXT.index(name)] = values
    return Units(
        np.zeros(count, np.int64),
        np.full(count, 0.5),
        np.zeros((count, 0), np.float32),
        np.zeros((count, 0), np.float32),
        np.tile(np.array([[10, 10, 30, 50]], np.float32), (count, 1)),
        table,
    )


def column(some: Units, name: str) -> np.ndarray:
    return box_descriptors(some)[:, BOX_DESCRIPTORS.index(name)]


@pytest.mark.parametrize(
    ("name", "context", "better", "worse"),
    [
        ("no_suppressed", "n_suppressed_same", 9, 0),
        ("suppressed_score_sum", "suppressed_score_sum", 3, 0.1),
        ("suppressed_score_max", "suppressed_score_max", 0.9, 0.1),
        ("suppressed_other", "suppressed_other_score_max", 0.1, 0.9),
        ("suppressed_other_to_score", "suppressed_other_score_max", 0.1, 0.9),
        ("n_suppressed_other", "n_suppressed_other", 0, 4),
        ("side_std", "side_std", 0.01, 0.4),
    ],
)
def test_what_candidates_say(name: str, context: str, better: float, worse: float) -> None:
    given = {"n_suppressed_same": [1, 1], context: [better, worse]}
    assert np.diff(column(units(**given), name))[0] > 0


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("n_kept", 1, 9),
        ("overlap_same", 0, 0.4),
        ("overlap_other", 0, 0.4),
        ("rank", 0, 5),
        ("score_to_best", 0, -0.4),
        ("better_iou_same", 0, 0.4),
        ("better_iou_other", 0, 0.4),
        ("inside_better_same", 0, 1),
        ("inside_better_other", 0, 1),
        ("around_better_same", 0, 1),
        ("around_better_other", 0, 1),
    ],
)
def test_what_neighbours_say(name: str, better: float, worse: float) -> None:
    assert np.diff(column(units(**{name: [better, worse]}), name))[0] > 0


def test_what_is_not_shown_is_zero() -> None:
    silent = units()
    table = box_descriptors(silent)
    assert np.isfinite(table).all()
    for name in ("suppressed_other", "suppressed_score_max", "side_std", "class_margin", "near_border"):
        assert (column(silent, name) == 0).all()
    bare = Units(*(getattr(silent, name) for name in ("label", "score", "features", "logits", "box")))
    np.testing.assert_array_equal(box_descriptors(bare), table)


def test_classes_near_each_other_are_worse() -> None:
    near = units()
    some = Units(near.label, near.score, near.features, np.array([[3, 0, 0], [3, 2.9, 0]], np.float32), near.box)
    assert np.diff(column(some, "class_margin"))[0] > 0
    assert np.diff(column(some, "class_entropy"))[0] > 0


def test_many_likely_classes_and_an_unlikely_object_are_worse() -> None:
    one, two = [-1, 3, -5], [-1, 3, 2]
    likely, unlikely = 0.9, 0.4
    some = units(3)
    logits = np.array([one, two, one], np.float32)
    of_class = 1 / (1 + np.exp(-3.0))
    score = np.array([likely, likely, unlikely]) * of_class
    some = Units(np.ones(3, np.int64), score, some.features, logits, some.box)
    mass, beside = column(some, "class_mass"), column(some, "beside_class")
    assert mass[1] > mass[0] == mass[2]
    assert beside.tolist() == pytest.approx([-np.log(9), -np.log(9), -np.log(2 / 3)], abs=1e-6)
    sigmoid_head = Units(some.label, np.full(3, of_class), some.features, logits, some.box)
    assert len(set(column(sigmoid_head, "beside_class"))) == 1  # nothing but the class makes the score


def test_geometry() -> None:
    some = units(image_width=[100, 1000], image_height=[100, 1000])
    size, shape = box_geometry(some).T
    assert size[0] > size[1]
    assert shape.tolist() == pytest.approx([np.log(0.5)] * 2)
    assert (column(some, "far_from_border") == -column(some, "near_border")).all()
    assert column(some, "far_from_border")[0] == pytest.approx(np.log1p(10 / np.sqrt(800)))


def test_the_baseline_is_the_score() -> None:
    some = units()
    assert score_log_odds(some).tolist() == [0, 0]
    sure = Units(some.label, np.array([0.0, 1.0]), some.features, some.logits, some.box)
    assert np.isfinite(score_log_odds(sure)).all()
    assert score_log_odds(sure)[0] > 0 > score_log_odds(sure)[1]


def test_neighbours_count_and_overlap_within_images() -> None:
    boxes = PredictedBoxes(
        np.array([0, 0, 0, 7]),
        np.array([[0, 0, 10, 10], [0, 0, 10, 5], [0, 5, 10, 10], [0, 0, 10, 10]], np.float32),
        np.array([1, 1, 2, 1]),
        np.array([0.5, 0.9, 0.7, 0.4]),
    )
    found = dict(zip(NEIGHBOUR_CONTEXT, neighbours(boxes).T.tolist(), strict=True))
    assert found["n_kept"] == [3, 3, 3, 1]
    assert found["n_kept_same"] == [2, 2, 1, 1]
    assert found["overlap_same"] == [0.5, 0.5, 0, 0]
    assert found["overlap_other"] == [0.5, 0, 0.5, 0]
    assert found["rank"] == [2, 0, 1, 0]
    assert found["better_iou_same"] == [0.5, 0, 0, 0]
    assert found["better_iou_other"] == [0.5, 0, 0, 0]
    assert found["inside_better_same"] == [0.5, 0, 0, 0]
    assert found["inside_better_other"] == [0.5, 0, 0, 0]
    assert found["around_better_same"] == [1, 0, 0, 0]
    assert found["around_better_other"] == [1, 0, 0, 0]
    assert found["image_score"] == pytest.approx([0.7, 0.7, 0.7, 0.4])
    assert found["score_to_best"] == pytest.approx([-0.4, 0, -0.2, 0])


def test_no_neighbours_of_no_boxes() -> None:
    nothing = PredictedBoxes(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    assert neighbours(nothing).shape == (0, len(NEIGHBOUR_CONTEXT))
