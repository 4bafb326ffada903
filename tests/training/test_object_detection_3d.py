"""The tracer of detection in 3D, from a tiny callable to stored rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ml_debugger.analysis.box_conventions import BOX_WIDTH
from ml_debugger.columns import BOX_3D_CONTEXT, FRAME_CONTEXT, INPUTS, RECORDS, TRUTHS
from ml_debugger.connect import connect
from ml_debugger.errors import ArchitectureMismatchError, CaptureError, InputError
from ml_debugger.service.contract import RunKey, ScanRequest
from ml_debugger.training import ObjectDetection3DTracer, ObjectDetectionTracer
from tests.helpers.mmdet3d_standins import LiDARInstance3DBoxes

RUN = RunKey("boxes", "v1")
PAIR = np.array([[10.0, 2, -0.9, 4, 1.8, 1.5, 0.1], [20, -5, -0.8, 0.8, 0.7, 1.8, 2.0]], np.float32)
NONE = {"boxes": np.zeros((0, 7)), "labels": np.zeros(0), "scores": np.zeros(0)}
TWO = {"boxes": PAIR, "labels": np.array([1, 0]), "scores": np.array([0.9, 0.4]), "features": np.eye(2)}
POINTS = np.concatenate([np.tile(PAIR[:1, :3], (7, 1)), [[40, 0, 0]]]).astype(np.float32)
BARE: dict[str, Any] = {"boxes": [], "labels": []}


def stored(kind: str) -> list[dict[str, Any]]:
    batches = connect().service.scan(ScanRequest(RUN, kind))
    place = {INPUTS: (), RECORDS: ("unit",), TRUTHS: ("truth_index",)}[kind]
    return sorted(
        (row for batch in batches for row in batch.to_pylist()),
        key=lambda row: (row["recorded_at"], row["input_id"], *(row[name] for name in place)),
    )


def traced(output: Any, truths: Any, model_input: Any = None, **settings: Any) -> tuple[Any, ObjectDetection3DTracer]:
    tracer = ObjectDetection3DTracer(lambda batch: output, "boxes", "v1", **settings)
    frames = [POINTS] * len(output) if model_input is None else model_input
    raw = tracer(frames, truths, [f"frame{i}" for i in range(len(output))], "val", 3)
    tracer.wait_for_save()
    return raw, tracer


def context(row: dict[str, Any], name: str) -> float:
    return row["context"][BOX_3D_CONTEXT.index(name)]


def test_every_box_is_a_row_and_every_frame_too() -> None:
    output = [TWO, NONE]
    raw, _ = traced(output, [{"boxes": PAIR[:1], "labels": [1]}, BARE], pc_range=[0, -40, -3, 70, 40, 1])
    assert raw is output
    inputs, records, truths = stored(INPUTS), stored(RECORDS), stored(TRUTHS)
    assert [(row["input_id"], row["n_units"], row["n_epoch"]) for row in inputs] == [("frame0", 2, 3), ("frame1", 0, 3)]
    assert [row["frame_context"][FRAME_CONTEXT.index("n_kept")] for row in inputs] == [2, 0]
    assert [(row["input_id"], row["unit"], row["label"]) for row in records] == [("frame0", 0, 1), ("frame0", 1, 0)]
    np.testing.assert_array_equal([row["box"] for row in records], PAIR)
    np.testing.assert_array_equal([row["features"] for row in records], np.eye(2))
    assert [row["score"] for row in records] == pytest.approx([0.9, 0.4])
    assert [context(row, "n_points") for row in records] == [7, 0]
    assert 0 < context(records[0], "border_distance") < 10
    assert [context(row, "n_kept") for row in records] == [2, 2]
    real = [row for row in truths if row["truth_index"] >= 0]
    assert [(row["input_id"], row["truth"]) for row in real] == [("frame0", 1)]
    np.testing.assert_allclose(real[0]["box"], PAIR[0])


BATCH_OF_TWO = torch.from_numpy(np.stack([POINTS, POINTS]))
INPUT_FORMS = {
    "tensor": BATCH_OF_TWO,
    "array": BATCH_OF_TWO.numpy(),
    "list": [POINTS, torch.from_numpy(POINTS)],
    "dict": {"points": [POINTS, POINTS], "img": torch.zeros(2, 3, 8, 8)},
    "samples": {"inputs": {"points": [POINTS, POINTS]}, "data_samples": [None, None]},
    "one table": {
        "points": torch.cat([torch.cat([torch.full((8, 1), float(i)), torch.from_numpy(POINTS)], 1) for i in range(2)]),
        "batch_size": 2,
    },
}


@pytest.mark.parametrize("form", INPUT_FORMS)
def test_inputs_go_through_untouched_and_show_their_points(form: str) -> None:
    seen = []
    tracer = ObjectDetection3DTracer(lambda *batch, **more: seen.append((batch, more)) or [TWO, TWO], "boxes", "v1")
    given = INPUT_FORMS[form]
    tracer(given, [BARE, BARE], ["a", "b"])
    tracer.wait_for_save()
    (batch, more) = seen[0]
    assert batch == (given,) or more == given or batch[0] is given
    assert [context(row, "n_points") for row in stored(RECORDS)] == [7, 0, 7, 0]


ONE_FRAME = {
    "tensor": torch.from_numpy(POINTS),
    "list": [POINTS],
    "dict": {"points": torch.from_numpy(POINTS), "img": torch.zeros(3, 8, 8)},
    "sample": {"inputs": {"points": torch.from_numpy(POINTS)}, "data_samples": None},
}


@pytest.mark.parametrize("form", ONE_FRAME)
def test_a_single_frame_needs_no_batch_around_it(form: str) -> None:
    tracer = ObjectDetection3DTracer(lambda *batch, **more: [TWO], "boxes", "v1")
    tracer(ONE_FRAME[form], {"boxes": PAIR[:1], "labels": [1]}, ["a"])
    tracer.wait_for_save()
    assert [context(row, "n_points") for row in stored(RECORDS)] == [7, 0]
    assert [row["truth"] for row in stored(TRUTHS)] == [1]


TRUTH_FORMS = {
    "plain": [{"boxes": PAIR[:1].tolist(), "labels": [1]}],
    "velocity": [{"boxes": np.concatenate([PAIR[:1], [[np.nan, np.nan]]], axis=1), "labels": torch.tensor([1])}],
    "OpenPCDet": {"gt_boxes": torch.tensor([[[*PAIR[0].tolist(), 2.0], [0.0] * 8]])},
    "mmdetection3d": [
        SimpleNamespace(
            gt_instances_3d=SimpleNamespace(
                bboxes_3d=LiDARInstance3DBoxes(PAIR[:1], origin=(0.5, 0.5, 0.5)), labels_3d=torch.tensor([1])
            )
        )
    ],
    "mmdetection3d dict": {
        "gt_bboxes_3d": LiDARInstance3DBoxes(PAIR[:1], origin=(0.5, 0.5, 0.5)),
        "gt_labels_3d": np.array([1]),
    },
}


@pytest.mark.parametrize("form", TRUTH_FORMS)
@pytest.mark.parametrize("provided", [False, True])
def test_annotations_come_in_the_forms_of_the_libraries(form: str, provided: bool) -> None:
    given = TRUTH_FORMS[form]
    if provided:
        entry = given[0] if isinstance(given, list) else given
        entry = {"gt_boxes": entry["gt_boxes"][0]} if form == "OpenPCDet" else entry
        traced([TWO], None, ground_truth_provider={"frame0": entry}.get)
    else:
        traced([TWO], given)
    (row,) = stored(TRUTHS)
    assert (row["truth"], row["ignored"]) == (2 if form == "OpenPCDet" else 1, False)
    np.testing.assert_allclose(row["box"], PAIR[0], atol=1e-6)


@pytest.mark.parametrize("ids", [[3, 4], np.array([3, 4]), torch.tensor([3, 4]), iter([3, 4])], ids=type)
def test_the_provider_is_asked_for_ids_as_they_were_given(ids: Any) -> None:
    asked = []
    tracer = ObjectDetection3DTracer(
        lambda batch: [TWO, NONE],
        "boxes",
        "v1",
        ground_truth_provider=lambda name: asked.append(name) or ({"boxes": PAIR, "labels": [1, 0]}, None)[name - 3],
    )
    tracer([POINTS, POINTS], input_ids=ids)
    tracer.wait_for_save()
    assert asked == [3, 4]
    assert [type(name) for name in asked] == [int, int]
    assert [(row["input_id"], row["truth"]) for row in stored(TRUTHS)] == [("3", 1), ("3", 0)]


def test_annotations_given_with_the_call_come_before_the_provider() -> None:
    def provider(name: str) -> None:
        raise AssertionError("asked")

    traced([TWO], [{"boxes": PAIR[:1], "labels": [1]}], ground_truth_provider=provider)
    assert len(stored(TRUTHS)) == 1


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        (
            None,
            "ground_truth: expected a list with one entry per frame, got None; give the annotations, or a ground_tr",
        ),
        ({}.__getitem__, "ground_truth_provider: raised KeyError for the input 'frame0'; return None where"),
        (lambda name: {"boxes": PAIR[:, :6], "labels": [0, 1]}, r"ground_truth\[0\]"),
    ],
    ids=["none", "unknown id", "form"],
)
def test_annotations_that_cannot_be_had_are_told(provider: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        traced([TWO], None, ground_truth_provider=provider)
    assert stored_nothing()


def stored_nothing() -> bool:
    return RUN.model_name not in connect().service.workspace.metadata.model_names()  # type: ignore[attr-defined]  # local


def test_a_provider_that_is_no_function_is_refused_at_once() -> None:
    with pytest.raises(
        InputError, match=r"ground_truth_provider: expected a function of an input id, got dict; of a dict"
    ):
        ObjectDetection3DTracer(lambda batch: [], "boxes", "v1", ground_truth_provider={"a": BARE})  # type: ignore[arg-type]  # refused


def test_calls_without_ids_are_told() -> None:
    tracer = ObjectDetection3DTracer(lambda batch: [TWO], "boxes", "v1", ground_truth_provider=lambda name: BARE)
    with pytest.raises(InputError, match=r"input_ids: expected one id per input .*, got None"):
        tracer([POINTS])


def test_thresholds_choose_what_is_recorded_and_units_are_places_in_the_output() -> None:
    turned = np.concatenate([PAIR, np.add(PAIR[:1], [0.2, 0, 0, 0, 0, 0, np.pi])])
    three = {"boxes": turned, "labels": np.array([1, 0, 1]), "scores": np.array([0.7, 0.4, 0.9])}
    traced([three], [BARE], score_thresh=0.3, iou_thresh=0.5, max_detections_per_frame=2)
    assert [(row["unit"], row["score"]) for row in stored(RECORDS)] == [
        (1, pytest.approx(0.4)),
        (2, pytest.approx(0.9)),
    ]
    assert [row["n_units"] for row in stored(INPUTS)] == [2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pc_range": [0, 0, 0]}, "pc_range"),
        ({"pc_range": [5, 0, 0, 5, 1, 1]}, "pc_range"),
        ({"score_thresh": 2}, r"score_thresh: expected None or a number in 0\.\.1, got 2"),
        ({"max_detections_per_frame": 0}, "max_detections_per_frame: expected None or an int of at least 1"),
        ({"n_class": True}, "n_class"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ObjectDetection3DTracer(lambda batch: [], "boxes", "v1", **settings)


@pytest.mark.parametrize("name", ["x", "Yaw", "dz", "x1", "det_error_proba"])
@pytest.mark.parametrize("argument", ["additional_fields", "additional_label_fields"])
def test_fields_cannot_have_the_names_of_our_columns(name: str, argument: str) -> None:
    declared = {argument: [{"name": name, "type": "float"}]}
    with pytest.raises(InputError, match=f"{name!r} is a column or an argument of MLdebugger's own"):
        ObjectDetection3DTracer(lambda batch: [], "boxes", "v1", **declared)
    if name in ("x", "Yaw", "dz"):
        ObjectDetectionTracer(lambda batch: [], "other", "v1", **declared)


def test_additional_fields_of_a_frame_stand_with_all_its_boxes() -> None:
    tracer = ObjectDetection3DTracer(
        lambda batch: [TWO],
        "boxes",
        "v1",
        additional_fields=[{"name": "site", "type": "str"}],
        additional_label_fields=[{"name": "annotator", "type": "int"}],
    )
    tracer([POINTS], [{"boxes": PAIR, "labels": [0, 1]}], ["a"], site="north", annotator=[7])
    tracer.wait_for_save()
    assert [row["site"] for row in stored(RECORDS)] == ["north", "north"]
    assert [row["annotator"] for row in stored(TRUTHS)] == [7, 7]


def test_a_model_name_belongs_to_one_task() -> None:
    traced([TWO], [BARE])
    flat = ObjectDetectionTracer(lambda batch: [{"boxes": [], "labels": [], "scores": []}], "boxes", "v1")
    with pytest.raises(ArchitectureMismatchError, match="task 'object_detection_3d'"):
        flat([np.zeros((8, 8, 3))], [BARE], ["a"])


def test_a_broken_box_is_recorded_as_no_prediction() -> None:
    broken = PAIR.copy()
    broken[0, 6] = np.nan
    traced([TWO | {"boxes": broken}], [BARE])
    first, second = stored(RECORDS)
    assert (first["label"], first["score"], second["label"]) == (-1, 0, 0)
    assert np.isnan(first["box"]).all()
    assert len(first["box"]) == BOX_WIDTH


@pytest.mark.parametrize(
    ("output", "truths", "error", "message"),
    [
        ([TWO], [BARE, BARE], InputError, "2 ids were given, but the model"),
        ([TWO | {"scores": [3, 4]}], [BARE], InputError, r"scores in 0\.\.1, got 3"),
        ([TWO | {"boxes": -PAIR}], [BARE], InputError, "sizes dx dy dz of at least 0"),
        ([TWO | {"boxes": PAIR[:, :4]}], [BARE], InputError, "frame 0"),
        ([{"boxes": PAIR}], [BARE], CaptureError, "labels are missing"),
        ([TWO], [{"boxes": PAIR[:1] * [1, 1, 1, 1, 1, 1, 900], "labels": [0]}], InputError, "convert degrees"),
        ([TWO], [{"boxes": PAIR, "labels": [0]}], InputError, r"ground_truth\[0\]: expected 2 labels"),
        ([TWO], {"a": BARE, "b": BARE}, InputError, r"ground_truth\[0\]"),
    ],
    ids=["frames", "scores", "sizes", "width", "labels", "degrees", "truth lengths", "truths by id"],
)
def test_a_batch_that_does_not_fit_is_refused_whole(
    output: Any, truths: Any, error: type[Exception], message: str
) -> None:
    outputs = iter([output, [TWO]])
    tracer = ObjectDetection3DTracer(lambda batch: next(outputs), "boxes", "v1")
    count = len(truths) if isinstance(truths, list) else 1
    with pytest.raises(error, match=message):
        tracer([POINTS] * count, truths, list(range(count)))
    tracer([POINTS], [BARE], ["good"])
    tracer.wait_for_save()
    assert [row["input_id"] for row in stored(INPUTS)] == ["good"]


def test_an_empty_batch_is_nothing() -> None:
    tracer = ObjectDetection3DTracer(lambda batch: [], "boxes", "v1")
    assert tracer([], [], []) == []
    tracer.wait_for_save()
