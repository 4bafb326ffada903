"""Ground truth of 3D detection in each form that people have it, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ml_debugger.errors import InputError
from ml_debugger.tasks.boxes_3d_in import provided_truths, read_truths_3d
from tests.helpers.kitti import camera_rows, kitti_folder, read_frame
from tests.helpers.mmdet3d_standins import (
    BaseInstance3DBoxes,
    CameraInstance3DBoxes,
    DepthInstance3DBoxes,
    Det3DDataSample,
    InstanceData,
    LiDARInstance3DBoxes,
)

BOXES = [[10.0, 2.0, -1.0, 4.0, 1.75, 1.5, 0.25], [30.0, -8.0, -0.5, 0.75, 0.5, 1.75, -3.0]]
LABELS = [3, 5]
BOTTOM = [[10.0, 2.0, -1.75, 4.0, 1.75, 1.5, 0.25], [30.0, -8.0, -1.375, 0.75, 0.5, 1.75, -3.0]]
CAMERA = [[10.0, 1.75, 2.0, 4.0, 1.5, 1.75, -0.25], [30.0, 1.375, -8.0, 0.75, 1.75, 0.5, 3.0]]
NAN, INF = float("nan"), float("inf")
VELOCITY = [[1.0, -1.0], [NAN, NAN]]


def moving(boxes: list[list[float]]) -> list[list[float]]:
    return [box + velocity for box, velocity in zip(boxes, VELOCITY, strict=True)]


def with_class(boxes: list[list[float]]) -> np.ndarray:
    """As OpenPCDet keeps them: the class, 1 for the first, in the last column."""
    return np.array([[*box, label] for box, label in zip(boxes, LABELS, strict=True)], dtype=np.float32)


def instances(boxes: Any) -> InstanceData:
    return InstanceData(bboxes_3d=boxes, labels_3d=torch.tensor(LABELS))


LIDAR = LiDARInstance3DBoxes(BOTTOM)
EVAL = {"gt_bboxes_3d": LIDAR, "gt_labels_3d": np.array(LABELS), "gt_names": ["car", "van"]}
FORMS: dict[str, Any] = {
    "lists": {"boxes": BOXES, "labels": [3, 5.0]},
    "tensors": {"boxes": torch.tensor(BOXES, requires_grad=True), "labels": torch.tensor(LABELS)},
    "bfloat16": {"boxes": torch.tensor(BOXES, dtype=torch.bfloat16), "labels": torch.tensor(LABELS)},
    "with velocity": {"boxes": np.array(moving(BOXES)), "labels": np.array(LABELS)},
    "an object": {"boxes": LIDAR, "labels": LABELS},
    "OpenPCDet": {"gt_boxes": with_class(BOXES), "frame_id": "000001"},
    "OpenPCDet on nuScenes": {"gt_boxes": torch.tensor(with_class(moving(BOXES)))},
    "OpenPCDet, filled up": {"gt_boxes": np.concatenate([with_class(BOXES), np.zeros((3, 8))])},
    "sample, LiDAR": Det3DDataSample(gt_instances_3d=instances(LIDAR)),
    "sample, nuScenes": Det3DDataSample(gt_instances_3d=instances(LiDARInstance3DBoxes(moving(BOTTOM), box_dim=9))),
    "sample, depth": Det3DDataSample(gt_instances_3d=instances(DepthInstance3DBoxes(BOTTOM))),
    "sample, camera": Det3DDataSample(gt_instances_3d=instances(CameraInstance3DBoxes(CAMERA))),
    "sample of a test set": Det3DDataSample(gt_instances_3d=InstanceData(), eval_ann_info=EVAL),
    "sample of a test set, bare": Det3DDataSample(eval_ann_info=EVAL),
    "sample as a dict": {"gt_instances_3d": {"bboxes_3d": LIDAR, "labels_3d": LABELS}},
    "annotations": EVAL,
    "instances": instances(LIDAR),
    "arrays in a dict": {"gt_bboxes_3d": np.array(BOXES), "gt_labels_3d": LABELS},
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_arrays(form: str) -> None:
    empty = {"boxes": [], "labels": []}
    found = read_truths_3d([empty, FORMS[form]], 2, n_classes=6)
    np.testing.assert_allclose(found.boxes.box, BOXES, atol=1e-6)
    assert found.boxes.box.dtype == np.float64
    assert found.boxes.label.tolist() == LABELS
    assert found.boxes.input_index.tolist() == [1, 1]
    assert found.boxes.ignored.tolist() == [False, False]
    assert found.position.tolist() == [0, 1]
    assert found.known.tolist() == [True, True]
    alone = read_truths_3d(FORMS[form], 1)
    np.testing.assert_array_equal(alone.boxes.box, found.boxes.box)


GT_BOXES = np.zeros((3, 2, 8), dtype=np.float32)
GT_BOXES[0], GT_BOXES[2, 0] = with_class(BOXES), with_class(BOXES)[1]
BATCHES: dict[str, Any] = {
    "gt_boxes": GT_BOXES,
    "gt_boxes on a device": torch.tensor(GT_BOXES),
    "batch of OpenPCDet": {"gt_boxes": torch.tensor(GT_BOXES), "batch_size": 3, "points": torch.zeros(9, 5)},
    "batch of mmdetection3d": {
        "inputs": {"points": []},
        "data_samples": [
            Det3DDataSample(gt_instances_3d=instances(LIDAR)),
            Det3DDataSample(
                gt_instances_3d=InstanceData(bboxes_3d=LiDARInstance3DBoxes([]), labels_3d=torch.zeros(0).long())
            ),
            {"gt_bboxes_3d": LiDARInstance3DBoxes(BOTTOM[1:]), "gt_labels_3d": [5]},
        ],
    },
}


@pytest.mark.parametrize("form", BATCHES)
def test_a_batch_in_one(form: str) -> None:
    found = read_truths_3d(BATCHES[form], 3)
    assert found.boxes.input_index.tolist() == [0, 0, 2]
    assert found.boxes.label.tolist() == [3, 5, 5]
    np.testing.assert_allclose(found.boxes.box, [*BOXES, BOXES[1]])
    assert found.known.all()
    with pytest.raises(InputError, match="expected 2 entries, one per frame, got 3"):
        read_truths_3d(BATCHES[form], 2)


def test_a_batch_of_one_frame() -> None:
    assert read_truths_3d({"gt_boxes": GT_BOXES[:1], "batch_size": 1}, 1).boxes.label.tolist() == LABELS


def test_frames_without_objects_and_frames_without_annotations() -> None:
    found = read_truths_3d([{"gt_boxes": np.zeros((4, 8))}, None, {"gt_boxes": np.zeros((0, 8))}], 3)
    assert found.boxes.box.shape == (0, 7)
    assert found.known.tolist() == [True, False, True]
    assert read_truths_3d([], 0).boxes.box.shape == (0, 7)
    assert read_truths_3d([None], 1).known.tolist() == [False]


@pytest.mark.parametrize("key", ["ignore", "ignored", "iscrowd"])
def test_objects_to_be_ignored(key: str) -> None:
    no_place = [-1000.0, -1000.0, -1000.0, -1.0, -1.0, -1.0, -10.0]
    found = read_truths_3d([{"boxes": [BOXES[0], no_place], "labels": [3, -1], key: [0, 1]}], 1, n_classes=6)
    assert found.boxes.ignored.tolist() == [False, True]
    assert found.boxes.label.tolist() == [3, -1]
    assert found.boxes.box[1, 3:6].tolist() == [0, 0, 0]


def test_mmdetection3d_marks_classes_of_no_interest_by_minus_one() -> None:
    found = read_truths_3d([{"gt_bboxes_3d": LIDAR, "gt_labels_3d": np.array([3, -1])}], 1, n_classes=6)
    assert found.boxes.ignored.tolist() == [False, True]


def test_a_box_without_an_extent_is_kept_and_ignored() -> None:
    flat = [*BOXES[0][:5], 0.0, 0.0]
    found = read_truths_3d([{"boxes": [flat, BOXES[1]], "labels": [1, 1]}], 1)
    assert found.boxes.ignored.tolist() == [True, False]
    assert found.position.tolist() == [0, 1]


def test_annotations_are_not_altered() -> None:
    boxes = np.array([[1.0, 2, 3, -1, 1, 1, 0]])
    read_truths_3d([{"boxes": boxes, "labels": [1], "ignore": [1]}], 1)
    assert boxes[0, 3] == -1


REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": ({"boxes": [[NAN, *BOXES[0][1:]]], "labels": [1]}, "expected finite boxes.*leave such boxes out"),
    "infinite yaw": ({"boxes": [[*BOXES[0][:6], INF]], "labels": [1]}, "expected finite boxes"),
    "DontCare": (
        {"boxes": [[0, 0, 0, -1, -1, -1, -10]], "labels": [1]},
        "of at least 0, got .*DontCare.*mark it by ign",
    ),
    "degrees": ({"boxes": [[*BOXES[0][:6], 90]], "labels": [1]}, "yaw in radians, got 90 for box 0; convert degrees"),
    "image boxes": (
        {"boxes": [[1, 2, 3, 4]], "labels": [1]},
        r"boxes \(G, 7\).*\(1, 4\); boxes of images belong to 2D",
    ),
    "no yaw": ({"boxes": np.ones((2, 6)), "labels": [1, 1]}, "append a column of zeros"),
    "one box": ({"boxes": BOXES[0], "labels": [1]}, r"for one box use shape \(1, 7\)"),
    "class inside": ({"boxes": with_class(BOXES), "labels": LABELS}, "give the labels apart from the boxes"),
    "ragged": ({"boxes": [[1, 2], [1]], "labels": [1, 1]}, r"boxes \(G, 7\)"),
    "text": ({"boxes": "all", "labels": [1]}, r"boxes \(G, 7\)"),
    "no class": ({"gt_boxes": np.ones((2, 7))}, r"gt_boxes \(G, 8\).*class in the last column, got shape \(2, 7\)"),
    "no gt_boxes": ({"gt_boxes": None}, r"expected gt_boxes \(G, 8\)"),
    "labels": ({"boxes": BOXES, "labels": [1]}, "expected 2 labels, one per box"),
    "labels of instances": ({"gt_bboxes_3d": LIDAR, "gt_labels_3d": 3}, "expected 2 labels, one per box, got 3"),
    "names": ({"boxes": BOXES, "labels": ["car", "van"]}, "integer class ids as labels, got 'car' for box 0"),
    "unknown class": ({"boxes": BOXES, "labels": [1, 6]}, r"expected labels 0\.\.5.*got 6 for box 1; map the ids"),
    "class of OpenPCDet": ({"gt_boxes": with_class(BOXES) + 0.5}, "integer class ids"),
    "unmarked": ({"boxes": BOXES, "labels": [1, -1]}, "-1 for a region marked as crowd or ignore"),
    "flags": ({"boxes": BOXES, "labels": [1, 1], "ignore": [0]}, "expected 2 crowd flags"),
    "no way up": ({"boxes": BaseInstance3DBoxes(BOXES), "labels": [1, 1]}, "got BaseInstance3DBoxes with YAW_AXIS 0"),
    "another dict": ({"box": BOXES}, r"a Det3DDataSample.*got a dict with the keys \['box'\]"),
    "nuScenes": (
        [{"translation": [0, 0, 0], "size": [1, 2, 1]}],
        r"got list; of nuScenes' annotations make boxes: cent",
    ),
    "KITTI": ({"location": [[0, 0, 0]], "rotation_y": [0]}, "of KITTI's annotations make boxes.*from_camera"),
    "infos of OpenPCDet": ({"gt_boxes_lidar": BOXES, "name": ["a", "b"]}, "pass it as boxes, beside the class ids"),
    "sample without truth": (Det3DDataSample(), "got Det3DDataSample"),
    "a list": ([BOXES], "got list"),
    "a tensor": (torch.zeros(1, 7), "got Tensor"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_cannot_be_right_is_refused(mistake: str) -> None:
    entry, message = REFUSED[mistake]
    with pytest.raises(InputError, match=rf"ground_truth\[1\]: .*{message}"):
        read_truths_3d([None, entry], 2, n_classes=6)


@pytest.mark.parametrize(
    ("ground_truth", "n_inputs", "message"),
    [
        (FORMS["tensors"], 2, "a list with one entry per frame, got dict; each entry is a dict with gt_boxes"),
        (torch.zeros(2, 7), 2, "a list with one entry per frame, got Tensor"),
        (None, 1, "got NoneType"),
        ([None], 2, "expected 2 entries, one per frame, got 1"),
    ],
)
def test_one_entry_per_frame_is_expected(ground_truth: Any, n_inputs: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_truths_3d(ground_truth, n_inputs)


def test_a_provider_is_asked_for_each_id_as_it_was_given() -> None:
    known = {7: FORMS["tensors"], "b": {"boxes": [], "labels": []}}
    entries = provided_truths(known.get, [7, "b", 8])
    assert entries == [known[7], known["b"], None]
    found = read_truths_3d(entries, 3)
    assert found.known.tolist() == [True, True, False]
    assert provided_truths(known.get, []) == []


def test_a_provider_that_cannot_be_right_is_refused() -> None:
    known: dict[int, Any] = {}
    with pytest.raises(InputError, match="a function of an input id, got dict; of a dict pass its get"):
        provided_truths(known, [1])  # type: ignore[arg-type] - the mistake
    with pytest.raises(
        InputError, match="raised KeyError for the input 1; return None where an input is not annotated"
    ):
        provided_truths(known.__getitem__, [1])

    def broken(name: Any) -> Any:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        provided_truths(broken, [1])


@pytest.mark.data
def test_kittis_camera_boxes() -> None:
    frame = read_frame(kitti_folder(), "000008")
    found = read_truths_3d([{"boxes": CameraInstance3DBoxes(camera_rows(frame)), "labels": [0] * len(frame.ry)}], 1)
    h, w, length = frame.hwl.T
    x, y, z = frame.bottom.T
    expected = np.stack([x, z, -(y - h / 2), length, w, h, -frame.ry], axis=1)
    np.testing.assert_allclose(found.boxes.box, expected, atol=1e-5)
    assert not found.boxes.ignored.any()
