"""Rows of the classification task."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ml_debugger import columns
from ml_debugger.errors import InputError
from ml_debugger.tasks import TASKS
from ml_debugger.tasks.classification import diagnose, predictions, truths, usable
from ml_debugger.tasks.task import Diagnosis, Units
from ml_debugger.types import ModelOutput
from tests.helpers.labelled_runs import input_rows, make_part, model_output


def test_predictions_are_record_rows() -> None:
    part = make_part(5)
    output, inputs = model_output(part.features, part.logits), input_rows(5)
    rows = predictions(output, inputs)
    assert rows.schema == columns.schema_of("records")
    assert rows["label"].to_pylist() == part.logits.argmax(axis=1).tolist()
    assert rows["unit"].to_pylist() == [0] * 5
    np.testing.assert_array_equal(np.array(rows["features"].to_pylist(), dtype=np.float32), part.features)
    np.testing.assert_array_equal(np.array(rows["logits"].to_pylist(), dtype=np.float32), part.logits)
    assert rows["recording_id"].equals(inputs["recording_id"])
    assert rows["box"].null_count == 5


def test_predictions_of_sliced_inputs_without_features_or_rows() -> None:
    part = make_part(4)
    rows = predictions(model_output(None, part.logits), input_rows(6).slice(2))
    assert rows["features"].null_count == 4
    assert rows["input_id"].to_pylist() == ["2", "3", "4", "5"]
    assert predictions(model_output(part.features[:0], part.logits[:0]), input_rows(0)).num_rows == 0


@pytest.mark.parametrize("logits", [None, np.zeros((2, 1), dtype=np.float32)])
def test_classification_needs_logits_of_two_classes(logits: np.ndarray | None) -> None:
    output = ModelOutput(2, np.arange(2), np.zeros(2, dtype=np.int64), np.ones(2), None, logits)
    with pytest.raises(InputError, match="C >= 2"):
        predictions(output, input_rows(2))


def test_one_prediction_per_input() -> None:
    output = ModelOutput(2, np.array([0, 0]), np.zeros(2, dtype=np.int64), np.ones(2), None, np.zeros((2, 3)))
    with pytest.raises(InputError, match="one prediction for each of 2 inputs"):
        predictions(output, input_rows(2))


class Tensor:
    """Anything with ``tolist``, as tensors have it."""

    def __init__(self, values: list) -> None:
        self.values = values

    def tolist(self) -> list:
        return self.values


@pytest.mark.parametrize(
    "labels",
    [
        [1, 0, 2],
        (1, 0, 2),
        np.array([1, 0, 2], dtype=np.uint8),
        np.array([[1], [0], [2]]),
        np.array([1.0, 0.0, 2.0]),
        Tensor([1, 0, 2]),
        [Tensor([1]), np.int64(0), 2],
    ],
)
def test_labels_in_any_form(labels) -> None:
    rows = truths(labels, input_rows(3), 3)
    assert rows.schema == columns.schema_of("truths")
    assert rows["truth"].to_pylist() == [1, 0, 2]
    assert rows["ignored"].to_pylist() == [False] * 3


def test_unknown_labels_have_no_row() -> None:
    rows = truths([None, 1, -1, float("nan"), 0], input_rows(5), 2)
    assert rows["input_id"].to_pylist() == ["1", "4"]
    assert rows["truth"].to_pylist() == [1, 0]
    assert truths([None], input_rows(1), 2).num_rows == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "expected 3, one per input, got 2"),
        (5, "one class id per input, got int"),
        ("abc", "one class id per input, got str"),
        (np.eye(3), "labels.argmax"),
        ([0, 1, 3], r"0\.\.2, the classes of the model, got 3 at position 2"),
        ([0, -2, 1], "got -2 at position 1"),
        ([0, 1.5, 1], "integer class ids, got 1.5 at position 1"),
        ([0, True, 1], "integer class ids, got True"),
        ([0, "1", 1], "integer class ids, got '1'"),
        ([0, float("inf"), 1], "integer class ids, got inf"),
    ],
)
def test_impossible_labels(labels, message: str) -> None:
    with pytest.raises(InputError, match=message):
        truths(labels, input_rows(3), 3)


def test_without_known_classes_any_label_goes_but_negative_ones() -> None:
    assert truths([10**6], input_rows(1), None)["truth"].to_pylist() == [10**6]
    with pytest.raises(InputError, match="0 or more"):
        truths([-5], input_rows(1), None)


def test_diagnosis_joins_by_recording() -> None:
    records = pa.table({"recording_id": [7, 3, 9], "label": [1, 2, 0]})
    found = diagnose(records, pa.table({"recording_id": [9, 7], "truth": [1, 1], "ignored": [True, False]}))
    assert found.labelled.tolist() == [True, False, True]
    assert found.truth.tolist() == [1, -1, 1]
    assert found.is_error.tolist() == [False, False, True]
    assert found.ignored.tolist() == [False, False, True]
    assert found.missed.num_rows == 0


def test_diagnosis_without_truths() -> None:
    nothing = columns.schema_of("truths").empty_table()
    assert not diagnose(pa.table({"recording_id": [1], "label": [0]}), nothing).labelled.any()


def test_usable_units() -> None:
    logits = np.zeros((5, 3), dtype=np.float32)
    features = np.ones((5, 2), dtype=np.float32)
    logits[1, 0], features[2, 1] = np.inf, np.nan
    units = Units(np.array([0, 0, 0, -1, 3]), np.ones(5), features, logits)
    has_logits, whole = usable(units, "features")
    assert has_logits.tolist() == [True, False, True, False, False]
    assert whole.tolist() == [True] + [False] * 4
    assert usable(units, "logits")[1].tolist() == has_logits.tolist()
    bare = Units(units.label, units.score, features[:, :0], logits)
    assert not usable(bare, "features")[1].any()


def test_registered() -> None:
    task = TASKS["classification"]
    assert task.name == "classification"
    assert task.method == "classification_v1"
    wrong = Diagnosis(*[np.array([True])] * 4, columns.schema_of("truths").empty_table())
    assert list(task.targets(wrong)) == ["error_proba"]
