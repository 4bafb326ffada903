"""Torch modules that return boxes of point clouds: what is read beside the boxes, thresholds, and what stays as is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ml_debugger.adapters import find_adapter
from ml_debugger.adapters.detection.bev_features import sample_boxes
from ml_debugger.analysis.boxes_3d import bev_iou
from ml_debugger.analysis.points_in_boxes import points_in_boxes
from ml_debugger.columns import DETECTION_3D_CONTEXT, FRAME_CONTEXT
from ml_debugger.errors import CaptureError, InputError
from ml_debugger.types import ModelOutput
from tests.helpers.mmdet3d_standins import Det3DDataSample, pillar_model
from tests.helpers.pcdet_standins import PC_RANGE, PillarDetector, batch_of, cloud, configuration, pillar_detector

CLOUDS = (cloud(), cloud(seed=1))
AT = {name: position for position, name in enumerate(DETECTION_3D_CONTEXT)}


def adapt(model: Any, target_layers: dict[str, str] | None = None, **settings: Any) -> Any:
    return find_adapter(model, target_layers, "object_detection_3d", **settings)


def run(model: Any, given: Any = None, n_inputs: int = 2, **settings: Any) -> tuple[Any, ModelOutput]:
    with torch.no_grad():
        return adapt(model, **settings).run(batch_of(*CLOUDS) if given is None else given, n_inputs)


def raw_of(detector: PillarDetector) -> dict[str, Any]:
    """The dict after all parts."""
    batch = batch_of(*CLOUDS)
    with torch.no_grad():
        for part in detector.module_list:
            batch = part(batch)
    return batch


# --- OpenPCDet


def test_boxes_are_those_of_the_output_which_is_the_models_own() -> None:
    detector = pillar_detector()
    with torch.no_grad():
        expected, _ = detector(batch_of(*CLOUDS))
    (found, recall), read = run(detector)
    assert recall == {"gt": 0}
    for one, other in zip(found, expected, strict=True):
        for name in ("pred_boxes", "pred_scores", "pred_labels"):
            torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)
    counts = [len(one["pred_labels"]) for one in expected]
    assert min(counts) > 20
    assert read.input_index.tolist() == [0] * counts[0] + [1] * counts[1]
    np.testing.assert_array_equal(read.boxes, torch.cat([one["pred_boxes"] for one in expected]))
    np.testing.assert_array_equal(read.label, torch.cat([one["pred_labels"] for one in expected]))
    assert read.unit is None


def test_logits_are_those_of_the_anchor_that_a_box_came_from() -> None:
    detector = pillar_detector()
    batch = raw_of(detector)
    _, read = run(detector)
    for unit in range(len(read.label)):
        frame = read.input_index[unit]
        apart = (batch["batch_box_preds"][frame] - torch.from_numpy(read.boxes[unit])).abs().amax(dim=1)
        np.testing.assert_allclose(read.logits[unit, 1:], batch["batch_cls_preds"][frame][apart.argmin()], rtol=1e-6)
    assert (read.logits[:, 0] == -50).all()
    assert (read.logits.argmax(axis=1) == read.label).all()


def test_candidates_are_all_anchors_by_their_best_class() -> None:
    detector = pillar_detector()
    batch = raw_of(detector)
    _, read = run(detector, max_detections_per_frame=3)
    assert len(read.label) == 6
    for unit in range(6):
        frame = read.input_index[unit]
        kept = np.flatnonzero(read.input_index == frame)
        scores, labels = (part.numpy() for part in batch["batch_cls_preds"][frame].sigmoid().max(dim=1))
        boxes = batch["batch_box_preds"][frame].numpy()
        shared = np.array([bev_iou(boxes, np.tile(read.boxes[one], (len(boxes), 1))) for one in kept])
        close = (shared >= 0.01) & (scores >= 0.01) & (labels + 1 == read.label[kept][:, None])
        own = list(kept).index(unit)
        best = np.where(close, read.score[kept][:, None], -1).argmax(axis=0)
        taken = close.any(axis=0) & (best == own)
        # the box itself is no candidate that it suppressed
        assert read.context[unit, AT["n_suppressed_same"]] == np.count_nonzero(taken) - 1
        others = (shared[own] >= 0.01) & (scores >= 0.01) & (labels + 1 != read.label[unit])
        assert read.context[unit, AT["n_suppressed_other"]] == np.count_nonzero(others)


def test_a_box_knows_its_points_and_the_border() -> None:
    _, read = run(pillar_detector())
    for frame, points in enumerate(CLOUDS):
        own = read.input_index == frame
        inside = np.bincount(points_in_boxes(points, read.boxes[own])[0], minlength=own.sum())
        np.testing.assert_array_equal(read.context[own, AT["n_points"]], inside)
    assert read.context[:, AT["n_points"]].max() > 5
    assert np.isfinite(read.context[:, AT["border_distance"]]).all()
    assert np.isfinite(read.frame_context[:, : FRAME_CONTEXT.index("n_kept")]).all()


def bilinear(feature_map: np.ndarray, x: float, y: float) -> np.ndarray:
    """``(D,)`` value at a place in cells, whose centres are at halves; beyond the border its cells count."""
    row, column = np.clip(y - 0.5, 0, feature_map.shape[1] - 1), np.clip(x - 0.5, 0, feature_map.shape[2] - 1)
    low, left = int(row), int(column)
    high, right = min(low + 1, feature_map.shape[1] - 1), min(left + 1, feature_map.shape[2] - 1)
    up, aside = row - low, column - left
    top = feature_map[:, low, left] * (1 - aside) + feature_map[:, low, right] * aside
    bottom = feature_map[:, high, left] * (1 - aside) + feature_map[:, high, right] * aside
    return np.asarray(top * (1 - up) + bottom * up)


def slow_features(feature_map: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Mean over the nine parts of a box, rows along y."""
    cells = np.array(feature_map.shape[:0:-1]) / (np.array(PC_RANGE[3:5]) - PC_RANGE[:2])
    found = []
    for along in (-1, 0, 1):
        for aside in (-1, 0, 1):
            dx, dy = along * box[3] / 3, aside * box[4] / 3
            turned = np.array([np.cos(box[6]) * dx - np.sin(box[6]) * dy, np.sin(box[6]) * dx + np.cos(box[6]) * dy])
            found.append(bilinear(feature_map, *((box[:2] + turned - PC_RANGE[:2]) * cells)))
    return np.mean(found, axis=0)


