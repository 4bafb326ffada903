"""Callables that return boxes of point clouds: what is read, recorded and described, and what stays untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ml_debugger.adapters import find_adapter
from ml_debugger.adapters.detection.boxes import ImageBoxes
from ml_debugger.adapters.detection.kinds import FRAMES
from ml_debugger.adapters.detection.thinning import kept_positions
from ml_debugger.analysis.boxes_3d import bev_iou
from ml_debugger.columns import DETECTION_3D_CONTEXT, FRAME_CONTEXT
from ml_debugger.errors import CaptureError, InputError
from tests.helpers.mmdet3d_standins import LiDARInstance3DBoxes

AT = {name: position for position, name in enumerate(DETECTION_3D_CONTEXT)}
RANGE = (0, -40, -3, 70.4, 40, 1)


def boxes(n: int, **more: Any) -> dict[str, Any]:
    """n boxes along x, best last, as OpenPCDet's dict."""
    rows = np.tile(np.array([0, 0, 0, 4, 2, 1.5, 0], np.float32), (n, 1))
    rows[:, 0] = 10.0 * np.arange(n) + 5
    scores = np.linspace(0.3, 0.9, n)
    return {"pred_boxes": rows, "pred_labels": np.arange(n) % 3 + 1, "pred_scores": scores} | more


def adapter(output: Any, **settings: Any) -> Any:
    return find_adapter(lambda frames: output, task="object_detection_3d", **settings)


def test_a_batch_is_flat_in_the_order_of_the_output() -> None:
    output = [boxes(2), boxes(0), boxes(3)]
    points = np.zeros((4, 3), np.float32)
    raw, read = adapter(output, pc_range=RANGE).run([points, points[:0], None], 3)
    assert raw is output
    assert read.input_index.tolist() == [0, 0, 2, 2, 2]
    assert read.label.tolist() == [1, 2, 1, 2, 3]
    assert (read.boxes.dtype, read.boxes.shape) == (np.float32, (5, 7))
    assert read.unit is read.features is read.logits is None
    assert read.context.shape == (5, len(DETECTION_3D_CONTEXT))
    assert np.isnan(read.context[:, : AT["border_distance"]]).all()  # of one frame it could not be told
    np.testing.assert_allclose(read.context[:, AT["border_distance"]], [3, 13, 3, 13, 23])
    assert np.isnan(read.context[:, AT["border_distance"] + 1 :]).all()
    assert read.frame_context.shape == (3, len(FRAME_CONTEXT))


def test_points_inside_are_counted_frame_by_frame() -> None:
    points = np.array([[5, 0, 0, 0.1], [5, 0.5, 0.3, 0.1], [15, 0, 0, 0.1]], np.float32)
    given: dict[str, Any] = {
        "list": [points, points[:1]],
        "dict": {"points": [points, torch.from_numpy(points[:1])]},
        "batch": {
            "points": np.concatenate([np.pad(points, ((0, 0), (1, 0))), [[1, 5, 0, 0, 0.1]]]).astype(np.float32),
            "batch_size": 2,
        },
    }
    for form, batch in given.items():
        _, read = adapter([boxes(2), boxes(2)]).run(batch, 2)
        assert read.context[:, AT["n_points"]].tolist() == [2, 1, 1, 0], form
        np.testing.assert_allclose(read.context[0, 1:3], [0.3 / 1.5, 0.25 / 2], rtol=1e-5)
        assert np.isnan(read.context[:, AT["border_distance"]]).all()


def test_what_the_function_does_to_its_input_comes_too_late() -> None:
    def detect(frames: list[np.ndarray]) -> Any:
        frames[0] -= 1000
        frames.clear()
        return boxes(1)

    frames = [np.array([[5, 0, 0.0]])]
    _, read = find_adapter(detect, task="object_detection_3d").run(frames, 1)
    assert read.context[0, AT["n_points"]] == 1


