"""Rows, diagnosis and error model of 2D object detection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from ml_debugger import columns
from ml_debugger.errors import EvaluationWarning, InputError
from ml_debugger.estimation import ErrorModel
from ml_debugger.estimation.metrics import auroc
from ml_debugger.service.evaluation import Evaluation, run_evaluation
from ml_debugger.tasks.scoring import score_rows
from ml_debugger.tasks.task import Judged, Votes
from ml_debugger.tasks.units import read_units
from ml_debugger.types import ModelOutput
from tests.helpers.labelled_boxes import TASK, BoxRun, detections
from tests.helpers.labelled_runs import input_rows, request


def output(boxes: list[list[float]], labels: list[int], index: list[int] | None = None, n: int = 1) -> ModelOutput:
    count = len(boxes)
    return ModelOutput(
        n,
        np.array([0] * count if index is None else index, dtype=np.int64),
        np.array(labels, dtype=np.int64),
        np.linspace(0.9, 0.5, count),
        boxes=np.array(boxes, dtype=np.float32).reshape(count, 4),
    )


def test_one_record_row_per_box_in_the_order_of_the_output() -> None:
    made = output([[0, 0, 9, 9], [5, 5, 30, 30], [1, 1, 2, 2]], [2, 0, 1], [0, 2, 2], n=3)
    rows = TASK.predictions(made, input_rows(3, ids=["a", "b", "c"]))
    assert rows.schema == columns.schema_of("records")
    assert rows["input_id"].to_pylist() == ["a", "c", "c"]
    assert rows["unit"].to_pylist() == [0, 0, 1]
    assert rows["box"].to_pylist()[1] == [5, 5, 30, 30]
    context = np.array(rows["context"].to_pylist(), dtype=np.float32)
    assert context.shape == (3, len(columns.BOX_CONTEXT))
    assert np.isnan(context[:, : len(columns.DETECTION_CONTEXT)]).all()
    assert context[:, columns.BOX_CONTEXT.index("n_kept")].tolist() == [1, 2, 2]
    assert context[:, columns.BOX_CONTEXT.index("rank")].tolist() == [0, 0, 1]


def test_positions_in_an_output_of_mixed_images_and_given_ones() -> None:
    made = output([[0, 0, 9, 9]] * 4, [0] * 4, [1, 0, 1, 0], n=2)
    assert TASK.predictions(made, input_rows(2))["unit"].to_pylist() == [0, 0, 1, 1]
    given = replace(made, unit=np.array([7, 1, 3, 2]))
    assert TASK.predictions(given, input_rows(2))["unit"].to_pylist() == [7, 1, 3, 2]


def test_no_boxes_are_no_rows() -> None:
    rows = TASK.predictions(output([], [], n=2), input_rows(2))
    assert rows.num_rows == 0
    assert rows.schema == columns.schema_of("records")
    assert len(read_units(rows, TASK.reads.vectors)) == 0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (replace(output([], []), boxes=None), "expected shape .U, 4."),
        (replace(output([], []), boxes=np.zeros((0, 7))), "expected shape .U, 4."),
        (output([], [], n=2), "expected 1 inputs"),
        (replace(output([], []), context=np.zeros((0, 3))), "context: expected width 12"),
    ],
)
def test_outputs_that_cannot_be_right(made: ModelOutput, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TASK.predictions(made, input_rows(1))


def test_an_annotated_image_without_objects_is_known() -> None:
    rows = TASK.truths([{"boxes": np.zeros((0, 4)), "labels": []}, None], input_rows(2), 3)
    assert rows.schema == columns.schema_of("truths")
    assert rows.select(["truth_index", "truth", "box", "ignored"]).to_pylist() == [
        {"truth_index": -1, "truth": -1, "box": None, "ignored": True}
    ]
    records = TASK.predictions(output([[0, 0, 9, 9], [0, 0, 9, 9]], [1, 1], [0, 1], n=2), input_rows(2))
    found = TASK.diagnose(records, rows)
    assert found.labelled.tolist() == [True, False]
    assert found.is_error.tolist() == [True, False]
    assert found.missed.num_rows == 0
    assert found.details["code"].tolist()[0] == "N"


def test_diagnosis_targets_and_codes() -> None:
    inputs = input_rows(2, ids=["a", "b"])
    boxes = [[0, 0, 100, 100], [200, 0, 300, 100], [40, 200, 140, 300], [500, 500, 520, 520]]
    records = TASK.predictions(output(boxes, [1, 2, 0, 0], n=2), inputs)
    annotated = {"boxes": [[0, 0, 100, 98], [200, 0, 300, 98], [0, 200, 100, 300]], "labels": [1, 1, 0]}
    alone = {"boxes": [[0, 0, 50, 50], [90, 90, 99, 99]], "labels": [2, 0], "iscrowd": [0, 1]}
    found = TASK.diagnose(records, TASK.truths([annotated, alone], inputs, 3))
    assert found.labelled.all()
    assert found.truth.tolist() == [1, 1, 0, -1]
    assert found.is_error.tolist() == [False, True, True, True]
    asked = TASK.targets(found)
    assert list(asked) == ["error_proba", "det_error_proba", "cls_error_proba"]
    assert asked["det_error_proba"].tolist() == [False, False, True, True]
    np.testing.assert_array_equal(asked["cls_error_proba"], [0, 1, np.nan, np.nan])
    nothing = Votes(np.full((4, 3), -1), np.zeros((4, 3)))
    sure = {"det_error_proba": np.array([0.1, 0.1, 0.9, 0.05])}
    said = TASK.codes(found, np.array([1, 2, 0, 0]), Judged(np.array(["hotspot"] * 4, object), nothing, sure), 0.1)
    assert said == ["DET:A:CLS1->1", "DET:A:CLS1->2", "DET:M:CLS0->0", "DET:N*:CLS->0"]
    missed = found.missed.to_pylist()
    assert [(row["input_id"], row["truth"], row["error_code"], row["x2"]) for row in missed] == [
        ("b", 2, "DET:NP:CLS2->", 50.0)
    ]


def test_usable_units() -> None:
    made = replace(output([[0, 0, 9, 9]] * 4, [0, -1, 0, 0]), features=np.array([[1], [1], [np.nan], [1]], np.float32))
    rows = TASK.predictions(replace(made, score=np.array([0.5, 0.5, 0.5, np.nan])), input_rows(1))
    units = read_units(rows, TASK.reads.vectors)
    judged, whole = TASK.usable(units, "features")
    assert judged.tolist() == [True, False, True, False]
    assert whole.tolist() == [True, False, False, False]
    assert TASK.usable(units, "box")[1].tolist() == judged.tolist()


@pytest.fixture(scope="module")
def run() -> BoxRun:
    return BoxRun({"train": detections(80, 1), "val": detections(260, 2)})


@pytest.fixture(scope="module")
def evaluated(run: BoxRun) -> Evaluation:
    return run_evaluation(request(bootstrap=20), TASK, run.read)


def test_errors_are_found_better_than_by_the_score(evaluated: Evaluation) -> None:
    metrics = evaluated.metrics
    assert metrics["auroc"] > metrics["baseline"]["auroc"] + 0.03
    assert metrics["brier"] < metrics["baseline"]["brier"]
    for part in ("det_error_proba", "cls_error_proba"):
        assert metrics[part]["auroc"] > metrics[part]["baseline"]["auroc"]
        assert 0 < metrics[part]["error_rate"] < 1


def test_the_tables_of_a_result(evaluated: Evaluation, run: BoxRun) -> None:
    samples = evaluated.samples
    held = run.tables["records"].filter(pa.compute.equal(run.tables["records"]["dataset_type"], "val"))
    assert samples.num_rows == held.num_rows
    for name in ("error_proba", "det_error_proba", "cls_error_proba"):
        values = samples[name].to_numpy()
        assert np.isfinite(values).all()
        assert ((values > 0) & (values < 1)).all()
    assert {"unit", "pred_size", "x1", "y1", "x2", "y2"} <= set(samples.column_names)
    assert "box" not in samples.column_names
    assert samples["error_code"].null_count == 0
    place, either = samples["det_error_proba"].to_numpy(), samples["error_proba"].to_numpy()
    assert (place <= either).all()
    unmatched = samples["error_code"].to_numpy()[samples["truth"].is_null().to_numpy()]
    assert all("CLS->" in code for code in unmatched)
    assert sum(evaluated.zones["count"].to_pylist()) == samples.num_rows
    codes = evaluated.error_codes
    of_boxes = codes.filter(codes["zone"].is_valid())
    assert sum(of_boxes["count"].to_pylist()) == samples.num_rows
    assert 0 < evaluated.missed.num_rows < len(run.tables["truths"])
    assert sum(codes["count"].to_pylist()) == samples.num_rows + evaluated.missed.num_rows


def test_promises_are_counted_by_image(evaluated: Evaluation) -> None:
    assert "images were wrong" in evaluated.info["promise"]["sentence"]
    assert evaluated.info["promise"]["rows"] > 0


def test_fresh_boxes_score_as_in_any_batch(evaluated: Evaluation) -> None:
    fresh, labels = detections(60, 3)
    run = BoxRun({"pool": (fresh, labels)})
    records = run.tables["records"]
    model = ErrorModel.from_bytes(evaluated.model.to_bytes())
    whole = score_rows(TASK, model, records, "r")
    assert whole.schema == columns.schema_of("scores")
    assert whole["pred_size"].null_count == 0
    parts = [score_rows(TASK, model, records.slice(at, 7), "r") for at in range(0, records.num_rows, 7)]
    for name in ("error_proba", "det_error_proba", "cls_error_proba", "support", "zone", "x2"):
        assert whole[name].to_pylist() == pa.concat_tables(parts)[name].to_pylist()
    wrong = TASK.diagnose(records, run.tables["truths"]).is_error
    assert auroc(whole["error_proba"].to_numpy(), wrong) > auroc(1 - whole["score"].to_numpy(), wrong) + 0.03


def test_without_features_logits_or_context_the_box_itself_is_judged() -> None:
    bare, labels = detections(150, 4, width=None)
    run = BoxRun({"val": (replace(bare, logits=None, context=None, frame_context=None), labels)})
    found = run_evaluation(request(bootstrap=5), TASK, run.read)
    assert any("rests on its box alone" in note for note in found.info["notes"])
    assert found.info["vectors"] == "box"
    assert np.isfinite(found.samples["error_proba"].to_numpy()).all()
    scored = score_rows(TASK, found.model, run.tables["records"], "r")
    assert np.isfinite(scored["error_proba"].to_numpy()).all()
    assert score_rows(TASK, found.model, run.tables["records"].slice(0, 0), "r").num_rows == 0


def test_a_detector_that_never_places_well_has_no_class_errors_to_learn() -> None:
    made, labels = detections(120, 5)
    shifted = replace(made, boxes=made.boxes + np.float32(55))
    with pytest.warns(EvaluationWarning, match="boxes are wrong"):
        found = run_evaluation(request(bootstrap=5), TASK, BoxRun({"val": (shifted, labels)}).read)
    assert found.metrics["error_rate"] == 1.0
    assert np.isfinite(found.samples["cls_error_proba"].to_numpy()).all()
