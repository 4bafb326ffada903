"""Ground truth of detection in each form that people have it, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from ml_debugger.errors import InputError
from ml_debugger.tasks.boxes_in import read_truths

BOXES = [[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 5.0, 5.0]]


@dataclass
class Detections:
    """What a supervision Detections shows."""

    xyxy: Any
    class_id: Any
    data: dict[str, Any] = field(default_factory=dict)


def coco(box: list[float], label: int, **more: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": label, **more}


FORMS = {
    "tensors": {"boxes": torch.tensor(BOXES), "labels": torch.tensor([3, 5])},
    "bfloat16": {"boxes": torch.tensor(BOXES, dtype=torch.bfloat16), "labels": torch.tensor([3, 5])},
    "needs grad": {"boxes": torch.tensor(BOXES, requires_grad=True), "labels": torch.tensor([3, 5])},
    "arrays": {"boxes": np.array(BOXES, dtype=np.float32), "labels": np.array([3, 5], dtype=np.uint8)},
    "lists": {"boxes": BOXES, "labels": [3, 5.0]},
    "list of tensors": {"boxes": [torch.tensor(box) for box in BOXES], "labels": [torch.tensor(3), torch.tensor(5)]},
    "COCO": [coco(BOXES[0], 3), coco(BOXES[1], 5, iscrowd=0, area=25)],
    "COCO under annotations": {"image_id": 7, "annotations": [coco(BOXES[0], 3), coco(BOXES[1], 5)]},
    "Detections": Detections(np.array(BOXES), np.array([3, 5])),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_arrays(form: str) -> None:
    found = read_truths([[], FORMS[form]], 2, n_classes=6)
    np.testing.assert_array_equal(found.boxes.box, BOXES)
    assert found.boxes.box.dtype == np.float64
    assert found.boxes.label.tolist() == [3, 5]
    assert found.boxes.label.dtype == np.int64
    assert found.boxes.input_index.tolist() == [1, 1]
    assert found.boxes.ignored.tolist() == [False, False]
    assert found.position.tolist() == [0, 1]
    assert found.known.tolist() == [True, True]


def test_real_detections_of_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    full = supervision.Detections(xyxy=np.array(BOXES), class_id=np.array([3, 5]))
    found = read_truths((full, supervision.Detections.empty()), 2)
    np.testing.assert_array_equal(found.boxes.box, BOXES)
    assert found.known.all()


@pytest.mark.parametrize(
    "empty",
    [
        [],
        {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)},
        {"boxes": torch.empty(0), "labels": []},
        {"annotations": []},
        Detections(np.empty((0, 4)), None),
    ],
    ids=["COCO", "torchvision", "flat", "annotations", "Detections"],
)
def test_an_image_without_objects_is_known_to_have_none(empty: Any) -> None:
    found = read_truths([empty, None], 2)
    assert found.boxes.box.shape == (0, 4)
    assert found.known.tolist() == [True, False]


def test_no_images() -> None:
    found = read_truths([], 0)
    assert len(found.boxes) == 0
    assert found.known.shape == (0,)


@pytest.mark.parametrize("key", ["iscrowd", "ignore", "ignored"])
@pytest.mark.parametrize(
    "flags", [[0, 1], torch.tensor([0, 1]), np.array([False, True])], ids=["list", "tensor", "array"]
)
def test_crowds_are_ignored(key: str, flags: Any) -> None:
    assert read_truths([{**FORMS["tensors"], key: flags}], 1).boxes.ignored.tolist() == [False, True]
    annotations = [coco(BOXES[0], 3, **{key: int(flags[0])}), coco(BOXES[1], 5, **{key: int(flags[1])})]
    assert read_truths([annotations], 1).boxes.ignored.tolist() == [False, True]
    assert read_truths([Detections(BOXES, [3, 5], {key: flags})], 1).boxes.ignored.tolist() == [False, True]


def test_a_region_of_any_class_is_to_be_ignored() -> None:
    found = read_truths([{"boxes": BOXES, "labels": [3, -1], "ignore": [0, 1]}], 1, n_classes=6)
    assert found.boxes.label.tolist() == [3, -1]


@pytest.mark.parametrize(
    "entry", [{"boxes": [[5, 5, 5, 9]], "labels": [1]}, [{"bbox": [5, 5, 3, 0], "category_id": 1}]]
)
def test_a_box_without_an_area_is_kept_and_ignored(entry: Any) -> None:
    found = read_truths([entry], 1)
    assert found.boxes.ignored.tolist() == [True]
    assert found.position.tolist() == [0]


def test_boxes_may_reach_beyond_the_image() -> None:
    found = read_truths([{"boxes": [[-20, -5, 10, 9000]], "labels": [1]}], 1)
    assert found.boxes.box.tolist() == [[-20, -5, 10, 9000]]
    assert not found.boxes.ignored[0]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"boxes": [[NAN, 0, 1, 1]], "labels": [1]}, r"ground_truth\[0\]: expected finite boxes.*leave such boxes out"),
        ({"boxes": [[0, 0, INF, 1]], "labels": [1]}, "expected finite boxes"),
        ({"boxes": [[50, 50, 20, 90]], "labels": [1]}, "x1 <= x2.*width height are to be converted"),
        ([{"bbox": [5, 5, -1, 3], "category_id": 1}], "width and height of at least 0"),
        ({"boxes": [1, 2, 3, 4], "labels": [1]}, r"shape \(G, 4\).*use shape \(1, 4\)"),
        ({"boxes": torch.zeros(2, 5), "labels": [1, 1]}, r"shape \(G, 4\).*got shape \(2, 5\)"),
        ({"boxes": [[1, 2, 3], [1, 2, 3, 4]], "labels": [1, 1]}, r"shape \(G, 4\).*got 2 entries"),
        ({"boxes": "all", "labels": [1]}, r"shape \(G, 4\).*got 'all'"),
        ({"boxes": None, "labels": []}, r"shape \(G, 4\).*got None"),
        ({"boxes": BOXES, "labels": [1]}, "expected 2 labels, one per box, got 1 entries"),
        ({"boxes": BOXES, "labels": 1}, "expected 2 labels, one per box, got 1"),
        ({"boxes": BOXES, "labels": [1, 1.5]}, "integer class ids as labels, got 1.5 for box 1"),
        ({"boxes": BOXES, "labels": ["car", "bus"]}, "integer class ids as labels, got 'car' for box 0"),
        ({"boxes": BOXES, "labels": [1, NAN]}, "integer class ids as labels, got nan"),
        ({"boxes": BOXES, "labels": [True, False]}, "integer class ids as labels, got True"),
        ({"boxes": BOXES, "labels": [1, 6]}, r"expected labels 0..5.*got 6 for box 1; map the ids"),
        ({"boxes": BOXES, "labels": [1, -1]}, "-1 for a region marked as crowd or ignore, got -1 for box 1"),
        ({"boxes": BOXES, "labels": [1, -2], "ignore": [0, 1]}, "got -2 for box 1"),
        ({"boxes": BOXES, "labels": [1, 1], "iscrowd": [0]}, "expected 2 crowd flags.*got 1 entries"),
        ({"boxes": BOXES, "labels": [1, 1], "iscrowd": [0, 2]}, "crowd flags, 0 or 1 each"),
        ({"bbox": [0, 0, 1, 1], "category_id": 1}, "put the COCO annotations of an image into a list"),
        ({"boxes": BOXES, "class_labels": [1, 1]}, "these labels are in fractions of the image"),
        ({"box": BOXES}, r"got a dict with the keys \['box'\]"),
        ([{"bbox": [0, 0, 1, 1]}], r'ground_truth\[0\]\[0\]: expected a dict with "bbox" and "category_id"'),
        ([[0, 0, 1, 1]], "got list"),
        (Detections(BOXES, None), "Detections with class_id, got None"),
        (torch.zeros(1, 4), "expected a dict .*got Tensor"),
    ],
)
def test_what_cannot_be_right_is_refused(entry: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_truths([entry], 1, n_classes=6)


@pytest.mark.parametrize("form", ["XYWH", "CXCYWH"])
def test_boxes_of_torchvision_that_say_to_be_in_another_format_are_refused(form: str) -> None:
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")

    def entry(name: str) -> dict[str, Any]:
        boxes = tv_tensors.BoundingBoxes(BOXES, format=name, canvas_size=(100, 100))
        return {"boxes": boxes, "labels": torch.tensor([3, 5])}

    assert read_truths([entry("XYXY")], 1).boxes.box.tolist() == BOXES
    with pytest.raises(InputError, match=f"XYXY, got {form}; convert them by"):
        read_truths([entry(form)], 1)


def test_labels_are_only_bounded_where_the_classes_are_known() -> None:
    assert read_truths([{"boxes": BOXES, "labels": [1, 900]}], 1).boxes.label.tolist() == [1, 900]
    with pytest.raises(InputError, match="at least 0"):
        read_truths([{"boxes": BOXES, "labels": [1, -1]}], 1)


def test_the_message_names_the_image() -> None:
    with pytest.raises(InputError, match=r"ground_truth\[2\]"):
        read_truths([[], None, {"boxes": [[NAN] * 4], "labels": [1]}], 3)


@pytest.mark.parametrize(
    ("ground_truth", "n_inputs", "message"),
    [
        (FORMS["tensors"], 1, "a list with one entry per image, got dict"),
        (torch.zeros(2, 4), 2, "got Tensor"),
        ([[]], 2, "expected 2 entries, one per image, got 1$"),
        (FORMS["COCO"], 1, r"got 2; for one image with COCO annotations pass \[annotations\]"),
    ],
)
def test_one_entry_per_image_is_expected(ground_truth: Any, n_inputs: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_truths(ground_truth, n_inputs)