def test_another_number_of_frames_than_ids_is_an_error() -> None:
    with pytest.raises(InputError, match="3 ids were given, but the model's input holds 2 frames"):
        adapter([boxes(1)] * 3).run([np.zeros((1, 3))] * 2, 3)
    with pytest.raises(InputError, match="2 ids were given, but the model returned boxes of 3 frames"):
        adapter([boxes(1)] * 3).run("frames", 2)


def test_settings_choose_what_is_recorded_and_units_keep_their_place() -> None:
    output = [boxes(4), boxes(2)]
    raw, read = adapter(output, score_thresh=0.5, max_detections_per_frame=2).run(None, 2)
    assert len(raw[0]["pred_boxes"]) == 4
    assert read.input_index.tolist() == [0, 0, 1]
    assert read.unit.tolist() == [2, 3, 1]


@pytest.mark.parametrize("seed", range(3))
def test_suppression_seen_from_above_is_that_of_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [rng.uniform(0, 12, (50, 3)), rng.uniform(1, 5, (50, 3)), rng.uniform(-4, 4, (50, 1))], axis=1
    )
    frame = ImageBoxes(rows.astype(np.float32), rng.integers(0, 3, 50), rng.uniform(size=50))
    stays: list[int] = []
    for box in np.argsort(-frame.scores):
        rivals = [one for one in stays if frame.labels[one] == frame.labels[box]]
        if all(bev_iou(frame.boxes[[box]], frame.boxes[[one]])[0] <= 0.2 for one in rivals):
            stays.append(int(box))
    assert kept_positions(frame, {"iou_thresh": 0.2}, FRAMES).tolist() == sorted(stays)
    few = kept_positions(frame, {"iou_thresh": 0.2, "max_detections_per_frame": 4}, FRAMES)
    assert few.tolist() == sorted(stays[:4])
    assert 4 < len(stays) < 50


def test_candidates_features_and_logits_beside_the_boxes() -> None:
    found = boxes(1)
    near = np.repeat(found["pred_boxes"], 3, axis=0) + np.array([[0.2], [0.4], [30.0]]) * np.eye(7)[0]
    scores = np.array([[0.4, 0.0, 0.02], [0.2, 0.1, 0.0], [0.0, 0.15, 0.0]])  # of the classes 1, 2 and 3
    found |= {"features": np.ones((1, 4)), "logits": np.array([[2.0, -1.0, -2.0]])}
    found |= {"candidates": {"boxes": near, "scores": scores}}
    one = adapter([found, boxes(1)])
    _, read = one.run(None, 2)
    assert read.features.shape == (2, 4)
    assert read.logits[0].tolist() == [-50, 2, -1, -2]
    assert np.isnan(read.logits[1]).all()
    row = read.context[0]
    assert row[AT["n_suppressed_same"]] == 2
    assert row[AT["suppressed_score_max"]] == pytest.approx(0.4)
    assert row[AT["n_suppressed_other"]] == 2
    assert row[AT["size_std"]] == pytest.approx(0, abs=1e-6)
    assert np.isnan(read.context[1, AT["n_suppressed_same"] :]).all()
    assert read.frame_context[0, FRAME_CONTEXT.index("free_score_max")] == pytest.approx(0.15)
    assert np.isnan(read.frame_context[1, FRAME_CONTEXT.index("free_score_max")])
    assert one.describe()["candidates"]


def test_candidates_written_as_mmdetection3d_does() -> None:
    rows = boxes(1)["pred_boxes"] - np.eye(7, dtype=np.float32)[2] * 0.75
    found = {"bboxes_3d": LiDARInstance3DBoxes(rows), "labels_3d": [0], "scores_3d": [0.8]}
    found["candidates"] = {"boxes": LiDARInstance3DBoxes(rows), "labels": [0], "scores": [0.4]}
    _, read = adapter(found).run(None, 1)
    assert read.context[0, AT["n_suppressed_same"]] == 1
    assert read.context[0, AT["suppressed_iou_mean"]] == pytest.approx(1)


