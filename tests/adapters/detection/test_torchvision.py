"""torchvision's detectors: what is read is what their heads computed, and nothing of them changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ml_debugger.adapters import find_adapter
from ml_debugger.columns import DETECTION_CONTEXT, FRAME_CONTEXT
from ml_debugger.errors import CaptureError, InputError, MLDebuggerWarning
from ml_debugger.types import ModelOutput
from tests.helpers.tiny_detectors import FAMILIES, N_CLASS, images, tiny_detector


def trace(model: nn.Module, given: Any = None, **settings: Any) -> tuple[Any, ModelOutput]:
    given = images() if given is None else given
    with torch.no_grad():
        return find_adapter(model, task="object_detection", **settings).run(given, len(given))


def owner(model: nn.Module) -> Any:
    return getattr(model, "roi_heads", model)


def flat(output: list[dict[str, torch.Tensor]], name: str) -> np.ndarray:
    return torch.cat([entry[name] for entry in output]).numpy()


def scores_of(family: str, logits: np.ndarray) -> torch.Tensor:
    rows = torch.from_numpy(logits)
    return rows.softmax(-1) if family in ("rcnn", "ssd") else rows.sigmoid()


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_output_is_the_models_own_and_flat_in_its_order(family: str) -> None:
    model = tiny_detector(family)
    with torch.no_grad():
        expected = model(images())
    raw, read = trace(model)
    for ours, theirs in zip(raw, expected, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    np.testing.assert_array_equal(read.boxes, flat(expected, "boxes"))
    np.testing.assert_array_equal(read.label, flat(expected, "labels"))
    np.testing.assert_array_equal(read.score.astype(np.float32), flat(expected, "scores"))
    counts = [len(entry["labels"]) for entry in expected]
    assert min(counts) > 10
    assert read.input_index.tolist() == [0] * counts[0] + [1] * counts[1]
    assert read.unit is None


def test_the_logits_are_those_of_the_boxs_own_place(family: str) -> None:
    _, read = trace(tiny_detector(family))
    assert read.logits.shape[1] == N_CLASS
    own = scores_of(family, read.logits)[torch.arange(len(read.label)), torch.from_numpy(read.label)].numpy()
    if family == "fcos":  # the score is also that of the centreness, which the logits do not hold
        assert (own >= read.score**2 - 1e-6).all()
    else:
        np.testing.assert_allclose(own, read.score, atol=1e-6)


def test_features_are_the_input_of_the_layer_that_gives_the_logits(family: str) -> None:
    model: Any = tiny_detector(family)
    if family in ("retinanet", "fcos"):  # make the last convolution look at the middle alone, to compute it by hand
        last = model.head.classification_head.cls_logits
        with torch.no_grad():
            middle = last.weight[:, :, 1, 1].clone() * 3
            last.weight.zero_()[:, :, 1, 1] = middle
    _, read = trace(model)
    features = torch.from_numpy(read.features)
    assert np.isfinite(read.features).all()
    if family == "rcnn":
        logits, _ = model.roi_heads.box_predictor(features)
        np.testing.assert_allclose(logits.detach(), read.logits, atol=1e-5)
    elif family in ("retinanet", "fcos"):
        made = (features @ middle.T + last.bias.detach()).reshape(len(features), -1, N_CLASS)  # per anchor of the place
        gap = (made - torch.from_numpy(read.logits)[:, None]).abs().amax(-1).amin(-1)
        assert float(gap.max()) < 1e-4
    else:
        assert features.shape[1] == 24  # pooled from the second map


def test_ssd_features_are_pooled_where_the_box_is() -> None:
    model: Any = tiny_detector("ssd")
    with torch.no_grad():
        # the second map then holds the position across: its value grows from left to right
        model.backbone.forward = _ramp(model.backbone.forward)
    _, read = trace(model, [images()[0]])
    centre = (read.boxes[:, 0] + read.boxes[:, 2]) / 2
    inside = (read.boxes[:, 0] > 12) & (read.boxes[:, 2] < 78)
    assert inside.sum() > 3
    # cells are 16 of 64 pixels wide, the image was 90 wide; the value at the centre of cell i is i
    np.testing.assert_allclose(read.features[inside, 0], centre[inside] / 90 * 4 - 0.5, atol=0.02)


def _ramp(forward: Any) -> Any:
    def ramped(x: torch.Tensor) -> Any:
        maps = forward(x)
        maps["1"] = torch.arange(4.0).expand_as(maps["1"]).clone()
        return maps

    return ramped


def test_candidates_give_context(family: str) -> None:
    model = tiny_detector(family)
    owner(model).nms_thresh = 0.3
    _, read = trace(model)
    columns = dict(zip(DETECTION_CONTEXT, read.context.T, strict=True))
    np.testing.assert_array_equal(columns["image_width"], np.where(read.input_index, 64, 90))
    np.testing.assert_array_equal(columns["image_height"], np.where(read.input_index, 100, 70))
    assert np.isfinite(columns["n_suppressed_same"]).all()
    assert columns["n_suppressed_same"].sum() > 0
    assert (columns["suppressed_score_max"] <= read.score + 1e-6).all()
    frames = dict(zip(FRAME_CONTEXT, read.frame_context.T, strict=True))
    np.testing.assert_array_equal(frames["n_kept"], np.bincount(read.input_index))
    assert np.isfinite(frames["free_score_sum"]).all()


SETTINGS = {"score_thresh": 0.25, "iou_thresh": 0.2, "max_detections_per_image": 7}


def test_settings_given_are_applied_and_the_models_own_restored(family: str) -> None:
    model = tiny_detector(family)
    before = {name: getattr(owner(model), name) for name in ("score_thresh", "nms_thresh", "detections_per_img")}
    raw, read = trace(model, **SETTINGS)
    assert {name: getattr(owner(model), name) for name in before} == before
    assert max(len(entry["labels"]) for entry in raw) <= 7
    assert read.score.min() > 0.25
    for name, value in zip(before, SETTINGS.values(), strict=True):
        setattr(owner(model), name, value)
    with torch.no_grad():
        np.testing.assert_array_equal(read.boxes, flat(model(images()), "boxes"))


def test_settings_are_restored_after_an_error(family: str) -> None:
    model = tiny_detector(family)
    before = owner(model).score_thresh
    adapter = find_adapter(model, task="object_detection", **SETTINGS)
    with pytest.raises(Exception, match="expect"):
        adapter.run([torch.zeros(5)], 1)
    assert owner(model).score_thresh == before
    assert not any(module._forward_hooks for module in model.modules())
    assert adapter.run(images(), 2)[1].n_inputs == 2


def test_settings_and_classes_are_inferred(family: str) -> None:
    model = tiny_detector(family)
    adapter = find_adapter(model, task="object_detection", score_thresh=0.4)
    told = adapter.describe()
    assert told["family"] == family
    assert told["n_classes"] == N_CLASS
    assert told["score_thresh"] == 0.4
    assert told["iou_thresh"] == owner(model).nms_thresh
    assert told["max_detections_per_image"] == owner(model).detections_per_img
    adapter.run(images(), 2)
    told = adapter.describe()
    assert (told["n_features"], told["logits"], told["candidates"]) == (
        24 if family == "ssd" else told["n_features"],
        True,
        True,
    )
    assert told["architecture"].startswith(type(model).__name__)
    with pytest.raises(InputError, match=f"n_class: the model has {N_CLASS} classes .* got 9"):
        find_adapter(model, task="object_detection", n_class=9)


def test_images_without_boxes_keep_the_widths(family: str) -> None:
    _, read = trace(tiny_detector(family), score_thresh=0.9999)
    assert len(read.label) == 0
    assert read.logits.shape == (0, N_CLASS)
    assert read.features.shape[0] == 0
    assert read.features.shape[1] > 0
    assert (read.frame_context[:, FRAME_CONTEXT.index("n_kept")] == 0).all()
    assert (read.frame_context[:, FRAME_CONTEXT.index("n_free_20")] > 0).all()


def test_mode_hooks_and_gradients_are_as_before(family: str) -> None:
    model = tiny_detector(family)
    raw, read = find_adapter(model, task="object_detection").run(images(), 2)
    assert raw[0]["scores"].requires_grad
    assert not model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert len(read.label)


def test_training_mode_is_refused_before_the_model_runs(family: str) -> None:
    model = tiny_detector(family).train()
    with pytest.raises(InputError, match=r"is in training mode.*call model\.eval\(\)"):
        trace(model)


def test_low_thresholds_of_the_model_are_followed() -> None:
    """Boxes below the score from which candidates are read still get their logits and features."""
    model: Any = tiny_detector("ssd")
    with torch.no_grad():
        for parameter in model.head.classification_head.parameters():
            parameter.zero_()
        for layer in model.head.classification_head.module_list:
            layer.bias.view(-1, N_CLASS)[:, 0] = 6.0
    model.score_thresh = 0.001
    _, read = trace(model)
    assert len(read.label)
    assert read.score.max() < 0.01
    assert np.isfinite(read.logits).all()
    assert np.isfinite(read.features).all()


def test_images_without_proposals_are_images_without_boxes() -> None:
    model: Any = tiny_detector("rcnn")
    model.rpn.score_thresh = 2.0
    _, read = trace(model)
    assert len(read.label) == 0
    assert read.logits.shape == (0, N_CLASS)
    assert (read.frame_context[:, : FRAME_CONTEXT.index("n_kept") + 1] == 0).all()


class Wrapped(nn.Module):
    """A module around a detector, as Lightning modules are; it thins out the boxes itself."""

    def __init__(self, detector: nn.Module, shift: float = 0.0) -> None:
        super().__init__()
        self.detector, self.shift = detector, shift

    def forward(self, given: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        found = self.detector(given)
        return [
            {name: value[::2] + (self.shift if name == "boxes" else 0) for name, value in one.items()} for one in found
        ]


def test_a_detector_inside_another_module_is_found(family: str) -> None:
    model = tiny_detector(family)
    _, inner = trace(model)
    _, read = trace(Wrapped(model))
    first = inner.input_index == 0
    np.testing.assert_array_equal(read.logits[read.input_index == 0], inner.logits[first][::2])
    assert np.isfinite(read.features).all()


def test_boxes_that_no_entry_explains_have_no_logits() -> None:
    _, read = trace(Wrapped(tiny_detector("rcnn"), shift=9.0))
    assert len(read.label)
    assert np.isnan(read.logits).all()
    assert np.isnan(read.features).all()


class TwicePerCall(Wrapped):
    """Runs the detector image by image."""

    def forward(self, given: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [self.detector([image])[0] for image in given]


def test_a_detector_that_runs_several_times_in_a_call_gives_boxes_alone() -> None:
    _, read = trace(TwicePerCall(tiny_detector("rcnn")))
    assert len(read.label)
    assert read.logits is None
    assert read.features is None


def test_layers_of_ones_own_are_pooled_in_place_of_the_heads() -> None:
    model = tiny_detector("rcnn")
    adapter = find_adapter(
        Fixed(model), {"deep": "detector.backbone.deep", "stem": "detector.backbone.stem"}, "object_detection"
    )
    _, read = adapter.run(torch.rand(2, 3, 64, 64), 2)
    assert read.features.shape[1] == 64
    assert np.isfinite(read.features).all()
    assert adapter.describe()["feature_layers"] == ["detector.backbone.deep", "detector.backbone.stem"]


class Fixed(Wrapped):
    def forward(self, given: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        return self.detector(list(given))


@pytest.mark.parametrize(
    "path", ["detector.roi_heads.box_head", "detector.roi_heads", "detector.roi_heads.box_predictor.cls_score"]
)
def test_a_layer_that_gives_no_map_is_an_error_with_its_name(path: str) -> None:
    adapter = find_adapter(Fixed(tiny_detector("rcnn")), {"features": path}, "object_detection")
    with pytest.raises(CaptureError, match=f"layer '{path}': expected one feature map"):
        adapter.run(torch.rand(2, 3, 64, 64), 2)


def test_compiled_detectors_run_uncompiled_with_a_warning() -> None:
    model = tiny_detector("rcnn")
    with pytest.warns(MLDebuggerWarning, match="calls through this object run uncompiled"):
        adapter = find_adapter(torch.compile(model), task="object_detection")
    _, read = adapter.run(images(), 2)
    assert np.isfinite(read.features).all()
    assert adapter.architecture_hash == find_adapter(model, task="object_detection").architecture_hash
    assert adapter.weights_hash() == find_adapter(model, task="object_detection").weights_hash()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:RetinaNet always returns")
def test_a_scripted_detector_gives_its_boxes() -> None:
    model = tiny_detector("retinanet")
    _, read = trace(torch.jit.script(model))
    np.testing.assert_allclose(read.boxes, trace(model)[1].boxes, atol=1e-4)
    assert read.logits is None
