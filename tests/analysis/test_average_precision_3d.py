"""Mean average precision in 3D, against slow references and KITTI's and nuScenes's own formulas."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from ml_debugger.analysis.average_precision_3d import DISTANCES, NAMES_3D, average_precision_3d
from ml_debugger.analysis.box_kinds import BOXES_2D, BOXES_3D
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.boxes_3d import bev_iou, iou_3d
from ml_debugger.analysis.match_settings import MatchSettings
from ml_debugger.analysis.matching import find_right, match

CAR = (4.0, 1.8, 1.5)


def cars(places: Iterable[tuple[float, float]]) -> np.ndarray:
    rows = [[x, y, -0.8, *CAR, 0.0] for x, y in places]
    return np.array(rows, dtype=float).reshape(-1, 7)


def truth(boxes: np.ndarray, frame: list[int], label: list[int] | None = None, ignored: object = None) -> TrueBoxes:
    count = len(boxes)
    flags = np.zeros(count, bool) if ignored is None else np.array(ignored, bool)
    return TrueBoxes(np.array(frame, np.int64), boxes, np.array(label or [0] * count, np.int64), flags)


def predicted(
    boxes: np.ndarray, frame: list[int], score: list[float], label: list[int] | None = None
) -> PredictedBoxes:
    return PredictedBoxes(
        np.array(frame, np.int64), boxes, np.array(label or [0] * len(boxes), np.int64), np.array(score, float)
    )


def random_scenes(seed: int, n_frames: int = 12) -> tuple[PredictedBoxes, TrueBoxes]:
    """Boxes of three classes: found, displaced, of another class, doubled, missed, and false ones; some ignored."""
    random = np.random.default_rng(seed)
    count = 5 * n_frames
    box = np.concatenate(
        [
            random.uniform(-25, 25, (count, 2)),
            random.normal(-0.8, 0.2, (count, 1)),
            random.normal(CAR, 0.2, (count, 3)),
            random.uniform(-3, 3, (count, 1)),
        ],
        axis=1,
    )
    frame, label = np.repeat(np.arange(n_frames), 5), random.integers(0, 3, count)
    ignored = random.random(count) < 0.1
    chosen = random.integers(0, count, 2 * count)
    moved = box[chosen] + random.normal(0, 1, (len(chosen), 7)) * random.choice([0.05, 0.3, 1.0], (len(chosen), 1))
    moved[:, 3:6] = np.abs(moved[:, 3:6]) + 0.1
    other = np.where(random.random(len(chosen)) < 0.8, label[chosen], random.integers(0, 4, len(chosen)))
    score = random.random(len(chosen)).round(2)
    return PredictedBoxes(frame[chosen], moved, other, score), TrueBoxes(frame, box, label, ignored)


def slow_right(predictions: PredictedBoxes, truths: TrueBoxes, label: int, fits: object, least: float) -> list:
    """``(score, right)`` of the predictions of a class that count, best first: one at a time, each takes what fits."""
    free = set(np.flatnonzero((truths.label == label) & ~truths.ignored).tolist())
    regions = np.flatnonzero(truths.ignored & (truths.label == label))
    rows = []
    for one in np.argsort(-predictions.score, kind="stable"):
        if predictions.label[one] != label:
            continue
        near = [t for t in sorted(free, reverse=True) if truths.input_index[t] == predictions.input_index[one]]
        fit = {t: fits(predictions.box[one], truths.box[t]) for t in near}
        best = max(fit, key=lambda t: fit[t], default=None)
        if best is not None and fit[best] >= least:
            free.discard(best)
            rows.append((float(predictions.score[one]), True))
            continue
        theirs = [t for t in regions if truths.input_index[t] == predictions.input_index[one]]
        if not any(share_inside(predictions.box[one], truths.box[t], fits is by_volume) >= 0.5 for t in theirs):
            rows.append((float(predictions.score[one]), False))
    return rows


def share_inside(box: np.ndarray, region: np.ndarray, solid: bool) -> float:
    iou = by_volume(box, region) if solid else from_above(box, region)
    sides = slice(3, 6 if solid else 5)
    own, other = box[sides].prod(), region[sides].prod()
    return float(iou * (own + other) / (1 + iou) / own)


def slow_kitti(rows: list, total: int) -> float:
    """Precision at 40 recalls, each the greatest at such a recall or beyond."""
    points, right = [], 0
    for number, (_, is_right) in enumerate(rows, start=1):
        right += is_right
        points.append((right / total, right / number))
    return sum(max((p for r, p in points if r >= k / 40 - 1e-9), default=0.0) for k in range(1, 41)) / 40


def slow_nuscenes(rows: list, total: int) -> float:
    """As nuScenes's evaluation puts it: 101 recalls, those up to .1 left out, and precision above .1."""
    if not any(is_right for _, is_right in rows):
        return 0.0
    right = np.cumsum([is_right for _, is_right in rows])
    precision, recall = right / np.arange(1, len(rows) + 1), right / total
    at = np.interp(np.linspace(0, 1, 101), recall, precision, right=0)[11:] - 0.1
    return float(np.mean(np.clip(at, 0, None)) / 0.9)


