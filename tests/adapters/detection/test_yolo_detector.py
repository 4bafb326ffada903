"""YOLO objects: a stand-in that offers what ultralytics' offer, and the real ones where they are installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ml_debugger.adapters import find_adapter
from ml_debugger.columns import DETECTION_CONTEXT, FRAME_CONTEXT
from ml_debugger.errors import CaptureError, InputError
from ml_debugger.types import ModelOutput
from tests.helpers.tiny_yolo import N_CLASS, TinyYolo, photos


def adapt(model: Any, **settings: Any) -> Any:
    return find_adapter(model, task="object_detection", **settings)


def check(output: Any, read: ModelOutput, n_class: int) -> None:
    """What was read is what the results hold, and logits are those of the scores."""
    np.testing.assert_array_equal(read.boxes, torch.cat([one.boxes.xyxy for one in output]).numpy())
    np.testing.assert_array_equal(read.label, torch.cat([one.boxes.cls for one in output]).numpy())
    assert len(read.label) > 5
    own = read.logits[np.arange(len(read.label)), read.label].astype(np.float64)
    np.testing.assert_allclose(1 / (1 + np.exp(-own)), read.score, atol=1e-4)
    assert read.logits.shape[1] == n_class
    assert np.isfinite(read.features).all()
    context = dict(zip(DETECTION_CONTEXT, read.context.T, strict=True))
    sizes = np.array([one.orig_shape[::-1] for one in output])[read.input_index]
    np.testing.assert_array_equal(np.stack([context["image_width"], context["image_height"]], 1), sizes)
    assert np.isfinite(context["n_suppressed_same"]).all()
    frames = dict(zip(FRAME_CONTEXT, read.frame_context.T, strict=True))
    np.testing.assert_array_equal(frames["n_kept"], [len(one.boxes.cls) for one in output])
    assert np.isfinite(frames["free_score_sum"]).all()


@pytest.mark.parametrize("end2end", [False, True])
@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_boxes_logits_features_and_candidates(end2end: bool, chunk: int | None) -> None:
    model = TinyYolo(end2end, chunk)
    output, read = adapt(model).run(photos(), 3)
    check(output, read, N_CLASS)
    again = model.predict(photos())
    assert all(torch.equal(one.boxes.xyxy, other.boxes.xyxy) for one, other in zip(output, again, strict=True))


def test_features_are_pooled_where_the_box_is() -> None:
    model = TinyYolo()
    with torch.no_grad():
        head = model.model.model[-1]
        _, read = adapt(model).run(photos(), 3)
        # The map is constant where the image is: then so are the features.
        for layer in (*model.model.model[:2],):
            layer.weight.zero_()
        model.predictor = None
        head.cls.bias.normal_()
        _, flat = adapt(model, score_thresh=0.0).run(photos(), 3)
    assert read.features.std(axis=0).max() > 0.01
    np.testing.assert_allclose(
        flat.features, np.broadcast_to(model.model.model[1].bias.detach(), flat.features.shape), atol=1e-5
    )


def test_settings_become_arguments_of_predict() -> None:
    model = TinyYolo()
    output, read = adapt(model, score_thresh=0.5, iou_thresh=0.1, max_detections_per_image=4).run(photos(), 3)
    expected = model.predict(photos(), conf=0.5, iou=0.1, max_det=4)
    assert all(torch.equal(one.boxes.xyxy, other.boxes.xyxy) for one, other in zip(output, expected, strict=True))
    assert np.bincount(read.input_index).max() == 4
    assert read.unit is None


def test_a_mapping_gives_further_arguments() -> None:
    _, read = adapt(TinyYolo()).run({"source": photos(), "conf": 0.6}, 3)
    assert read.score.min() > 0.6


def test_a_run_that_warms_up_is_not_taken_for_an_image() -> None:
    model = TinyYolo()
    model.warm_up = True
    output, read = adapt(model).run(photos(), 3)
    check(output, read, N_CLASS)


def test_boxes_that_the_head_did_not_give_have_no_logits() -> None:
    model = TinyYolo()
    predict = model.predict

    def augmented(*args: Any, **kwargs: Any) -> Any:
        results = predict(*args, **kwargs)
        for result in results:
            result.boxes.conf = result.boxes.conf / 2
        return results

    model.predict = augmented  # type: ignore[method-assign]
    _, read = adapt(model).run(photos(), 3)
    assert len(read.label)
    assert read.logits is None
    assert read.features is None
    assert np.isnan(read.frame_context[:, 0]).all()


def test_images_without_boxes_keep_the_widths() -> None:
    _, read = adapt(TinyYolo(), score_thresh=1.0).run(photos(), 3)
    assert len(read.label) == 0
    assert read.logits.shape == (0, N_CLASS)
    assert read.features.shape == (0, 16)


def test_what_was_found_is_described() -> None:
    model = TinyYolo()
    adapter = adapt(model, max_detections_per_image=9)
    adapter.run(photos(), 3)
    told = adapter.describe()
    assert (told["adapter"], told["n_classes"], told["n_features"], told["candidates"]) == (
        "yolo_detector",
        5,
        16,
        True,
    )
    assert (told["score_thresh"], told["iou_thresh"], told["max_detections_per_image"]) == (0.25, 0.6, 9)
    assert adapter.architecture_hash == adapt(TinyYolo()).architecture_hash
    assert adapter.weights_hash() == adapt(TinyYolo()).weights_hash() is not None


def test_what_cannot_be_is_refused_and_no_hook_stays() -> None:
    with pytest.raises(InputError, match="n_class: the model has 5 classes, got 80"):
        adapt(TinyYolo(), n_class=80)
    with pytest.raises(InputError, match="pooled from its neck; leave it out"):
        find_adapter(TinyYolo(), {"features": "model"}, "object_detection")
    adapter = adapt(TinyYolo())
    with pytest.raises(CaptureError, match="got list_iterator"):
        adapter.run({"source": photos(), "stream": True}, 3)
    with pytest.raises(AttributeError):
        adapter.run([3], 1)
    assert not torch.nn.modules.module._global_forward_hooks


def test_other_tasks_and_exported_models_are_left_to_others() -> None:
    model = TinyYolo()
    model.task = "segment"
    assert adapt(model).name == "torch_detector"
    model.task = "detect"
    model.model = torch.nn.Identity()
    assert adapt(model).name == "torch_detector"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("config", ["yolov8n", "yolo11n", "yolo26n"])
def test_ultralytics_own_models(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setitem(os.environ, "YOLO_OFFLINE", "true")
    ultralytics = pytest.importorskip("ultralytics", reason="ultralytics (AGPL-3.0) is not installed")
    torch.manual_seed(0)
    model = ultralytics.YOLO(f"{config}.yaml")
    with torch.no_grad():
        for name, parameter in model.model.model[-1].named_parameters():
            if "cv3" in name and parameter.shape[0] == 80:
                parameter.normal_(-1 if parameter.ndim == 1 else 0, 0.5)
    call = {"source": photos(), "imgsz": 64, "verbose": False}
    adapter = adapt(model, score_thresh=0.1)
    for _ in range(2):  # the first call makes the copy that runs
        output, read = adapter.run(call, 3)
        check(output, read, 80)
    if config == "yolo26n":
        model.model.model[-1].end2end = True
        model.predictor = None
        check(*adapter.run(call, 3), 80)
