"""However a detector is wrapped, called and fed: what is read stays the same, and nothing of it changes or piles up."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ml_debugger.adapters import find_adapter
from ml_debugger.errors import InputError
from ml_debugger.types import ModelOutput
from tests.helpers.tiny_detectors import FAMILIES, images, tiny_detector
from tests.helpers.tiny_transformers import QUERY_FAMILIES, pixel_values, tiny_query_detector


def run(model: Any, given: Any, n_inputs: int, **settings: Any) -> ModelOutput:
    with torch.no_grad():
        return find_adapter(model, task="object_detection", **settings).run(given, n_inputs)[1]


def assert_same(one: ModelOutput, other: ModelOutput) -> None:
    for name in ("input_index", "label", "score", "features", "logits", "boxes", "context", "frame_context"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


class OwnDetector(nn.Module):
    """Returns dicts as torchvision's detectors do, with more beside the boxes; it may be in training mode."""

    def __init__(self, n_boxes: int = 3, more: bool = True) -> None:
        super().__init__()
        self.n_boxes, self.more = n_boxes, more
        self.dropout = nn.Dropout()
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, given: Any, scale: float = 1.0) -> list[dict[str, Any]]:
        left = 10.0 * torch.arange(self.n_boxes)
        boxes = torch.stack([left, left, left + 15 * scale, left + 15 * scale], dim=1)
        found: dict[str, Any] = {
            "boxes": boxes,
            "labels": torch.arange(self.n_boxes) % 2,
            "scores": torch.linspace(0.3, 0.9, self.n_boxes),
        }
        if self.more:
            found["features"] = boxes + self.bias
            found["logits"] = torch.eye(2)[found["labels"]]
            found["candidates"] = {
                "boxes": boxes.repeat(2, 1),
                "scores": torch.full((2 * self.n_boxes,), 0.25),
                "labels": found["labels"].repeat(2),
            }
        return [found for _ in given]


def test_any_module_may_show_features_logits_and_candidates() -> None:
    read = run(OwnDetector(), images(), 2)
    np.testing.assert_array_equal(read.features, read.boxes)
    np.testing.assert_array_equal(read.logits.argmax(axis=1), read.label)
    assert np.isfinite(read.context).all(axis=1).any()
    assert np.isfinite(read.frame_context).all()
    plain = run(OwnDetector(more=False), images(), 2)
    assert plain.features is None
    assert plain.logits is None
    assert np.isnan(plain.context[:, 2:]).all()


def test_the_settings_of_any_module_choose_what_is_recorded() -> None:
    read = run(OwnDetector(5), images(), 2, score_thresh=0.4, max_detections_per_image=2)
    assert read.unit.tolist() == [3, 4, 3, 4]
    np.testing.assert_array_equal(read.features, read.boxes)


def test_the_mode_of_every_part_stays() -> None:
    model = OwnDetector().train()
    model.dropout.eval()
    run(model, images(), 2)
    assert model.training
    assert not model.dropout.training