def by_volume(one: np.ndarray, other: np.ndarray) -> float:
    return float(iou_3d(one[None], other[None])[0])


def from_above(one: np.ndarray, other: np.ndarray) -> float:
    return float(bev_iou(one[None], other[None])[0])


@pytest.mark.parametrize("seed", range(4))
def test_means_are_those_of_slow_references(seed: int) -> None:
    predictions, truths = random_scenes(seed)
    found = average_precision_3d(predictions, truths, np.arange(12))
    totals = {label: int(((truths.label == label) & ~truths.ignored).sum()) for label in range(3)}
    for name, fits in (("map", from_above), ("map_3d", by_volume)):
        expected = [slow_kitti(slow_right(predictions, truths, k, fits, 0.5), n) for k, n in totals.items()]
        assert found[name] == pytest.approx(np.mean(expected), abs=1e-9)
    assert 0.1 < found["map_3d"] < found["map"] < 0.9


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_nuscenes_own(seed: int) -> None:
    predictions, truths = random_scenes(seed)
    whole = TrueBoxes(truths.input_index, truths.box, truths.label, np.zeros(len(truths), bool))
    expected = []
    for metres in DISTANCES:
        fits = lambda one, other: -float(np.hypot(*(one[:2] - other[:2])))  # noqa: E731 - a line says it
        for label in range(3):
            rows = slow_right(predictions, whole, label, fits, -metres)
            expected.append(slow_nuscenes(rows, int((whole.label == label).sum())))
    found = average_precision_3d(predictions, whole, np.arange(12))
    assert found["map_distance"] == pytest.approx(np.mean(expected), abs=1e-9)


def test_a_detector_without_errors_has_one_and_one_that_finds_nothing_zero() -> None:
    truths = truth(cars([(5, 0), (9, 4), (20, 0)]), [0, 0, 2])
    right = predicted(truths.box, [0, 0, 2], [0.9, 0.8, 0.7])
    assert [average_precision_3d(right, truths, np.arange(3))[name] for name in NAMES_3D] == [1.0] * 3
    nothing = predicted(cars([]), [], [])
    assert [average_precision_3d(nothing, truths, np.arange(3))[name] for name in NAMES_3D] == [0.0] * 3


@pytest.mark.parametrize("ignored", [[True], []])
def test_nothing_is_defined_without_an_object(ignored: list[bool]) -> None:
    truths = truth(cars([(5, 0)] * len(ignored)), [0] * len(ignored), ignored=ignored)
    found = average_precision_3d(predicted(cars([(5, 0)]), [0], [0.9]), truths, np.arange(2), draws=40)
    assert found == {f"{name}{end}": None for name in NAMES_3D for end in ("", "_low", "_high")}


def test_boxes_in_empty_frames_are_false_and_frames_not_annotated_do_not_count() -> None:
    truths = truth(cars([(5, 0)]), [0])
    both = predicted(cars([(5, 0), (5, 0)]), [0, 1], [0.8, 0.9])
    assert average_precision_3d(both, truths, np.array([0, 1]))["map"] == pytest.approx(0.5)
    assert average_precision_3d(both, truths, np.array([0]))["map"] == 1.0


