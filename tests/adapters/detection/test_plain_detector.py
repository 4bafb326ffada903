"""Callables that return boxes: what is read, recorded and described, and what stays untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml_debugger.adapters import find_adapter
from ml_debugger.columns import DETECTION_CONTEXT, FRAME_CONTEXT
from ml_debugger.errors import CaptureError, InputError

IMAGES = [np.zeros((60, 80, 3), np.uint8), np.zeros((60, 90, 3), np.uint8), np.zeros((60, 70, 3), np.uint8)]


def boxes(n: int, *, features: int | None = 4) -> dict[str, Any]:
    """n boxes side by side, best last."""
    left = 20.0 * np.arange(n)
    found = {
        "boxes": np.stack([left, left, left + 10, left + 10], axis=1).astype(np.float32),
        "labels": np.arange(n) % 3,
        "scores": np.linspace(0.3, 0.9, n),
    }
    return found if features is None else found | {"features": np.ones((n, features)) * np.arange(n)[:, None]}


def adapter(output: Any, **settings: Any) -> Any:
    return find_adapter(lambda images: output, task="object_detection", **settings)


def test_a_batch_is_flat_in_the_order_of_the_output() -> None:
    output = [boxes(2), boxes(0), boxes(3)]
    raw, read = adapter(output).run(IMAGES, 3)
    assert raw is output
    assert read.input_index.tolist() == [0, 0, 2, 2, 2]
    assert read.label.tolist() == [0, 1, 0, 1, 2]
    np.testing.assert_allclose(read.score, [0.3, 0.9, 0.3, 0.6, 0.9])
    assert read.features[:, 0].tolist() == [0, 1, 0, 1, 2]
    assert read.unit is None
    assert read.logits is None
    assert read.boxes.dtype == np.float32
    assert read.context.shape == (5, len(DETECTION_CONTEXT))
    assert read.context[:, :2].tolist() == [[80, 60]] * 2 + [[70, 60]] * 3
    assert np.isnan(read.context[:, 2:]).all()
    assert read.frame_context.shape == (3, len(FRAME_CONTEXT))
    assert read.frame_context[:, -2].tolist() == [2, 0, 3]


def test_settings_choose_what_is_recorded_and_units_keep_their_place() -> None:
    output = [boxes(4), boxes(2)]
    raw, read = adapter(output, score_thresh=0.5, max_detections_per_image=2).run(IMAGES[:2], 2)
    assert raw is output
    assert len(output[0]["boxes"]) == 4
    assert read.input_index.tolist() == [0, 0, 1]
    assert read.unit.tolist() == [2, 3, 1]
    np.testing.assert_allclose(read.score, [0.7, 0.9, 0.9])
    assert read.features[:, 0].tolist() == [2, 3, 1]


def test_a_batch_without_boxes_keeps_the_width_of_features() -> None:
    outputs = iter([[boxes(0, features=None)], [boxes(2)], [boxes(0, features=None)], [boxes(1, features=None)]])
    one = find_adapter(lambda images: next(outputs), task="object_detection")
    assert one.architecture_hash is None
    assert one.run(IMAGES[:1], 1)[1].features is None
    before = one.architecture_hash
    assert one.run(IMAGES[:1], 1)[1].features.shape == (2, 4)
    assert one.run(IMAGES[:1], 1)[1].features.shape == (0, 4)
    assert np.isnan(one.run(IMAGES[:1], 1)[1].features).all()
    assert one.architecture_hash == before is not None
    assert one.weights_hash() is None


def test_no_image_at_all() -> None:
    _, read = adapter([]).run([], 0)
    assert read.n_inputs == len(read.label) == 0
    assert read.boxes.shape == (0, 4)
    assert read.frame_context.shape == (0, len(FRAME_CONTEXT))


def test_candidates_become_context() -> None:
    found = boxes(1) | {
        "candidates": {
            "boxes": np.array([[0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 50, 50]], np.float32),
            "scores": np.array([0.3, 0.2, 0.15]),
            "labels": np.array([0, 0, 1]),
        }
    }
    one = adapter([found, boxes(1)])
    _, read = one.run(IMAGES[:2], 2)
    frames = [dict(zip(FRAME_CONTEXT, row, strict=True)) for row in read.frame_context.tolist()]
    assert frames[0]["n_free_10"] == 1
    assert frames[0]["free_score_max"] == pytest.approx(0.15)
    assert np.isnan(frames[1]["free_score_max"])
    assert one.describe()["candidates"]


def test_what_was_found_is_described() -> None:
    one = adapter([boxes(2)], n_class=3, iou_thresh=0.5)
    assert one.describe()["n_features"] is None
    one.run(IMAGES[:1], 1)
    assert one.describe() == {
        "adapter": "detector_callable",
        "model": "adapter.<locals>.<lambda>",
        "architecture": None,
        "n_classes": 3,
        "n_features": 4,
        "logits": False,
        "candidates": False,
        "score_thresh": None,
        "iou_thresh": 0.5,
        "max_detections_per_image": None,
    }


def test_features_of_another_width_are_an_error() -> None:
    with pytest.raises(
        CaptureError, match=r"features: expected vectors of one width on every call, got widths \[4, 5\]"
    ):
        adapter([boxes(2), boxes(2, features=5)]).run(IMAGES[:2], 2)


def test_a_label_beyond_n_class_is_an_error() -> None:
    with pytest.raises(InputError, match=r"n_class: 2 classes have the labels 0\.\.1, but the model predicted 2"):
        adapter([boxes(3)], n_class=2).run(IMAGES[:1], 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_class": 0},
        {"n_class": True},
        {"n_class": 3.0},
        {"score_thresh": 1.5},
        {"score_thresh": "0.5"},
        {"score_thresh": float("nan")},
        {"iou_thresh": -0.1},
        {"iou_thresh": False},
        {"max_detections_per_image": 0},
    ],
    ids=str,
)
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(settings))}: expected None or"):
        adapter([], **settings)


def test_what_cannot_be_called_or_has_no_layers_is_refused() -> None:
    with pytest.raises(InputError, match="a callable that returns boxes, got int; pass a function"):
        find_adapter(3, task="object_detection")
    with pytest.raises(InputError, match="target_layers: a function has no layers"):
        find_adapter(lambda images: [], {"features": "layer4"}, "object_detection")