def test_features_are_sampled_in_the_box_as_it_stands_on_the_map() -> None:
    detector = pillar_detector()
    feature_map = raw_of(detector)["spatial_features_2d"].numpy()
    _, read = run(detector)
    expected = [
        slow_features(feature_map[frame], box.astype(float))
        for frame, box in zip(read.input_index, read.boxes, strict=True)
    ]
    np.testing.assert_allclose(read.features, expected, rtol=1e-3, atol=1e-3)
    assert len(np.unique(read.features[:, 0])) > 10


def test_maps_with_more_cells_along_x_than_y() -> None:
    feature_map = torch.arange(24.0).reshape(1, 1, 2, 12)  # two rows along y
    boxes = np.array([[5.5, -1, 0, 1e-4, 1e-4, 1, 0], [5.5, 1, 0, 1e-4, 1e-4, 1, 1], [np.nan] * 7], dtype=np.float32)
    (rows,) = sample_boxes(feature_map, [boxes], (0, -2, -3, 12, 2, 1))
    np.testing.assert_allclose(rows[:2, 0], [5, 17], atol=1e-3)
    assert np.isnan(rows[2]).all()
    assert sample_boxes(feature_map, [boxes[:0]], PC_RANGE)[0].shape == (0, 1)
    assert sample_boxes(feature_map[:0], [], PC_RANGE) == []


