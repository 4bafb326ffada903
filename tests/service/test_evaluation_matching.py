"""Thresholds of matching as an option of an evaluation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ml_debugger.errors import ConfigError, EvaluationError
from ml_debugger.service.contract import EvaluationRequest, RunKey
from ml_debugger.service.evaluation import Evaluation, run_evaluation
from ml_debugger.tasks import TASKS
from tests.helpers.labelled_boxes import BoxRun, detections

RUN = BoxRun({"val": detections(120, seed=3)})


def evaluate(task: str, **options: Any) -> Evaluation:
    request = EvaluationRequest(
        RunKey("m", "v1"), result_name="r", n_epoch=None, options={"bootstrap": 0, "learners": [], **options}
    )
    return run_evaluation(request, TASKS[task], RUN.read)


def test_stricter_thresholds_find_more_boxes_in_the_wrong_place() -> None:
    usual = evaluate("object_detection")
    strict = evaluate("object_detection", matching={"foreground_iou": 0.9, "foreground_iou_by_class": {0: 0.5}})
    before, after = (np.array(each.samples["is_error"].to_pylist()) for each in (usual, strict))
    label = np.array(usual.samples["label"].to_pylist())
    assert after[label != 0].mean() > before[label != 0].mean() + 0.1
    truth = np.array(usual.samples["truth"].to_pylist(), dtype=float)
    of_class_0 = (label == 0) & (truth == 0)
    np.testing.assert_array_equal(after[of_class_0], before[of_class_0])


def test_the_result_says_which_thresholds_were_set() -> None:
    found = evaluate("object_detection", matching={"foreground_iou_by_class": {"1": 0.7}})
    shown = json.loads(json.dumps(found.info))["settings"]["matching"]
    assert shown["foreground_iou_by_class"] == {"1": 0.7}
    assert shown["background_iou"] == 0.1
    assert evaluate("object_detection").info["settings"]["matching"] is None


def test_classification_has_no_boxes_to_match() -> None:
    with pytest.raises(ConfigError, match="classification matches no boxes; leave the option out"):
        evaluate("classification", matching={"foreground_iou": 0.6})


def test_a_detector_that_finds_nothing_is_told_so() -> None:
    run = BoxRun({"val": detections(30, seed=3)})
    run.tables["records"] = run.tables["records"].slice(0, 0)
    request = EvaluationRequest(RunKey("m", "v1"), result_name="r", n_epoch=None)
    with pytest.raises(EvaluationError, match=r"inputs of val have no predictions.* needs a lower score_thresh"):
        run_evaluation(request, TASKS["object_detection"], run.read)
