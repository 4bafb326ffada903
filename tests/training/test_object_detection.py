"""The detection tracer, from a tiny callable to stored rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ml_debugger.columns import FRAME_CONTEXT, INPUTS, RECORDS, TRUTHS
from ml_debugger.connect import connect
from ml_debugger.errors import ArchitectureMismatchError, CaptureError, InputError
from ml_debugger.service.contract import RunKey, ScanRequest
from ml_debugger.training import ObjectDetectionTracer
from tests.helpers.tiny_detectors import images, tiny_detector

RUN = RunKey("boxes", "v1")
PAIR = np.array([[0.0, 0, 10, 10], [20, 20, 30, 40]], np.float32)
NONE = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0), "scores": np.zeros(0)}
TWO = {"boxes": PAIR, "labels": np.array([1, 0]), "scores": np.array([0.9, 0.4]), "features": np.eye(2)}
BATCH = np.zeros((2, 60, 80, 3), np.uint8)
BARE: dict[str, Any] = {"boxes": [], "labels": []}


def stored(kind: str) -> list[dict[str, Any]]:
    batches = connect().service.scan(ScanRequest(RUN, kind))
    place = {INPUTS: (), RECORDS: ("unit",), TRUTHS: ("truth_index",)}[kind]
    return sorted(
        (row for batch in batches for row in batch.to_pylist()),
        key=lambda row: (row["recorded_at"], row["input_id"], *(row[name] for name in place)),
    )


def traced(output: Any, truths: Any, **settings: Any) -> tuple[Any, ObjectDetectionTracer]:
    tracer = ObjectDetectionTracer(lambda batch: output, "boxes", "v1", **settings)
    raw = tracer(BATCH[: len(truths)], truths, [f"image{i}" for i in range(len(truths))], "val", 3)
    tracer.wait_for_save()
    return raw, tracer


def test_every_box_is_a_row_and_every_image_too() -> None:
    output = [TWO, NONE]
    raw, _ = traced(output, [{"boxes": PAIR[:1], "labels": [1]}, BARE])
    assert raw is output
    inputs, records, truths = stored(INPUTS), stored(RECORDS), stored(TRUTHS)
    assert [(row["input_id"], row["n_units"], row["n_epoch"]) for row in inputs] == [("image0", 2, 3), ("image1", 0, 3)]
    assert [row["frame_context"][FRAME_CONTEXT.index("n_kept")] for row in inputs] == [2, 0]
    assert [(row["input_id"], row["unit"], row["label"]) for row in records] == [("image0", 0, 1), ("image0", 1, 0)]
    np.testing.assert_array_equal([row["box"] for row in records], PAIR)
    np.testing.assert_array_equal([row["features"] for row in records], np.eye(2))
    assert [row["score"] for row in records] == pytest.approx([0.9, 0.4])
    assert records[0]["context"][:2] == [80, 60]
    real = [row for row in truths if row["truth_index"] >= 0]
    assert [(row["input_id"], row["truth"], row["box"]) for row in real] == [("image0", 1, [0, 0, 10, 10])]


COCO = [
    {"bbox": [0, 0, 10, 10], "category_id": 1, "iscrowd": 0},
    {"bbox": [5, 5, 9, 9], "category_id": 2, "iscrowd": 1},
]
FORMS = {
    "torchvision": {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([1])},
    "coco": COCO,
    "supervision": SimpleNamespace(xyxy=PAIR[:1], class_id=np.array([1]), confidence=None),
}


@pytest.mark.parametrize("form", FORMS)
def test_annotations_come_in_three_forms(form: str) -> None:
    traced([TWO], [FORMS[form]])
    truths = stored(TRUTHS)
    assert (truths[0]["truth"], truths[0]["box"], truths[0]["ignored"]) == (1, [0, 0, 10, 10], False)
    assert [row["ignored"] for row in truths[1:]] == ([True] if form == "coco" else [])


def test_thresholds_choose_what_is_recorded_and_units_are_places_in_the_output() -> None:
    swapped = {name: value[::-1] for name, value in TWO.items()}
    traced([swapped], [BARE], score_thresh=0.5)
    assert [(row["unit"], row["score"]) for row in stored(RECORDS)] == [(1, pytest.approx(0.9))]
    assert [row["n_units"] for row in stored(INPUTS)] == [1]


def test_an_image_without_annotations_has_no_truth_row() -> None:
    traced([TWO, TWO], [None, BARE])
    assert {row["input_id"] for row in stored(TRUTHS)} <= {"image1"}


def test_a_first_batch_without_boxes_binds_no_widths() -> None:
    outputs = iter([[NONE], [TWO]])
    tracer = ObjectDetectionTracer(lambda batch: next(outputs), "boxes", "v1")
    tracer(BATCH[:1], [BARE], ["empty"])
    tracer.wait_for_save()
    tracer(BATCH[:1], [BARE], ["full"])
    tracer.wait_for_save()
    assert [(row["input_id"], row["n_units"]) for row in stored(INPUTS)] == [("empty", 0), ("full", 2)]
    assert len(stored(RECORDS)) == 2
    other = ObjectDetectionTracer(lambda batch: [TWO | {"features": np.eye(2, 3)}], "boxes", "v1")
    with pytest.raises(ArchitectureMismatchError, match="2 features per unit"):
        other(BATCH[:1], [BARE], ["full"])


def test_tracing_an_image_again_replaces_its_boxes() -> None:
    outputs = iter([[TWO], [NONE]])
    tracer = ObjectDetectionTracer(lambda batch: next(outputs), "boxes", "v1")
    for _ in range(2):
        tracer(BATCH[:1], [BARE], ["same"])
    tracer.wait_for_save()
    assert len(stored(INPUTS)) == 1
    assert stored(RECORDS) == []


def test_additional_fields_of_an_image_stand_with_all_its_boxes() -> None:
    tracer = ObjectDetectionTracer(
        lambda batch: [TWO],
        "boxes",
        "v1",
        additional_fields=[{"name": "site", "type": "str"}],
        additional_label_fields=[{"name": "annotator", "type": "int"}],
    )
    tracer(BATCH[:1], [{"boxes": PAIR, "labels": [0, 1]}], ["a"], site="north", annotator=[7])
    tracer.wait_for_save()
    assert [row["site"] for row in stored(RECORDS)] == ["north", "north"]
    assert [row["annotator"] for row in stored(TRUTHS)] == [7, 7]


def test_a_broken_box_is_recorded_as_no_prediction() -> None:
    traced([TWO | {"boxes": np.array([[0, 0, np.nan, 9], [0, 0, 5, 5]])}], [BARE])
    first, second = stored(RECORDS)
    assert (first["label"], first["score"], second["label"]) == (-1, 0, 0)
    assert np.isnan(first["box"]).all()


@pytest.mark.parametrize(
    ("output", "truths", "error", "message"),
    [
        ([TWO], [BARE, BARE], InputError, "2 ids were given, but the model returned boxes of 1 images"),
        ([TWO | {"scores": [3, 4]}], [BARE], InputError, r"scores in 0\.\.1, got 3"),
        ([TWO | {"boxes": PAIR[:, ::-1]}], [BARE], InputError, "x1 <= x2 and y1 <= y2"),
        ([{"boxes": PAIR}], [BARE], CaptureError, "labels are missing"),
        ([TWO], [{"boxes": [[9, 9, 3, 3]], "labels": [0]}], InputError, "ground_truth"),
        ([TWO], [{"boxes": [[0, 0, 3, 3]], "labels": [0, 1]}], InputError, "ground_truth"),
    ],
    ids=["images", "scores", "inverted", "labels", "inverted truth", "truth lengths"],
)
def test_a_batch_that_does_not_fit_is_refused_whole(
    output: Any, truths: Any, error: type[Exception], message: str
) -> None:
    outputs = iter([output, [TWO]])
    tracer = ObjectDetectionTracer(lambda batch: next(outputs), "boxes", "v1")
    with pytest.raises(error, match=message):
        tracer(BATCH[: len(truths)], truths, list(range(len(truths))))
    tracer(BATCH[:1], [BARE], ["good"])
    tracer.wait_for_save()
    assert [row["input_id"] for row in stored(INPUTS)] == ["good"]


def test_a_detector_is_traced_with_what_its_head_shows() -> None:
    model = tiny_detector("rcnn")
    tracer = ObjectDetectionTracer(model, "boxes", "v1", max_detections_per_image=5)
    with torch.no_grad():
        raw = tracer(images(), [BARE, {"boxes": PAIR, "labels": [1, 2]}], [7, 8], "val")
    tracer.wait_for_save()
    records = stored(RECORDS)
    assert [row["unit"] for row in records] == [*range(5)] * 2
    np.testing.assert_array_equal([row["box"] for row in records], torch.cat([one["boxes"] for one in raw]))
    assert {len(row["logits"]) for row in records} == {4}
    assert {row["id_kind"] for row in records} == {"int"}
    told = tracer.describe()
    assert (told["family"], told["max_detections_per_image"], told["candidates"]) == ("rcnn", 5, True)


def test_labels_beyond_the_models_classes_are_refused() -> None:
    tracer = ObjectDetectionTracer(tiny_detector("rcnn"), "boxes", "v1")
    with torch.no_grad(), pytest.raises(InputError, match="ground_truth"):
        tracer(images()[:1], [{"boxes": PAIR[:1], "labels": [99]}], [7], "val")


def test_an_empty_batch_is_nothing() -> None:
    tracer = ObjectDetectionTracer(lambda batch: [], "boxes", "v1")
    assert tracer([], [], []) == []
    tracer.wait_for_save()