@pytest.mark.parametrize("library", ["own", "easydict"])
def test_thresholds_are_asked_for_and_given_back(library: str) -> None:
    make = pytest.importorskip("easydict").EasyDict if library == "easydict" else None
    config = configuration() if make is None else configuration(make)
    detector = pillar_detector(config=config)
    before = repr(config)
    (many, _), _ = run(detector)
    (few, _), read = run(detector, score_thresh=0.6)
    assert repr(config) == before
    assert 0 < len(few[0]["pred_labels"]) < len(many[0]["pred_labels"])
    assert len(read.label) == sum(len(one["pred_labels"]) for one in few)
    assert min(float(one["pred_scores"].min()) for one in few) >= 0.6
    for looser in ({"score_thresh": 0.05}, {"iou_thresh": 0.3}):
        (more, _), _ = run(detector, **looser)
        assert len(more[0]["pred_labels"]) > len(many[0]["pred_labels"])
    told = adapt(detector, score_thresh=0.6).describe()
    assert (told["score_thresh"], told["iou_thresh"], told["max_detections_per_frame"]) == (0.6, 0.01, 500)
    assert (told["family"], told["n_classes"], told["feature_layers"]) == ("OpenPCDet", 3, ["spatial_features_2d"])

    def fail(batch: Any) -> Any:
        assert config.POST_PROCESSING.SCORE_THRESH == 0.6
        raise RuntimeError("broken")

    detector.post_processing = fail
    with pytest.raises(RuntimeError, match="broken"):
        run(detector, score_thresh=0.6, iou_thresh=0.2)
    assert repr(config) == before


def test_the_number_of_boxes_holds_for_all_classes_together() -> None:
    detector = pillar_detector()
    (found, _), read = run(detector, max_detections_per_frame=5)
    assert [len(one["pred_labels"]) for one in found] == [5, 5]
    assert read.unit.tolist() == [0, 1, 2, 3, 4] * 2


def test_thresholds_that_are_lists_choose_what_is_recorded() -> None:
    config = configuration()
    config.POST_PROCESSING["SCORE_THRESH"] = torch.tensor(0.3)  # not one number
    (found, _), read = run(pillar_detector(config=config), score_thresh=0.6)
    assert read.score.min() >= 0.6
    assert len(read.label) < sum(len(one["pred_labels"]) for one in found)
    scores = np.concatenate([one["pred_scores"].numpy() for one in found])
    assert len(read.unit) == np.count_nonzero(scores >= 0.6)


def test_training_mode_is_refused_and_no_mode_is_changed() -> None:
    detector = pillar_detector()
    detector.backbone_2d.train()
    run(detector)
    assert detector.backbone_2d.training
    assert not detector.training
    with pytest.raises(InputError, match=r"training mode, where it returns losses.*model\.eval\(\)"):
        run(detector.train())


def test_another_number_of_classes_is_refused() -> None:
    run(pillar_detector(), n_class=3)
    with pytest.raises(InputError, match=r"n_class: the model has 3 classes.*got 7; leave it out"):
        adapt(pillar_detector(), n_class=7)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_no_hook_stays_also_after_an_error() -> None:
    detector = pillar_detector()
    run(detector)
    assert hooks_of(detector) == 0
    with pytest.raises(KeyError):
        run(detector, {"nothing": 1}, 1)
    assert hooks_of(detector) == 0


def test_where_the_scene_ends_is_given_or_not_known() -> None:
    detector = pillar_detector()
    _, near = run(detector, pc_range=[0, -16, -3, 30, 16, 1])
    _, far = run(detector)
    apart = far.context[:, AT["border_distance"]] - near.context[:, AT["border_distance"]]
    assert apart.max() == pytest.approx(2, abs=1e-5)
    detector.dataset = None
    adapter = adapt(detector)
    _, read = adapter.run(batch_of(*CLOUDS), 2)
    assert read.features is None
    assert np.isnan(read.context[:, AT["border_distance"]]).all()
    assert adapter.describe()["pc_range"] is None
    assert adapter.describe()["feature_layers"] == ["none"]


def test_layers_that_the_user_names() -> None:
    detector = pillar_detector()
    layers = {"bev": "backbone_2d", "raw": "map_to_bev_module", "inner": "backbone_2d.blocks.0"}
    adapter = adapt(detector, layers)
    with torch.no_grad():
        _, read = adapter.run(batch_of(*CLOUDS), 2)
    assert read.features.shape[1] == 8 + 4 + 8
    assert adapter.describe()["feature_layers"] == list(layers.values())
    np.testing.assert_array_equal(read.features[:, :8], run(detector)[1].features)
    # what the convolution gave, not what the rectifier after it made of that in place
    assert (read.features[:, 12:] < 0).any()
    assert (read.features[:, :8] >= 0).all()


