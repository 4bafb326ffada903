"""Every form in which 3D boxes come, and every mistake in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ml_debugger.adapters.detection.boxes import ImageBoxes
from ml_debugger.adapters.detection.frames import frame_points
from ml_debugger.adapters.detection.outputs import read_detections, read_image
from ml_debugger.adapters.detection.outputs_3d import FRAME_FORM
from ml_debugger.adapters.inputs import call_rule
from ml_debugger.errors import CaptureError, InputError
from ml_debugger.tasks.boxes_3d_in import read_truths_3d
from tests.helpers.mmdet3d_standins import (
    BaseInstance3DBoxes,
    CameraInstance3DBoxes,
    DepthInstance3DBoxes,
    Det3DDataSample,
    InstanceData,
    LiDARInstance3DBoxes,
)

# Ours: geometric centre, sizes, yaw.
BOXES = np.array([[10, 2, -1, 4, 1.75, 1.5, 0.25], [30, -8, -0.5, 0.75, 0.5, 1.75, -3]], dtype=np.float32)
LABELS = np.array([2, 1])
SCORES = np.array([0.9, 0.25], dtype=np.float32)
VELOCITY = np.array([[3, np.nan], [0, 0]], dtype=np.float32)
PLAIN = {"boxes": BOXES, "labels": LABELS, "scores": SCORES}


def bottom(boxes: np.ndarray) -> np.ndarray:
    """The same with the middle of the bottom in place of the centre."""
    return boxes - boxes[:, [5]] / 2 * np.eye(7, dtype=np.float32)[2]


def camera(boxes: np.ndarray) -> np.ndarray:
    """The same as a camera of ours sees them: x right, y down, z forward, bottom's middle, l h w, ry."""
    x, y, z, length, width, height, yaw = boxes.T
    return np.stack([x, -(z - height / 2), y, length, height, width, -yaw], axis=1)


def instances(boxes: Any) -> InstanceData:
    return InstanceData(bboxes_3d=boxes, scores_3d=torch.tensor(SCORES), labels_3d=torch.tensor(LABELS))


def pcdet(boxes: np.ndarray = BOXES) -> dict[str, Any]:
    """As OpenPCDet's post-processing returns it; its labels begin at 1, 0 being the background."""
    found = {"pred_boxes": boxes, "pred_scores": SCORES, "pred_labels": LABELS}
    return {name: torch.tensor(value) for name, value in found.items()}


LIDAR = LiDARInstance3DBoxes(bottom(BOXES))
MOVING = LiDARInstance3DBoxes(np.concatenate([bottom(BOXES), VELOCITY], axis=1), box_dim=9)

FORMS: dict[str, Any] = {
    "arrays": PLAIN,
    "lists": {name: value.tolist() for name, value in PLAIN.items()},
    "tensors that need grad": PLAIN | {"boxes": torch.tensor(BOXES, requires_grad=True)},
    "boxes with a velocity": PLAIN | {"boxes": np.concatenate([BOXES, VELOCITY], axis=1)},
    "an object under plain names": PLAIN | {"boxes": LIDAR},
    "OpenPCDet": pcdet(),
    "OpenPCDet on nuScenes": pcdet(np.concatenate([BOXES, VELOCITY], axis=1)),
    "sample, LiDAR": Det3DDataSample(pred_instances_3d=instances(LIDAR)),
    "sample, LiDAR on nuScenes": Det3DDataSample(pred_instances_3d=instances(MOVING)),
    "sample, depth": Det3DDataSample(pred_instances_3d=instances(DepthInstance3DBoxes(bottom(BOXES)))),
    "sample, camera": Det3DDataSample(pred_instances_3d=instances(CameraInstance3DBoxes(camera(BOXES)))),
    "sample with its truth": Det3DDataSample(gt_instances_3d=InstanceData(), pred_instances_3d=instances(LIDAR)),
    "sample as a dict": {
        "pred_instances_3d": {name: instances(LIDAR)[name] for name in ("bboxes_3d", "scores_3d", "labels_3d")}
    },
    "instances": instances(LIDAR),
    "dict of instances": {"bboxes_3d": LIDAR, "scores_3d": torch.tensor(SCORES), "labels_3d": torch.tensor(LABELS)},
    "dict of arrays": {"bboxes_3d": BOXES, "scores_3d": SCORES, "labels_3d": LABELS},
    "before 1.0": {"boxes_3d": LIDAR, "scores_3d": torch.tensor(SCORES), "labels_3d": torch.tensor(LABELS)},
    "before 1.0, of points": {
        "pts_bbox": {"boxes_3d": LIDAR, "scores_3d": torch.tensor(SCORES), "labels_3d": torch.tensor(LABELS)}
    },
}


