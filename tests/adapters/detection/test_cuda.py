"""Detectors on a GPU: boxes, features and candidates come to the CPU once, and the numbers are those of the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ml_debugger.adapters import find_adapter
from ml_debugger.columns import DETECTION_3D_CONTEXT
from ml_debugger.data_filter import ObjectDetection3DDataFilter, ObjectDetectionDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ObjectDetection3DTracer, ObjectDetectionTracer
from ml_debugger.types import ModelOutput
from tests.helpers.pcdet_standins import batch_of, cloud, pillar_detector
from tests.helpers.tiny_detectors import FAMILIES, images, tiny_detector
from tests.helpers.tiny_yolo import TinyYolo, photos

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

DEVICE = "cuda"
# convolutions round to ten bits where the device has TF32
CLOSE = 2e-2


def run(model: Any, given: Any, n_inputs: int, **settings: Any) -> tuple[Any, ModelOutput]:
    with torch.no_grad():
        return find_adapter(model, task="object_detection", **settings).run(given, n_inputs)


def on(device: str, given: list[torch.Tensor]) -> list[torch.Tensor]:
    return [image.to(device) for image in given]


@pytest.mark.parametrize("family", FAMILIES)
def test_torchvision_detectors_read_as_on_the_cpu(family: str) -> None:
    _, expected = run(tiny_detector(family), images(), 2)
    raw, read = run(tiny_detector(family).to(DEVICE), on(DEVICE, images()), 2)
    assert raw[0]["boxes"].device.type == DEVICE
    assert len(read.label) == sum(len(one["labels"]) for one in raw)
    assert np.isfinite(read.logits).all()
    assert np.isfinite(read.features).all()
    # the order of nearly equal scores may differ: compare the best boxes, sorted by place
    assert abs(len(read.label) - len(expected.label)) <= 0.1 * len(expected.label)
    np.testing.assert_allclose(np.sort(read.score)[-10:], np.sort(expected.score)[-10:], atol=CLOSE)
    np.testing.assert_allclose(read.frame_context, expected.frame_context, rtol=0.2, atol=4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_torchvision_detectors_under_autocast(family: str, dtype: torch.dtype) -> None:
    with torch.autocast(DEVICE, dtype=dtype):
        raw, read = run(tiny_detector(family).to(DEVICE), on(DEVICE, images()), 2)
    assert len(read.label) == sum(len(one["labels"]) for one in raw) > 10
    assert np.isfinite(read.logits).all(axis=1).mean() > 0.95
    assert np.isfinite(read.features).all(axis=1).mean() > 0.95
    assert (read.features.dtype, read.logits.dtype, read.boxes.dtype) == (np.float32,) * 3


@pytest.mark.parametrize("family", ["detr", "rt_detr", "yolos"])
@pytest.mark.parametrize("half", [False, True])
def test_query_detectors(family: str, half: bool) -> None:
    pytest.importorskip("transformers")
    from tests.helpers.tiny_transformers import pixel_values, tiny_query_detector

    model = tiny_query_detector(family).to(DEVICE)
    with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=half):
        raw, read = run(model, {"pixel_values": pixel_values().to(DEVICE)}, 2, score_thresh=0.0)
    assert raw.logits.device.type == DEVICE
    np.testing.assert_array_equal(read.logits, raw.logits.float().cpu().numpy().reshape(read.logits.shape))
    assert np.isfinite(read.features).all()


@pytest.mark.parametrize("end2end", [False, True])
def test_a_yolo_object(end2end: bool) -> None:
    model = TinyYolo(end2end)
    _, expected = run(model, photos(), 3)
    model.predictor = None
    model.model.to(DEVICE)
    output, read = run(model, photos(), 3)
    assert output[0].boxes.xyxy.device.type == DEVICE
    np.testing.assert_allclose(np.sort(read.score), np.sort(expected.score), atol=CLOSE)
    assert np.isfinite(read.logits).all()
    assert np.isfinite(read.features).all()


@pytest.mark.parametrize("autocast", [False, True])
def test_tracing_evaluating_and_filtering(autocast: bool) -> None:
    """The whole way on a device: traced, learned from, and live flags equal the query."""
    model = tiny_detector("rcnn").to(DEVICE)
    tracer = ObjectDetectionTracer(model, "gpu", "v1")
    context = torch.autocast(DEVICE, dtype=torch.float16, enabled=autocast)
    for number in range(20):
        given = on(DEVICE, images(number))
        with torch.no_grad(), context:
            found = model(given)
            truths = [{"boxes": one["boxes"][::2] + 1, "labels": one["labels"][::2]} for one in found]
            output = tracer(given, truths, [f"{number}-0", f"{number}-1"], dataset_type="val")
        assert output[0]["boxes"].device.type == DEVICE
    result = Evaluator("gpu", "v1").request_evaluation(options={"bootstrap": 5})
    config = {"top_n": 3, "img_error_threshold": 0.5}
    data_filter = ObjectDetectionDataFilter(model, "gpu", "v1", result.result_name, filter_config=config)
    flags: dict[int, bool | None] = {}
    for number in range(4):
        with torch.no_grad(), context:
            _, own = data_filter(on(DEVICE, images(100 + number)), [2 * number, 2 * number + 1])
        flags.update(zip((2 * number, 2 * number + 1), own, strict=True))
    assert set(data_filter.query(100, config)) == {one for one, flag in flags.items() if flag}
    assert data_filter.scores()["error_proba"].between(0, 1).all()


@pytest.mark.parametrize("task", ["object_detection", "object_detection_3d"])
def test_memory_of_the_device_does_not_grow(task: str) -> None:
    flat = task == "object_detection"
    model = (tiny_detector("rcnn") if flat else pillar_detector()).to(DEVICE)
    adapter = find_adapter(model, task=task)
    given: Any = on(DEVICE, images()) if flat else None
    with torch.no_grad():
        for _ in range(3):
            adapter.run(frames() if given is None else given, 2)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        for _ in range(20):
            adapter.run(frames() if given is None else given, 2)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before


def frames(device: str = DEVICE, seed: int = 0) -> dict[str, Any]:
    return batch_of(cloud(seed=2 * seed), cloud(seed=2 * seed + 1), device=device)


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16], ids=str)
def test_detectors_of_point_clouds_read_as_on_the_cpu(dtype: torch.dtype | None) -> None:
    with torch.no_grad():
        _, expected = find_adapter(pillar_detector(), task="object_detection_3d").run(frames("cpu"), 2)
        adapter = find_adapter(pillar_detector().to(DEVICE), task="object_detection_3d", score_thresh=0.3)
        with torch.autocast(DEVICE, dtype=dtype or torch.float16, enabled=dtype is not None):
            (raw, _), read = adapter.run(frames(), 2)
    assert raw[0]["pred_boxes"].device.type == DEVICE
    assert len(read.label) == sum(len(one["pred_labels"]) for one in raw) > 20
    assert np.isfinite(read.features).all()
    assert np.isfinite(read.logits).all(axis=1).mean() > 0.95
    assert (read.boxes.dtype, read.features.dtype, read.logits.dtype) == (np.float32,) * 3
    known = [DETECTION_3D_CONTEXT.index(name) for name in ("n_points", "border_distance", "n_suppressed_same")]
    assert np.isfinite(read.context[:, known]).all()
    if dtype is None:
        assert abs(len(read.label) - len(expected.label)) <= 0.1 * len(expected.label)
        np.testing.assert_allclose(np.sort(read.score)[-10:], np.sort(expected.score)[-10:], atol=CLOSE)


def test_tracing_evaluating_and_filtering_frames() -> None:
    model = pillar_detector().to(DEVICE)
    tracer = ObjectDetection3DTracer(model, "gpu_frames", "v1")
    for number in range(20):
        with torch.no_grad():
            found, _ = model(frames(seed=number))
            truths = [{"boxes": one["pred_boxes"][::2], "labels": one["pred_labels"][::2]} for one in found]
            tracer(frames(seed=number), truths, [f"{number}-0", f"{number}-1"], dataset_type="val")
    result = Evaluator("gpu_frames", "v1").request_evaluation(options={"bootstrap": 5})
    data_filter = ObjectDetection3DDataFilter(model, "gpu_frames", "v1", result.result_name)
    data_filter(frames(seed=100), [0, 1])
    assert data_filter.scores()["error_proba"].between(0, 1).all()