def test_layers_without_a_map_are_refused() -> None:
    detector = pillar_detector()
    detector.extra = nn.Linear(1, 1)
    with pytest.raises(InputError, match=r"target_layers\['features'\]: the model has no module 'backbone'"):
        adapt(detector, {"features": "backbone"})
    with pytest.raises(CaptureError, match=r"layer 'extra': expected one map seen from above \(2, D, h, w\), got none"):
        adapt(detector, {"features": "extra"}).run(batch_of(*CLOUDS), 2)
    detector.dataset = None
    with pytest.raises(CaptureError, match=r"pc_range: where the feature maps begin and end.*pass pc_range="):
        adapt(detector, {"features": "backbone_2d"}).run(batch_of(*CLOUDS), 2)


def second_stage(layout: str) -> Any:
    """A head that reorders what the first left."""

    def forward(batch: dict[str, Any]) -> dict[str, Any]:
        scores, boxes = batch["batch_cls_preds"], batch["batch_box_preds"]
        if layout == "points":
            index = torch.arange(len(scores)).repeat_interleave(scores.shape[1])
            return {
                "batch_cls_preds": scores.flatten(0, 1),
                "batch_box_preds": boxes.flatten(0, 1),
                "batch_index": index,
            }
        if layout == "normalised":
            return {"batch_cls_preds": scores.sigmoid(), "batch_box_preds": boxes, "cls_preds_normalized": True}
        best, labels = scores.max(dim=2, keepdim=True)
        found = {"batch_cls_preds": best, "batch_box_preds": boxes}
        return found | {"has_class_labels": True, "roi_labels": labels[..., 0] + 1}

    return forward


@pytest.mark.parametrize("layout", ["points", "normalised", "proposals"])
def test_other_layouts_of_raw_predictions(layout: str) -> None:
    detector = pillar_detector()
    _, expected = run(detector)
    stage = nn.Module()
    stage.forward = second_stage(layout)  # type: ignore[method-assign]
    detector.roi_head = stage
    first = detector.forward

    def forward(batch: dict[str, Any]) -> Any:
        output = first(batch)
        detector.roi_head(batch)
        return output

    detector.forward = forward  # type: ignore[method-assign]
    _, read = run(detector)
    np.testing.assert_array_equal(read.context, expected.context)
    if layout == "proposals":
        assert read.logits is None
    else:
        within = np.abs(expected.logits) < 7  # what sigmoid keeps the digits of
        assert within.any()
        np.testing.assert_allclose(read.logits[within], expected.logits[within], rtol=1e-2, atol=1e-2)


def test_entries_class_by_class_where_each_class_is_suppressed_by_itself() -> None:
    config = configuration()
    config.POST_PROCESSING.NMS_CONFIG["MULTI_CLASSES_NMS"] = True
    _, read = run(pillar_detector(config=config))
    _, single = run(pillar_detector())
    assert (read.context[:, AT["n_suppressed_other"]] >= single.context[:, AT["n_suppressed_other"]]).all()
    np.testing.assert_array_equal(read.logits, single.logits)


def test_a_head_that_leaves_no_raw_predictions() -> None:
    """As CenterPoint's, whose boxes come out of its head suppressed."""
    detector = pillar_detector()
    post = detector.post_processing
    heads = detector.dense_head.forward

    def forward(batch: dict[str, Any]) -> dict[str, Any]:
        final, _ = post(heads(dict(batch)))
        return batch | {"final_box_dicts": final}

    detector.dense_head.forward = forward
    detector.post_processing = lambda batch: (batch["final_box_dicts"], {})
    (found, _), read = run(detector)
    assert len(read.label) == sum(len(one["pred_labels"]) for one in found) > 0
    assert read.logits is None
    assert read.features.shape[1] == 8
    assert np.isnan(read.context[:, AT["n_suppressed_same"] :]).all()


