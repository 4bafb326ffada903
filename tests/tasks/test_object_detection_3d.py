"""Rows, diagnosis and error model of 3D object detection, where they differ from those of images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ml_debugger import columns
from ml_debugger.analysis.match_settings import MatchSettings
from ml_debugger.errors import ConfigError, InputError
from ml_debugger.service.evaluation import run_evaluation
from ml_debugger.tasks import TASKS
from ml_debugger.tasks.scoring import score_rows
from ml_debugger.tasks.task import Judged, Votes
from ml_debugger.tasks.units import read_units
from ml_debugger.types import ModelOutput
from tests.helpers.labelled_boxes import BoxRun, detections, frame_detections
from tests.helpers.labelled_runs import input_rows, request

TASK = TASKS["object_detection_3d"]
CAR = (4.0, 2.0, 1.5)


def cars(places: list[list[float]]) -> np.ndarray:
    return np.array([[x, y, -0.8, *CAR, yaw] for x, y, yaw in places], np.float32).reshape(-1, 7)


def output(boxes: np.ndarray, labels: list[int], index: list[int] | None = None, n: int = 1) -> ModelOutput:
    count = len(boxes)
    place = np.array([0] * count if index is None else index, dtype=np.int64)
    return ModelOutput(n, place, np.array(labels, np.int64), np.linspace(0.9, 0.5, count), boxes=boxes)


def context_of(rows: pa.Table, name: str) -> list[float]:
    return [row[columns.BOX_3D_CONTEXT.index(name)] for row in rows["context"].to_pylist()]


def test_one_record_row_per_box_with_what_the_others_say() -> None:
    boxes = cars([[10, 0, 0], [11, 0, np.pi], [10, 0, 0]])
    rows = TASK.predictions(output(boxes, [2, 2, 1], [0, 0, 2], 3), input_rows(3, ids=["a", "b", "c"]))
    assert rows.schema == columns.schema_of("records")
    assert rows["input_id"].to_pylist() == ["a", "a", "c"]
    assert rows["unit"].to_pylist() == [0, 1, 0]
    np.testing.assert_array_equal(rows["box"].to_pylist(), boxes)
    assert {len(row) for row in rows["context"].to_pylist()} == {len(columns.BOX_3D_CONTEXT)}
    assert np.isnan(context_of(rows, "n_points")).all()
    assert context_of(rows, "n_kept") == [2, 2, 1]
    assert context_of(rows, "overlap_same") == pytest.approx([0.6, 0.6, 0])  # half a turn covers the same
    assert context_of(rows, "better_iou_same") == pytest.approx([0, 0.6, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": None}, r"boxes: expected shape \(U, 7\), x y z dx dy dz yaw in metres and radians, got none"),
        ({"boxes": np.zeros((1, 4), np.float32)}, r"got shape \(1, 4\)"),
        ({"context": np.zeros((1, 12), np.float32)}, r"context: expected width 15 \(n_points, .*, got shape \(1, 12\)"),
        ({"n_inputs": 3}, "expected 1 inputs, one per id, got 3"),
    ],
    ids=["none", "flat", "context", "inputs"],
)
def test_an_output_of_another_kind_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TASK.predictions(replace(output(cars([[10, 0, 0]]), [0]), **changes), input_rows(1))


def test_a_frame_annotated_as_empty_is_known_to_be() -> None:
    rows = TASK.truths([{"boxes": np.zeros((0, 7)), "labels": []}, None], input_rows(2), 3)
    assert rows.schema == columns.schema_of("truths")
    assert (rows["truth_index"].to_pylist(), rows["truth"].to_pylist()) == ([-1], [-1])
    assert rows["box"].null_count == 1
    records = TASK.predictions(output(cars([[10, 0, 0], [10, 0, 0]]), [1, 1], [0, 1], n=2), input_rows(2))
    found = TASK.diagnose(records, rows, None)
    assert found.labelled.tolist() == [True, False]
    assert found.is_error.tolist() == [True, False]
    assert found.missed.num_rows == 0


def test_diagnosis_targets_and_codes() -> None:
    inputs = input_rows(2, ids=["a", "b"])
    boxes = cars([[10, 0, 0], [30, 0, 0.5], [51.8, 0, 0], [70, 9, 0]])
    records = TASK.predictions(output(boxes, [1, 2, 0, 0], n=2), inputs)
    annotated = {"boxes": cars([[10.2, 0, np.pi], [30, 0, 0.5], [50, 0, 0]]), "labels": [1, 1, 0]}
    alone = {"boxes": cars([[5, 5, 0]]), "labels": [2]}
    truths = TASK.truths([annotated, alone], inputs, 3)
    found = TASK.diagnose(records, truths, None)
    assert found.truth.tolist() == [1, 1, 0, -1]
    assert found.is_error.tolist() == [False, True, True, True]
    asked = TASK.targets(found)
    np.testing.assert_array_equal(asked["cls_error_proba"], [0, 1, np.nan, np.nan])
    nothing = Votes(np.full((4, 3), -1), np.zeros((4, 3)))
    sure = {"det_error_proba": np.array([0.1, 0.1, 0.9, 0.05])}
    said = TASK.codes(found, np.array([1, 2, 0, 0]), Judged(np.array(["hotspot"] * 4, object), nothing, sure), 0.1)
    assert said == ["DET:A:CLS1->1", "DET:A:CLS1->2", "DET:M:CLS0->0", "DET:N*:CLS->0"]
    missed = found.missed.to_pylist()
    assert [(row["input_id"], row["truth"], row["error_code"], row["x"]) for row in missed] == [
        ("b", 2, "DET:NP:CLS2->", 5.0)
    ]
    assert set(columns.BOX_3D_COLUMNS) <= set(found.truths.column_names)
    near = TASK.diagnose(records, truths, MatchSettings(measure_by_class={0: "distance"}))
    assert near.is_error.tolist() == [False, True, False, True]


def test_measures_of_frames_are_refused_for_images() -> None:
    flat = BoxRun({"val": detections(40, 1)})
    with pytest.raises(ConfigError, match="measure: boxes in 3D are compared by iou_bev, iou_3d, distance, these"):
        run_evaluation(request(matching={"measure": "iou_3d"}), TASKS["object_detection"], flat.read)


def test_usable_units_and_their_columns() -> None:
    made = output(cars([[10, 0, 0], [10, 0, 0], [10, np.nan, 0], [10, 0, 0]]), [0, -1, 0, 0])
    features = np.array([[1], [1], [1], [np.nan]], np.float32)
    units = read_units(TASK.predictions(replace(made, features=features), input_rows(1)), TASK.reads.vectors)
    judged, whole = TASK.usable(units, "features")
    assert (judged.tolist(), whole.tolist()) == ([True, False, False, True], [True, False, False, False])
    found = TASK.score_columns(units)
    assert list(found) == ["pred_size", *columns.BOX_3D_COLUMNS]
    np.testing.assert_allclose(found["pred_size"], [12, 12, 0, 12])
    assert np.isnan(TASK.input_sizes(units)).all()


def test_the_model_itself_is_measured_by_what_the_evaluation_calls_right() -> None:
    run = BoxRun({"val": frame_detections(120, 4)}, TASK)
    usual, near = (
        run_evaluation(request(bootstrap=12, learners=[], matching=matching), TASK, run.read).metrics
        for matching in (None, {"measure": "distance", "centre_distance": 0.3})
    )
    assert usual["map"] != near["map"]
    assert usual["map_distance"] == near["map_distance"]
    for metrics in (usual, near):
        for name in ("map", "map_3d", "map_distance"):
            assert 0 < metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"] < 1
        assert "accuracy" not in metrics


def test_without_features_logits_or_context_the_box_itself_is_judged() -> None:
    bare, labels = frame_detections(150, 4, width=None)
    run = BoxRun({"val": (replace(bare, logits=None, context=None, frame_context=None), labels)}, TASK)
    found = run_evaluation(request(bootstrap=5), TASK, run.read)
    assert any("rests on its box alone" in note for note in found.info["notes"])
    scored = score_rows(TASK, found.model, run.tables["records"], "r")
    assert np.isfinite(scored["error_proba"].to_numpy()).all()
    assert scored.schema == columns.schema_of("scores", task=TASK.name)


def test_a_broken_box_gets_probability_one_and_no_class() -> None:
    run = BoxRun({"val": frame_detections(100, 4)}, TASK)
    model = run_evaluation(request(bootstrap=0), TASK, run.read).model
    made = output(cars([[10, 0, 0], [np.nan, 0, 0]]), [0, -1])
    made = replace(made, features=np.zeros((2, 6), np.float32), logits=np.zeros((2, 3), np.float32))
    with pytest.warns(match="1 of 2 units have NaN or infinite box"):
        scored = score_rows(TASK, model, TASK.predictions(made, input_rows(1)), "r")
    assert scored["label"].to_pylist() == [0, -1]
    assert scored["error_proba"].to_pylist()[1] == 1.0
    assert scored["zone"].to_pylist()[1] == "aleatoric_hotspot"