def read(output: Any, n_inputs: int = 1) -> list[ImageBoxes]:
    return read_detections(output, n_inputs, FRAME_FORM)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str) -> None:
    for output in ([FORMS[form]], (FORMS[form],), FORMS[form]):
        (frame,) = read(output)
        np.testing.assert_allclose(frame.boxes, BOXES, atol=1e-6)
        np.testing.assert_array_equal(frame.labels, LABELS)
        np.testing.assert_allclose(frame.scores, SCORES)
        assert (frame.boxes.dtype, frame.labels.dtype, frame.scores.dtype) == (np.float32, np.int64, np.float64)
        assert frame.features is frame.logits is frame.candidates is frame.size is None


def test_openpcdet_returns_a_record_of_recall_beside_the_boxes() -> None:
    recall = {"gt": 3, "rcnn_0.3": 2}
    for n_frames in (1, 2):
        frames = read(([pcdet()] * n_frames, recall), n_frames)
        assert [len(frame.labels) for frame in frames] == [2] * n_frames
    with pytest.raises(
        InputError, match="3 ids were given, but the model returned boxes of 2 frames; give one id per f"
    ):
        read(([pcdet()] * 2, recall), 3)


class PointDetector(torch.nn.Module):
    """Laid out as OpenPCDet's detectors: one dict in, losses in training mode, else predictions and recall."""

    def forward(self, batch_dict: dict[str, Any]) -> Any:
        if self.training:
            return {"loss": torch.tensor(1.0)}, {"loss_rpn": 1.0}, {}
        return [pcdet() for _ in range(batch_dict["batch_size"])], {"gt": 4, "roi_0.3": 0, "rcnn_0.3": 2}


def test_a_detector_of_openpcdet_takes_its_batch_as_one_dict() -> None:
    detector = PointDetector()
    points = torch.tensor([[0, 1.0, 2, 3, 0.5], [1, 4, 5, 6, 0.5]])
    batch = {"points": points, "batch_size": 2, "frame_id": np.array(["a", "b"]), "gt_boxes": torch.zeros(2, 1, 8)}
    rule = call_rule(detector.forward)
    with pytest.raises(CaptureError, match=r"losses.*call model\.eval\(\)"):
        read(rule.call(detector, batch), 2)
    frames = read(rule.call(detector.eval(), batch), 2)
    assert [frame.boxes.shape for frame in frames] == [(2, 7), (2, 7)]
    assert [frame.tolist() for frame in frame_points(batch, 2)] == [[[1, 2, 3]], [[4, 5, 6]]]
    assert read_truths_3d(batch, 2).known.all()


@pytest.mark.parametrize(
    "output",
    [({"loss": torch.tensor(1.0)}, {}, {}), {"loss_cls": torch.tensor(1.0)}],
    ids=["OpenPCDet", "mmdetection3d"],
)
def test_a_model_in_training_mode_is_told_to_evaluate(output: Any) -> None:
    with pytest.raises(CaptureError, match=r"losses.*call model\.eval\(\)"):
        read(output)


def empty(boxes: Any) -> dict[str, Any]:
    return {"boxes": boxes, "labels": [], "scores": []}


@pytest.mark.parametrize(
    "output",
    [
        empty(np.zeros((0, 7))),
        empty(torch.zeros(0, 9)),
        empty([]),
        empty(LiDARInstance3DBoxes([])),
        InstanceData(bboxes_3d=CameraInstance3DBoxes([]), scores_3d=torch.zeros(0), labels_3d=torch.zeros(0)),
    ],
)
def test_no_box_has_a_shape(output: Any) -> None:
    (frame,) = read([output])
    assert frame.boxes.shape == (0, 7)
    assert frame.labels.shape == frame.scores.shape == (0,)


def test_a_broken_box_stays_with_label_minus_one() -> None:
    broken = np.concatenate([BOXES, VELOCITY], axis=1)
    broken[1, 6] = np.inf
    (frame,) = read(pcdet(broken))
    assert frame.labels.tolist() == [2, -1]  # a velocity that is not known breaks no box
    assert frame.scores[1] == 0
    assert np.isnan(frame.boxes[1]).all()


def test_what_is_beside_the_boxes_is_read_too() -> None:
    candidates = {"boxes": np.repeat(BOXES, 2, axis=0), "scores": np.linspace(0.1, 0.9, 12).reshape(4, 3)}
    more = {"features": np.ones((2, 5)), "logits": np.zeros((2, 3)), "candidates": candidates}
    plain = {"bboxes_3d": LIDAR, "scores_3d": SCORES, "labels_3d": LABELS}
    for output, first in ((pcdet() | more, 1), (plain | more, 0)):
        frame = read_image(output, form=FRAME_FORM)
        assert frame.features.shape == (2, 5)
        assert frame.logits.shape == (2, first + 3)
        assert frame.candidates.boxes.shape == (12, 7)
        assert sorted(set(frame.candidates.labels.tolist())) == [first, first + 1, first + 2]
    # OpenPCDet's labels begin at 1: what stands before its logits is of a class that cannot be
    assert (read_image(pcdet() | more, form=FRAME_FORM).logits == [[-50, 0, 0, 0]] * 2).all()
    with pytest.raises(InputError, match=r"frame 0, candidates: expected a dict of boxes \(M, 7\)"):
        read_image(pcdet() | {"candidates": BOXES}, form=FRAME_FORM)