@pytest.mark.parametrize("form", ["inside another module", "in parallel", "compiled"])
def test_wrapped_detectors(form: str) -> None:
    detector = pillar_detector()
    _, expected = run(detector)
    if form == "inside another module":
        wrapped: nn.Module = nn.Sequential(detector).eval()
        wrapped.dataset = detector.dataset
    else:
        wrapped = nn.DataParallel(detector) if form == "in parallel" else detector
    if form == "compiled":
        detector.backbone_2d = torch.compile(detector.backbone_2d, backend="eager")
        detector.module_list[1] = detector.backbone_2d
        with pytest.warns(UserWarning, match="run uncompiled"):
            adapter = adapt(wrapped)
    else:
        adapter = adapt(wrapped)
    with torch.no_grad():
        _, read = adapter.run(batch_of(*CLOUDS), 2)
    np.testing.assert_array_equal(read.boxes, expected.boxes)
    np.testing.assert_array_equal(read.logits, expected.logits)
    np.testing.assert_array_equal(read.features, expected.features)


@pytest.mark.parametrize("form", ["grad", "bfloat16", "non-contiguous"])
def test_numbers_of_any_kind(form: str) -> None:
    detector = pillar_detector()
    batch = batch_of(*CLOUDS)
    if form == "non-contiguous":
        batch["points"] = batch["points"].repeat_interleave(2, dim=1)[:, ::2]
        assert not batch["points"].is_contiguous()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=form == "bfloat16"):
        raw, read = adapt(detector).run(batch, 2)  # no torch.no_grad
    assert raw[0][0]["pred_boxes"].requires_grad
    assert len(read.label) > 20
    assert (read.boxes.dtype, read.features.dtype, read.logits.dtype) == (np.float32,) * 3
    assert np.isfinite(read.features).all()
    assert np.isfinite(read.logits).all(axis=1).mean() > 0.95


def test_frames_without_points_and_without_boxes() -> None:
    nothing = np.empty((0, 4), np.float32)
    _, read = run(pillar_detector(), batch_of(CLOUDS[0], nothing))
    assert read.n_inputs == 2
    assert (read.context[read.input_index == 1, : AT["border_distance"]] == 0).all()
    adapter = adapt(pillar_detector(), score_thresh=1.0)
    _, read = adapter.run(batch_of(nothing), 1)
    assert read.boxes.shape == (0, 7)
    assert read.logits.shape == (0, 4)
    assert read.features.shape == (0, 8)
    assert read.context.shape == (0, len(DETECTION_3D_CONTEXT))


def test_hashes_are_of_the_architecture_and_the_weights() -> None:
    one, same, other = pillar_detector(), pillar_detector(), pillar_detector(seed=1)
    assert adapt(one).architecture_hash == adapt(other).architecture_hash is not None
    assert adapt(one).weights_hash() == adapt(same).weights_hash() != adapt(other).weights_hash()


# --- mmdetection3d


def loaded() -> dict[str, Any]:
    """As mmdetection3d's loader gives a batch."""
    samples = [Det3DDataSample() for _ in CLOUDS]
    return {"inputs": {"points": [torch.from_numpy(points) for points in CLOUDS]}, "data_samples": samples}