def test_inputs_of_any_kind_go_through() -> None:
    assert run(OwnDetector(), ["a.jpg", "b.jpg"], 2).n_inputs == 2
    assert run(OwnDetector(), {"given": images(), "scale": 2.0}, 2).boxes[0].tolist() == [0, 0, 30, 30]
    assert run(OwnDetector(), [], 0).boxes.shape == (0, 4)
    with pytest.raises(InputError, match="3 ids were given, but the model returned boxes of 2 images"):
        run(OwnDetector(), images(), 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_list_a_batch_one_image_and_strided_images(family: str) -> None:
    model = tiny_detector(family)
    batch = torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    expected = run(model, list(batch), 2)
    assert_same(run(model, batch, 2), expected)
    strided = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in batch]
    assert not strided[0].is_contiguous()
    assert_same(run(model, strided, 2), expected)
    alone = run(model, [batch[1]], 1)
    own = expected.input_index == 1
    assert len(alone.label) == own.sum() > 0
    np.testing.assert_allclose(alone.boxes, expected.boxes[own], atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_detector_in_data_parallel(family: str) -> None:
    model = tiny_detector(family)
    wrapped = nn.DataParallel(model)
    wrapped.eval()
    assert_same(run(wrapped, images(), 2), run(model, images(), 2))
    one, other = (find_adapter(each, task="object_detection") for each in (model, wrapped))
    assert one.architecture_hash == other.architecture_hash
    assert one.weights_hash() == other.weights_hash()


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_by_autocast(family: str) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        read = run(tiny_detector(family), images(), 2)
    assert len(read.label) > 10
    assert np.isfinite(read.logits).all(axis=1).mean() > 0.9
    assert np.isfinite(read.features).all(axis=1).mean() > 0.9
    assert (read.features.dtype, read.logits.dtype, read.boxes.dtype) == (np.float32,) * 3


@pytest.mark.parametrize("family", QUERY_FAMILIES)
def test_query_detectors_wrapped_compiled_and_in_half_precision(family: str) -> None:
    model = tiny_query_detector(family)
    expected = run(model, pixel_values(), 2, score_thresh=0.0)
    assert_same(run(nn.DataParallel(model), pixel_values(), 2, score_thresh=0.0), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = run(model, pixel_values(), 2, score_thresh=0.0)
    assert half.logits.shape == expected.logits.shape
    assert np.abs(half.score - expected.score).mean() < 0.1
    assert half.features.dtype == np.float32


def test_a_compiled_query_detector_runs_compiled() -> None:
    model = tiny_query_detector("yolos")
    compiled = torch.compile(model, backend="eager")
    read, expected = run(compiled, pixel_values(), 2), run(model, pixel_values(), 2)
    np.testing.assert_allclose(read.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(read.features, expected.features, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_piles_up_over_many_calls(family: str) -> None:
    model = tiny_detector(family)
    adapter = find_adapter(model, task="object_detection")

    def tensors() -> int:
        gc.collect()
        return sum(type(one) is torch.Tensor for one in gc.get_objects())

    with torch.no_grad():
        for _ in range(2):
            adapter.run(images(), 2)
        before = tensors()
        for _ in range(4):
            adapter.run(images(), 2)
    assert tensors() <= before
    assert not any(module._forward_hooks for module in model.modules())


BROKEN = {
    "nan box": {"boxes": [[float("nan"), 0, 5, 5]]},
    "infinite score": {"scores": [float("inf")]},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_prediction_of_any_module_is_no_prediction(kind: str) -> None:
    whole = {"boxes": [[0.0, 0, 5, 5]], "labels": [1], "scores": [0.5]}

    class Broken(nn.Module):
        def forward(self, given: Any) -> list[dict[str, torch.Tensor]]:
            return [{name: torch.tensor(value) for name, value in {**whole, **BROKEN[kind]}.items()} for _ in given]

    read = run(Broken(), images(), 2)
    assert read.label.tolist() == [-1, -1]
    assert read.score.tolist() == [0, 0]
    assert np.isnan(read.boxes).all()


CONSTRUCTORS = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "maskrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_every_constructor_of_torchvision(name: str) -> None:
    from torchvision.models import detection

    torch.manual_seed(0)
    small = {} if name.startswith("ssd") else {"min_size": 96, "max_size": 128}
    own = {"num_keypoints": 5} if "keypoint" in name else {}
    classes = 2 if "keypoint" in name else 5
    make = getattr(detection, name)
    model = make(weights=None, weights_backbone=None, num_classes=classes, **small, **own).eval()
    adapter = find_adapter(model, task="object_detection", score_thresh=0.0, max_detections_per_image=9)
    with torch.no_grad():
        output, read = adapter.run([torch.rand(3, 90, 120)], 1)
    assert len(read.label) == len(output[0]["labels"]) == 9
    assert np.isfinite(read.features).all()
    assert np.isfinite(read.logits).all()
    told = adapter.describe()
    assert (told["n_classes"], told["candidates"], told["logits"]) == (classes, True, True)
    assert told["n_features"] == read.features.shape[1]