def test_the_output_is_not_altered() -> None:
    boxes = torch.tensor([[1.0, 2, 3, 4, 5, 6, torch.nan]])
    read({"boxes": boxes, "labels": torch.tensor([1]), "scores": torch.tensor([0.5])})
    assert boxes[0, :6].tolist() == [1, 2, 3, 4, 5, 6]


def changed(**changes: Any) -> dict[str, Any]:
    return PLAIN | changes


REFUSED: dict[str, tuple[Any, str]] = {
    "image boxes": (changed(boxes=BOXES[:, :4]), r"boxes \(U, 7\).*\(2, 4\); boxes of images belong to 2D"),
    "no yaw": (changed(boxes=BOXES[:, :6]), r"got shape \(2, 6\); append a column of zeros where boxes have no yaw"),
    "labels inside": (changed(boxes=np.ones((2, 8))), "give the labels apart from the boxes"),
    "one box": (changed(boxes=BOXES[0]), r"got shape \(7,\); for one box use shape \(1, 7\)"),
    "corners": (
        changed(boxes=BOXES * [1, 1, 1, -1, 1, 1, 1]),
        r"sizes dx dy dz of at least 0, got \[-4.*position 0; g",
    ),
    "labels": (changed(labels=np.arange(3)), r"labels \(2,\), one per box"),
    "names": (changed(labels=[0.5, 1]), "integer class ids"),
    "raw scores": (pcdet() | {"pred_scores": torch.tensor([2.5, 0.1])}, r"scores in 0\.\.1, got 2\.5.*sigmoid"),
    "scores": (changed(scores=SCORES[:1]), r"scores \(2,\), one per box"),
    "features": (changed(features=np.ones((3, 2))), r"features \(2, \*\), one row per box"),
    "no way up": (
        changed(boxes=BaseInstance3DBoxes(BOXES)),
        "got BaseInstance3DBoxes with YAW_AXIS 0; or give an array",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_cannot_be_right_is_refused(mistake: str) -> None:
    output, message = REFUSED[mistake]
    with pytest.raises(InputError, match=f"model output of frame 1.*{message}"):
        read([PLAIN, output], 2)


UNREADABLE: dict[str, tuple[Any, str]] = {
    "no scores": ([{"pred_boxes": BOXES, "pred_labels": LABELS}], "scores are missing"),
    "no labels": ([{"bboxes_3d": BOXES, "scores_3d": SCORES}], "labels are missing"),
    "sample without predictions": (
        [Det3DDataSample(gt_instances_3d=InstanceData())],
        "expected a list with one entry per",
    ),
    "empty instances": (
        [Det3DDataSample(pred_instances_3d=InstanceData())],
        "expected a list with one entry per frame",
    ),
    "another dict": ([{"rois": BOXES}], "an OpenPCDet dict of pred_boxes"),
    "a tensor": (torch.zeros(2, 7), "got Tensor"),
    "a head's maps": ([torch.zeros(1, 7, 200, 200)], "got Tensor"),
    "none": (None, "got NoneType"),
    "text": ("boxes", "got str"),
}


@pytest.mark.parametrize("form", UNREADABLE)
def test_what_cannot_be_read_is_an_error_that_says_what_to_return(form: str) -> None:
    output, message = UNREADABLE[form]
    with pytest.raises(CaptureError, match=message):
        read(output)


def test_objects_are_read_by_what_they_offer_alone() -> None:
    class Rows:
        """No more than rows and the axis of the yaw."""

        YAW_AXIS = 2

        def __init__(self, rows: np.ndarray) -> None:
            self.tensor = rows

    (frame,) = read(changed(boxes=Rows(bottom(BOXES))))
    np.testing.assert_allclose(frame.boxes, BOXES, atol=1e-6)


def test_the_real_package_where_it_is_installed() -> None:
    structures = pytest.importorskip("mmdet3d.structures", reason="no mmdetection3d here", exc_type=ImportError)
    engine = pytest.importorskip("mmengine.structures")
    for kind, rows in (("LiDAR", bottom(BOXES)), ("Depth", bottom(BOXES)), ("Camera", camera(BOXES))):
        sample = structures.Det3DDataSample()
        sample.pred_instances_3d = engine.InstanceData(
            bboxes_3d=getattr(structures, f"{kind}Instance3DBoxes")(torch.tensor(rows)),
            scores_3d=torch.tensor(SCORES),
            labels_3d=torch.tensor(LABELS),
        )
        np.testing.assert_allclose(read([sample])[0].boxes, BOXES, atol=1e-6)