@pytest.mark.parametrize("way", ["a batch of the loader", "with its mode"])
def test_a_model_of_mmdetection3d(way: str) -> None:
    pytest.importorskip("mmengine")
    _, expected = run(pillar_detector(), max_detections_per_frame=50)
    model = pillar_model()
    given = loaded() if way == "a batch of the loader" else loaded() | {"mode": "predict"}
    raw, read = run(model, given)
    assert all(isinstance(sample, Det3DDataSample) for sample in raw)
    np.testing.assert_allclose(read.boxes, expected.boxes, atol=1e-5)
    np.testing.assert_array_equal(read.label, expected.label - 1)
    np.testing.assert_allclose(read.features, expected.features, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(read.context[:, AT["n_points"]], expected.context[:, AT["n_points"]])


def test_thresholds_of_mmdetection3d_are_asked_for_and_given_back() -> None:
    pytest.importorskip("mmengine")
    model = pillar_model()
    model.bbox_head.bbox_coder = SimpleNamespace(score_threshold=0.1)
    before = dict(model.bbox_head.test_cfg)
    seen: list[float] = []
    model.bbox_head.register_forward_hook(lambda head, *rest: seen.append(head.bbox_coder.score_threshold))
    raw, read = run(model, loaded(), score_thresh=0.6, iou_thresh=0.2, max_detections_per_frame=4)
    assert [len(sample.pred_instances_3d.scores_3d) for sample in raw] == [4, 4]
    assert read.score.min() >= 0.6
    assert seen == [0.6]
    assert dict(model.bbox_head.test_cfg) == before
    assert model.bbox_head.bbox_coder.score_threshold == 0.1
    told = adapt(model).describe()
    assert (told["family"], told["score_thresh"], told["max_detections_per_frame"]) == ("mmdetection3d", 0.3, 50)
    assert (told["n_classes"], told["feature_layers"]) == (3, ["input of bbox_head"])
    assert told["pc_range"] == PC_RANGE


def test_heads_of_mmdetection3d_with_tasks_or_a_second_stage() -> None:
    pytest.importorskip("mmengine")
    model = pillar_model()
    model.bbox_head.num_classes = [1, 2]
    assert adapt(model).describe()["n_classes"] == 3
    model.roi_head = nn.Module()
    told = adapt(model).describe()
    assert (told["score_thresh"], told["n_classes"], told["feature_layers"]) == (None, None, ["none"])
    assert adapt(model.train()).run(loaded(), 2)[1].n_inputs == 2  # it predicts in either mode


# --- any other module


class Plain(nn.Module):
    """Laid out as torchvision's detectors: a list of frames in, a list of dicts out."""

    def __init__(self, n_boxes: int = 4) -> None:
        super().__init__()
        self.encode = nn.Conv2d(1, 6, 1)
        self.n_boxes = n_boxes

    def forward(self, frames: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        found = []
        for points in frames:
            self.encode(points[: self.n_boxes, 0].reshape(1, 1, 1, -1))
            centre = points[: self.n_boxes, :3]
            boxes = torch.cat([centre, torch.ones_like(centre) * 2, torch.zeros(len(centre), 1)], dim=1)
            scores = torch.linspace(0.9, 0.3, len(boxes))
            found.append({"boxes": boxes, "labels": torch.arange(len(boxes)) % 2, "scores": scores})
        return found


def test_any_module_is_thinned_out_from_above() -> None:
    frames = [torch.tensor([[0.0, 0, 0], [5, 0, 0], [0.5, 0, 9], [5, 3, 0]]), torch.zeros(4, 3)]
    raw, read = run(Plain(), frames, iou_thresh=0.3, score_thresh=0.4)
    assert [len(one["labels"]) for one in raw] == [4, 4]
    assert read.unit.tolist() == [0, 1, 0, 1]  # the third stands above the first, the fourth scores too little
    assert read.input_index.tolist() == [0, 0, 1, 1]
    told = adapt(Plain(), iou_thresh=0.3).describe()
    assert (told["family"], told["iou_thresh"], told["feature_layers"]) == (None, 0.3, [])


def test_maps_that_a_module_makes_frame_by_frame() -> None:
    frames = [torch.rand(4, 3), torch.rand(4, 3)]
    adapter = adapt(Plain(), {"features": "encode"}, pc_range=(0, 0, 0, 1, 1, 1))
    with torch.no_grad():
        assert adapter.run(frames, 2)[1].features.shape == (8, 6)
        assert adapter.run(frames[:1], 1)[1].features.shape == (4, 6)


def test_a_range_on_the_model_is_found() -> None:
    model = Plain()
    model.pc_range = torch.tensor(PC_RANGE)
    assert adapt(model).describe()["pc_range"] == PC_RANGE
    model.pc_range = [-51.2, -51.2]  # as mmdetection3d's coders have
    assert adapt(model).describe()["pc_range"] is None