def test_classes_without_an_object_and_broken_boxes_are_left_out() -> None:
    truths = truth(cars([(5, 0), (9, 9)]), [0, 0], [0, -1], [False, True])
    boxes = cars([(5, 0), (5, 0), (30, 0), (9, 9)])
    boxes[2, 6] = np.nan
    found = average_precision_3d(predicted(boxes, [0] * 4, [0.5, 0.9, 0.9, 0.9], [0, 7, 0, 0]), truths, np.array([0]))
    assert found["map"] == 1.0


def test_map_follows_the_matching_of_the_evaluation() -> None:
    truths = truth(cars([(5, 0), (20, 0)]), [0, 0], [0, 1])
    moved = predicted(cars([(5.8, 0), (20.8, 0)]), [0, 0], [0.9, 0.8], [0, 1])  # overlaps of two thirds
    assert average_precision_3d(moved, truths, np.array([0]))["map"] == 1.0
    strict = MatchSettings(foreground_iou_by_class={0: 0.7})
    found = average_precision_3d(moved, truths, np.array([0]), strict)
    assert (found["map"], found["map_3d"]) == (0.5, 0.5)
    near = MatchSettings(measure="distance", centre_distance=0.5)
    assert average_precision_3d(moved, truths, np.array([0]), near)["map"] == 0.0
    high = predicted(moved.box + np.array([0, 0, 1.4, 0, 0, 0, 0]), [0, 0], [0.9, 0.8], [0, 1])
    found = average_precision_3d(high, truths, np.array([0]))
    assert (found["map"], found["map_3d"]) == (1.0, 0.0)


def test_intervals_are_wider_with_fewer_frames_and_none_with_few_draws() -> None:
    def width(n_frames: int) -> float:
        predictions, truths = random_scenes(0, n_frames)
        found = average_precision_3d(predictions, truths, np.arange(n_frames), draws=40)
        for name in NAMES_3D:
            assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]
        return found["map_high"] - found["map_low"]

    assert width(5) > 1.5 * width(60) > 0
    predictions, truths = random_scenes(0)
    found = average_precision_3d(predictions, truths, np.arange(12), draws=9)
    assert found["map_low"] is None is found["map_distance_high"]
    again = [average_precision_3d(predictions, truths, np.arange(12), draws=20, seed=3) for _ in range(2)]
    assert again[0] == again[1] != average_precision_3d(predictions, truths, np.arange(12), draws=20, seed=4)


def test_a_draw_without_an_object_has_no_part_in_the_interval() -> None:
    truths = truth(cars([(5, 0)]), [0])
    both = predicted(cars([(5, 0), (9, 0)]), [0, 1], [0.8, 0.9])
    found = average_precision_3d(both, truths, np.arange(2), draws=40)
    assert 0 <= found["map_low"] < found["map"] < found["map_high"] <= 1


@pytest.mark.parametrize("measure", ["iou_bev", "iou_3d", "distance"])
@pytest.mark.parametrize("seed", range(3))
def test_right_boxes_are_those_of_the_whole_matching(seed: int, measure: str) -> None:
    predictions, truths = random_scenes(seed)
    settings = MatchSettings(measure=measure)
    right, ignored = find_right(predictions, truths, settings, BOXES_3D)
    whole = match(predictions, truths, settings, BOXES_3D)
    assert (right == ((whole.code == "A") & ~whole.is_error)).all()
    assert (ignored == whole.ignored).all()
    assert 0 < right.sum() < len(right)


def test_right_boxes_of_images_too() -> None:
    predictions = PredictedBoxes(
        np.zeros(3, np.int64),
        np.array([[0, 0, 10, 10], [0, 0, 10, 11], [50, 50, 55, 55]], float),
        np.zeros(3, np.int64),
        np.array([0.9, 0.8, 0.7]),
    )
    truths = TrueBoxes(
        np.zeros(2, np.int64),
        np.array([[0, 0, 10, 10], [48, 48, 60, 60]], float),
        np.zeros(2, np.int64),
        np.array([False, True]),
    )
    right, ignored = find_right(predictions, truths, kind=BOXES_2D)
    assert right.tolist() == [True, False, False]
    assert ignored.tolist() == [False, False, True]
