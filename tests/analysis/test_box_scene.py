"""What the other boxes of a frame say about each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ml_debugger.analysis.box_scene import FARTHEST, scene_context
from ml_debugger.analysis.boxes import PredictedBoxes
from ml_debugger.columns import SCENE_CONTEXT


def scene(boxes: list[list[float]], frames: list[int] | None = None, scores: list[float] | None = None) -> np.ndarray:
    count = len(boxes)
    table = np.array(boxes, dtype=np.float32).reshape(-1, 7)
    index = np.zeros(count, np.int64) if frames is None else np.array(frames)
    return scene_context(PredictedBoxes(index, table, np.zeros(count, np.int64), np.array(scores or [0.5] * count)))


def told(row: np.ndarray, name: str) -> float:
    return float(row[SCENE_CONTEXT.index(name)])


def car(x: float, y: float, yaw: float = 0.0, z: float = 0.0) -> list[float]:
    return [x, y, z, 4.0, 2.0, 1.5, yaw]


def test_nothing_and_alone() -> None:
    assert scene([]).shape == (0, len(SCENE_CONTEXT))
    np.testing.assert_array_equal(scene([car(10, 0)]), [[0, 0, 0, FARTHEST]])


def test_what_is_behind_another_box_is_hidden() -> None:
    near, far, beside = scene([car(10, 0), car(30, 0), car(30, 10)])
    assert told(far, "hidden") == 1.0
    assert told(near, "hidden") == told(beside, "hidden") == 0.0


def test_the_hidden_share_is_that_of_the_angle() -> None:
    """Thin boxes across the line of sight: one covers the left half of the other, as a ruler would say."""
    wide, narrow = [20, 0, 0, 0.01, 4.0, 1.5, 0], [10, 0.5, 0, 0.01, 1.0, 1.5, 0]
    found, _ = scene([wide, narrow])
    whole = 2 * math.atan(2 / 19.995)
    covered = min(math.atan(1 / 9.995), math.atan(2 / 19.995)) - 0.0
    assert told(found, "hidden") == pytest.approx(covered / whole, abs=1e-3)


def test_the_line_of_sight_behind_the_sensor_has_no_seam() -> None:
    ahead, behind = (scene([car(side * 10, 0.3), car(side * 30, -0.3)])[1] for side in (1, -1))
    assert told(ahead, "hidden") == told(behind, "hidden") == 1.0


def test_turned_tells_axes_apart_not_front_from_back() -> None:
    assert told(scene([car(10, 0), car(20, 5, math.pi)])[0], "turned") == pytest.approx(0, abs=1e-6)
    assert told(scene([car(10, 0), car(20, 5, math.pi / 2)])[0], "turned") == pytest.approx(1)


def test_others_count_by_score_and_nearness() -> None:
    """Two others as far away: the one with three times the score counts three times."""
    found = scene([car(20, 0), car(20, 8, z=1.0), car(20, -8, z=2.0)], scores=[0.5, 0.6, 0.2])[0]
    assert told(found, "raised") == pytest.approx(-(0.6 * 1 + 0.2 * 2) / 0.8, abs=1e-6)
    near, far = 1 / 1.5, 1 / 3.0
    found = scene([car(20, 0), car(20, 5, z=1.0), car(20, -20, z=2.0)])[0]
    assert told(found, "raised") == pytest.approx(-(near * 1 + far * 2) / (near + far), abs=1e-6)
    assert told(found, "nearest") == 5.0


def test_frames_do_not_mix_whatever_the_order() -> None:
    boxes = [car(10, 0), car(12, 9, 1.0), car(30, 0, 0.2, 0.4), car(31, 2, 1.5)]
    together = scene(boxes, [0, 1, 0, 1])
    for frame in (0, 1):
        alone = scene([box for place, box in enumerate(boxes) if place % 2 == frame])
        np.testing.assert_array_equal(together[frame::2], alone)


@pytest.mark.parametrize("angle", [0.7, 2.0, math.pi, -2.5])
def test_turning_the_whole_frame_changes_nothing(angle: float) -> None:
    random = np.random.default_rng(0)
    boxes = np.concatenate(
        [random.uniform(-40, 40, (12, 2)), random.normal(size=(12, 1)), random.uniform(1, 4, (12, 3))], axis=1
    )
    boxes = np.concatenate([boxes, random.uniform(-3, 3, (12, 1))], axis=1)
    turned = boxes.copy()
    cos, sin = math.cos(angle), math.sin(angle)
    turned[:, :2] = boxes[:, :2] @ np.array([[cos, sin], [-sin, cos]])
    turned[:, 6] += angle
    np.testing.assert_allclose(scene(boxes.tolist()), scene(turned.tolist()), atol=2e-5)


@pytest.mark.parametrize("broken", [[math.nan] * 7, [10, 0, 0, 0, 2, 1, 0], [10, 0, 0, math.inf, 2, 1, 0]])
def test_what_covers_nothing_says_nothing(broken: list[float]) -> None:
    boxes = [car(20, 0), car(25, 1, 0.5)]
    with_broken = scene([*boxes, broken])
    np.testing.assert_array_equal(with_broken[:2], scene(boxes))
    np.testing.assert_array_equal(with_broken[2], [0, 0, 0, FARTHEST])
    without_score = scene([*boxes, car(10, 0)], scores=[0.5, 0.5, math.nan])
    np.testing.assert_array_equal(without_score[:2], scene(boxes))


def test_a_box_around_the_sensor_is_finite() -> None:
    assert np.isfinite(scene([car(0, 0), car(3, 0), car(0.5, 0.2)])).all()
