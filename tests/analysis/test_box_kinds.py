"""Boxes of images and of point clouds where one suppresses another: overlaps, pairs and spreads."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.analysis.box_kinds import BOXES_2D, BOXES_3D
from ml_debugger.analysis.boxes import PredictedBoxes
from ml_debugger.analysis.boxes_3d import bev_iou
from ml_debugger.analysis.frame_context import frame_context
from ml_debugger.analysis.suppressed import SUPPRESSED_3D, Candidates, suppressed
from ml_debugger.columns import DETECTION_3D_CONTEXT, FRAME_CONTEXT

CAR = (10.0, 2.0, -1.0, 4.0, 2.0, 1.5, 0.0)


def crowd(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and the frames they belong to."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0, 8, (n, 3)), rng.uniform(1, 4, (n, 3)), rng.uniform(-4, 4, (n, 1))], axis=1)
    boxes[0] = np.nan
    return boxes, rng.integers(0, 3, n)


@pytest.mark.parametrize("least", [0.0, 0.3])
def test_pairs_seen_from_above_are_those_of_all_pairs(least: float) -> None:
    (first, one), (second, other) = crowd(30), crowd(25, seed=1)
    pairs = BOXES_3D.close_pairs(one, first, other, second, least)
    rows, columns = (part.ravel() for part in np.indices((30, 25)))
    overlap = bev_iou(first[rows], second[columns])
    expected = (one[rows] == other[columns]) & (overlap > 0) & (overlap >= least)
    assert list(zip(pairs.first, pairs.second, strict=True)) == list(
        zip(rows[expected], columns[expected], strict=True)
    )
    np.testing.assert_allclose(pairs.iou, overlap[expected])
    assert 10 < len(pairs.first) < 750
    matrix = BOXES_3D.iou_matrix(first, second)
    np.testing.assert_allclose(matrix, overlap.reshape(30, 25))


def test_no_boxes() -> None:
    boxes, frames = np.empty((0, 7)), np.empty(0, dtype=np.int64)
    assert BOXES_3D.iou_matrix(boxes, crowd(3)[0]).shape == (0, 3)
    assert len(BOXES_3D.close_pairs(frames, boxes, *crowd(3)[::-1], 0.5).first) == 0
    kept = PredictedBoxes(frames, boxes, frames, np.empty(0))
    assert suppressed(kept, Candidates(frames, boxes, frames, np.empty(0)), 0.1, BOXES_3D).shape == (0, 11)


def rows(*boxes: tuple[tuple[float, ...], int, float]) -> PredictedBoxes:
    box, label, score = zip(*boxes, strict=True)
    return PredictedBoxes(np.zeros(len(box), np.int64), np.array(box), np.array(label), np.array(score))


def moved(**changes: float) -> tuple[float, ...]:
    return tuple(
        changes.get(name, value) for name, value in zip(("x", "y", "z", "dx", "dy", "dz", "yaw"), CAR, strict=True)
    )


def test_columns_are_those_after_place_and_points() -> None:
    assert DETECTION_3D_CONTEXT[4:] == SUPPRESSED_3D
    assert len(DETECTION_3D_CONTEXT) == 15


def test_suppressed_boxes_by_hand() -> None:
    found = rows(
        (CAR, 1, 0.9),  # the kept box itself
        (moved(dx=5.0, yaw=np.pi), 1, 0.5),  # turned round: the same place
        (moved(dx=3.0, z=5.0), 1, 0.3),  # above: seen from above it is there
        (moved(yaw=0.4), 2, 0.4),
        (moved(x=14.0), 1, 0.6),  # beside it
    )
    candidates = Candidates(found.input_index, found.box, found.label, found.score)
    row = dict(zip(SUPPRESSED_3D, suppressed(rows((CAR, 1, 0.9)), candidates, 0.1, BOXES_3D)[0].tolist(), strict=True))
    assert (row["n_suppressed_same"], row["n_suppressed_other"]) == (2, 1)
    assert (row["suppressed_score_max"], row["suppressed_other_score_max"]) == pytest.approx((0.5, 0.4))
    assert row["suppressed_iou_mean"] == pytest.approx((4 / 5 + 3 / 4) / 2)
    assert row["size_std"] == pytest.approx(1.0 / 3 / 12 ** (1 / 3))  # 5 and 3 m long, equally wide and high
    assert row["yaw_std"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("turns", "expected"), [((0.2, -0.2), 0.2), ((0.2, np.pi - 0.2), 0.2), ((1.0, 1.0), 0.0)])
def test_spread_of_yaw_does_not_know_front_from_back(turns: tuple[float, ...], expected: float) -> None:
    found = rows(*((moved(yaw=turn), 1, 0.5) for turn in turns))
    candidates = Candidates(found.input_index, found.box, found.label, found.score)
    row = suppressed(rows((CAR, 1, 0.9)), candidates, 0.1, BOXES_3D)[0]
    assert row[SUPPRESSED_3D.index("yaw_std")] == pytest.approx(expected, abs=1e-6)


def test_free_candidates_of_a_frame() -> None:
    kept = rows((CAR, 1, 0.9))
    candidates = rows((moved(x=12.5), 1, 0.6), (moved(x=30.0), 1, 0.25), (moved(x=30.5, z=4.0), 2, 0.2))
    row = dict(zip(FRAME_CONTEXT, frame_context(kept, candidates, np.array([True]), 0.3, BOXES_3D)[0], strict=True))
    assert row["n_free_20"] == 1  # the first shares a fifth with the kept box, the last stands on the second
    assert row["free_score_max"] == pytest.approx(0.25)
    assert BOXES_3D.same_object < BOXES_2D.same_object
