"""transformers' detectors: what is read is what their own post-processing gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import DetrImageProcessor, RTDetrImageProcessor, YolosImageProcessor

from ml_debugger.adapters import find_adapter
from ml_debugger.columns import DETECTION_CONTEXT, FRAME_CONTEXT
from ml_debugger.errors import CaptureError, InputError
from tests.helpers.tiny_transformers import (
    N_LABELS,
    N_QUERIES,
    QUERY_FAMILIES,
    WIDTH,
    pixel_values,
    tiny_query_detector,
)

PROCESSORS = {"detr": DetrImageProcessor, "rt_detr": RTDetrImageProcessor, "yolos": YolosImageProcessor}
SIZES = [(64, 96), (64, 96)]


def adapt(model: Any, **settings: Any) -> Any:
    return find_adapter(model, task="object_detection", **settings)


@pytest.fixture(params=QUERY_FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(family: str) -> nn.Module:
    return tiny_query_detector(family)


@torch.no_grad()
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_boxes_are_those_of_the_image_processor(family: str, model: nn.Module, threshold: float) -> None:
    raw, read = adapt(model, score_thresh=threshold).run({"pixel_values": pixel_values()}, 2)
    processed = PROCESSORS[family]().post_process_object_detection(raw, threshold=threshold, target_sizes=SIZES)
    for image, expected in enumerate(processed):
        own = np.flatnonzero(read.input_index == image)
        # RT-DETR's processor gives every class of a query above the threshold, best first; a query is one unit here
        order = own[np.argsort(-read.score[own], kind="stable")] if family == "rt_detr" else own
        theirs = _one_per_box(expected) if family == "rt_detr" else expected
        assert len(order) == len(theirs["scores"]) > 0
        np.testing.assert_allclose(read.score[order], theirs["scores"], atol=1e-6)
        np.testing.assert_array_equal(read.label[order], theirs["labels"])
        np.testing.assert_allclose(read.boxes[order], theirs["boxes"], atol=1e-3)


def _one_per_box(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    seen: set[tuple[float, ...]] = set()
    first = [i for i, box in enumerate(found["boxes"].tolist()) if not (tuple(box) in seen or seen.add(tuple(box)))]
    return {name: value[first] for name, value in found.items()}


@torch.no_grad()
def test_units_are_queries_with_their_own_logits_and_embeddings(family: str, model: nn.Module) -> None:
    raw, read = adapt(model, score_thresh=0.72).run(pixel_values(), 2)
    assert 0 < len(read.unit) < 2 * N_QUERIES
    logits = raw.logits.numpy()[read.input_index, read.unit]
    np.testing.assert_array_equal(read.logits, logits)
    hidden = raw.last_hidden_state[:, -N_QUERIES:].numpy()[read.input_index, read.unit]
    np.testing.assert_array_equal(read.features, hidden)
    assert read.features.shape[1] == WIDTH
    if family != "rt_detr":  # the head alone gives the logits from the embeddings
        made = model.class_labels_classifier(torch.from_numpy(read.features))
        np.testing.assert_allclose(made, read.logits, atol=1e-4)


@torch.no_grad()
def test_candidates_give_context(model: nn.Module) -> None:
    _, read = adapt(model, score_thresh=0.45).run(pixel_values(), 2)
    context = dict(zip(DETECTION_CONTEXT, read.context.T, strict=True))
    assert set(context["image_width"]) == {96}
    assert set(context["image_height"]) == {64}
    assert context["n_suppressed_same"].sum() + context["n_suppressed_other"].sum() > 0
    frames = dict(zip(FRAME_CONTEXT, read.frame_context.T, strict=True))
    np.testing.assert_array_equal(frames["n_kept"], np.bincount(read.input_index, minlength=2))


@torch.no_grad()
def test_padding_is_not_part_of_the_image() -> None:
    model = tiny_query_detector("detr")
    mask = torch.ones(2, 64, 96, dtype=torch.long)
    mask[1, 48:] = 0
    mask[1, :, 64:] = 0
    raw, read = adapt(model, score_thresh=0.0).run({"pixel_values": pixel_values(), "pixel_mask": mask}, 2)
    expected = DetrImageProcessor().post_process_object_detection(raw, 0.0, [(64, 96), (48, 64)])
    np.testing.assert_allclose(read.boxes, torch.cat([one["boxes"] for one in expected]), atol=1e-3)
    assert read.context[read.input_index == 1, :2].tolist() == [[64, 48]] * N_QUERIES


@torch.no_grad()
def test_further_settings_choose_among_the_queries(model: nn.Module) -> None:
    every = adapt(model, score_thresh=0.0).run(pixel_values(), 2)[1]
    assert every.unit.tolist() == [*range(N_QUERIES)] * 2
    few = adapt(model, score_thresh=0.0, max_detections_per_image=3).run(pixel_values(), 2)[1]
    assert few.input_index.tolist() == [0] * 3 + [1] * 3
    first = every.score[:N_QUERIES]
    assert sorted(few.score[:3]) == sorted(np.sort(first)[-3:])
    none = adapt(model, score_thresh=1.0).run(pixel_values(), 2)[1]
    assert (none.features.shape, none.boxes.shape) == ((0, WIDTH), (0, 4))


def test_what_was_found_is_described(family: str, model: nn.Module) -> None:
    adapter = adapt(model)
    adapter.run(pixel_values(), 2)
    told = adapter.describe()
    assert told["adapter"] == "query_detector"
    assert told["model"] == type(model).__name__
    assert told["architecture"].startswith(type(model).__name__)
    assert (told["n_classes"], told["n_features"], told["logits"], told["candidates"]) == (N_LABELS, WIDTH, True, True)
    assert (told["score_thresh"], told["iou_thresh"], told["max_detections_per_image"]) == (0.5, None, None)
    assert adapter.architecture_hash == adapt(tiny_query_detector(family)).architecture_hash
    assert adapter.weights_hash() == adapt(tiny_query_detector(family)).weights_hash()


def test_a_query_that_is_not_finite_is_no_prediction() -> None:
    model = tiny_query_detector("yolos")
    with torch.no_grad():
        model.vit.embeddings.detection_tokens[0, 3] = np.nan
        raw, read = adapt(model, score_thresh=0.0).run(pixel_values(), 2)
    assert not raw.logits.isfinite().all()
    broken = read.label == -1
    assert broken.any()
    assert (read.score[broken] == 0).all()
    assert np.isnan(read.boxes[broken]).all()


def test_what_cannot_be_read_is_an_error_that_says_what_to_do() -> None:
    model = tiny_query_detector("yolos")
    with pytest.raises(CaptureError, match="return_dict=True"):
        adapt(model).run({"pixel_values": pixel_values(), "return_dict": False}, 2)
    with pytest.raises(InputError, match="3 ids were given"):
        adapt(model).run(pixel_values(), 3)
    with pytest.raises(InputError, match="n_class: the model has 4 classes, got 5"):
        adapt(model, n_class=5)
    with pytest.raises(InputError, match="query embeddings; leave it out"):
        find_adapter(model, {"features": "vit"}, "object_detection")
    assert adapt(model, n_class=N_LABELS).describe()["n_classes"] == N_LABELS


def test_post_processed_boxes_go_through_a_function() -> None:
    model = tiny_query_detector("detr")
    processor = DetrImageProcessor()

    @torch.no_grad()
    def detect(batch: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        return processor.post_process_object_detection(model(batch), 0.3, [(128, 192)] * len(batch))

    raw, read = adapt(detect).run(pixel_values(), 2)
    np.testing.assert_array_equal(read.boxes, torch.cat([one["boxes"] for one in raw]))


def test_other_modules_of_transformers_are_left_to_others() -> None:
    assert adapt(nn.Linear(2, 2)).name == "torch_detector"