def test_what_was_found_is_described() -> None:
    one = adapter([boxes(2, features=np.ones((2, 4)))], n_class=3, iou_thresh=0.5, pc_range=RANGE)
    assert one.architecture_hash is None
    one.run([np.zeros((1, 3))], 1)
    assert one.describe() == {
        "adapter": "detector_3d_callable",
        "model": "adapter.<locals>.<lambda>",
        "architecture": None,
        "n_classes": 3,
        "n_features": 4,
        "logits": False,
        "candidates": False,
        "score_thresh": None,
        "iou_thresh": 0.5,
        "max_detections_per_frame": None,
        "pc_range": RANGE,
    }
    flat = find_adapter(lambda images: [{"boxes": [], "labels": [], "scores": []}], task="object_detection")
    flat.run(None, 1)
    assert one.architecture_hash != flat.architecture_hash is not None
    assert one.weights_hash() is None


def test_no_frame_and_no_box() -> None:
    _, read = adapter([]).run([], 0)
    assert (read.n_inputs, len(read.label), read.boxes.shape) == (0, 0, (0, 7))
    _, read = adapter([boxes(0, candidates={"boxes": [], "scores": [], "labels": []})]).run([np.zeros((0, 4))], 1)
    assert read.context.shape == (0, len(DETECTION_3D_CONTEXT))
    assert read.frame_context[0, FRAME_CONTEXT.index("n_free_05")] == 0


def test_a_box_that_is_no_box_is_recorded_without_a_prediction() -> None:
    found = boxes(2)
    found["pred_boxes"][0, 3] = np.nan
    _, read = adapter([found], pc_range=RANGE, iou_thresh=0.1).run([np.array([[15, 0, 0.0]])], 1)
    assert read.label.tolist() == [-1, 2]
    assert read.context[1, AT["n_points"]] == 1
    assert read.context[0, AT["n_points"]] == 0
    assert np.isnan(read.context[0, AT["border_distance"]])


@pytest.mark.parametrize(("first", "last"), [(0, 2), (1, 3)])
def test_labels_begin_at_0_or_1(first: int, last: int) -> None:
    output = {"boxes": boxes(2)["pred_boxes"], "labels": [first, last], "scores": [0.5, 0.4]}
    assert adapter([output], n_class=3).run(None, 1)[1].label.tolist() == [first, last]
    with pytest.raises(
        InputError, match=r"2 classes have the labels 0\.\.1 or 1\.\.2, but the model predicted 3; give"
    ):
        adapter([boxes(3)], n_class=2).run(None, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_class": 0},
        {"score_thresh": 1.5},
        {"score_thresh": float("nan")},
        {"iou_thresh": False},
        {"max_detections_per_frame": 0},
        {"max_detections_per_frame": 2.0},
        {"pc_range": (0, -40, 70, 40)},
        {"pc_range": (0, -40, -3, 0, 40, 1)},
        {"pc_range": (0, -40, -3, float("inf"), 40, 1)},
        {"pc_range": "everywhere"},
        {"pc_range": 70},
    ],
    ids=str,
)
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(settings))}: expected None or"):
        adapter([], **settings)


@pytest.mark.parametrize("value", [list(RANGE), np.array(RANGE), torch.tensor(RANGE)], ids=["list", "array", "tensor"])
def test_a_range_in_any_form(value: Any) -> None:
    assert adapter([], pc_range=value).describe()["pc_range"] == pytest.approx(RANGE)


def test_what_cannot_be_called_or_has_no_layers_is_refused() -> None:
    with pytest.raises(InputError, match="a callable that returns boxes, got int; pass a function of the frames"):
        find_adapter(3, task="object_detection_3d")
    with pytest.raises(InputError, match="target_layers: a function has no layers"):
        find_adapter(lambda frames: [], {"features": "layer4"}, "object_detection_3d")
    with pytest.raises(CaptureError, match="an OpenPCDet dict of pred_boxes"):
        adapter(3).run(None, 1)
