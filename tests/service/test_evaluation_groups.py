"""Inputs that belong together, such as the frames of a drive: one side of every fold, one piece of evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ml_debugger.errors import ConfigError, EvaluationError
from ml_debugger.service.contract import EvaluationRequest, RunKey
from ml_debugger.service.evaluation import Evaluation, run_evaluation
from ml_debugger.service.evaluation_frames import _groups
from ml_debugger.service.evaluation_options import EvaluationOptions
from ml_debugger.service.evaluation_rows import group_rows, read_rows
from ml_debugger.tasks import TASKS
from tests.helpers.labelled_boxes import BoxRun, frame_detections

TASK = TASKS["object_detection_3d"]
N_FRAMES, PER_DRIVE = 120, 10


def drives(values: list[str | None] | None = None) -> BoxRun:
    """Every box of a drive is right, or every one is wrong; scores say nothing, features only which drive it is."""
    random = np.random.default_rng(0)
    output, _ = frame_detections(N_FRAMES, 3)
    of_frame = np.arange(N_FRAMES) // PER_DRIVE
    looks = random.normal(size=(N_FRAMES // PER_DRIVE, 14)).astype(np.float32)
    features = looks[of_frame[output.input_index]] + 0.01 * random.normal(size=(len(output.label), 14))
    own = [
        {"boxes": mine, "labels": output.label[output.input_index == frame]}
        if of_frame[frame] % 2
        else {"boxes": mine[:0], "labels": output.label[:0]}
        for frame in range(N_FRAMES)
        if (mine := output.boxes[output.input_index == frame]) is not None
    ]
    score = random.uniform(0.3, 0.9, len(output.label))
    run = BoxRun({"val": (replace(output, features=features.astype(np.float32), score=score), own)}, TASK)
    records = run.tables["records"]
    names = values or [f"drive {drive}" for drive in of_frame]
    named = pa.array([names[frame] for frame in output.input_index], type=pa.string())
    run.tables["records"] = records.append_column("drive", named)
    return run


def evaluate(run: BoxRun, **options: Any) -> Evaluation:
    request = EvaluationRequest(RunKey("m", "v1"), options={"bootstrap": 20, **options})
    return run_evaluation(request, TASK, run.read, fields=("drive",))


def test_a_drive_is_not_judged_by_its_other_frames() -> None:
    run = drives()
    apart, together = evaluate(run), evaluate(run, group_by="drive")
    assert apart.metrics["auroc"] > 0.9  # frames give their neighbours away
    assert together.metrics["auroc"] < 0.7
    spread = [found.metrics["brier_high"] - found.metrics["brier_low"] for found in (apart, together)]
    assert spread[1] > spread[0]  # twelve drives are less evidence than 120 frames


def test_groups_are_joined_by_the_field_and_by_nothing_where_it_is_null() -> None:
    names: list[str | None] = [None] * 6 + [f"drive {frame // 6}" for frame in range(6, N_FRAMES)]
    rows = read_rows(TASK, drives(names).read, ("drive",), EvaluationOptions(group_by="drive"))
    groups, copies = group_rows(rows, np.ones(len(rows.units), dtype=bool), "drive")
    assert copies == 0
    of_value: dict[Any, set[int]] = {}
    for value, group in zip(rows.table["drive"].to_pylist(), groups.tolist(), strict=True):
        of_value.setdefault(value, set()).add(group)
    alone = of_value.pop(None)
    ids: dict[Any, list[str]] = {}
    for value, name in zip(rows.table["drive"].to_pylist(), rows.table["input_id"].to_pylist(), strict=True):
        ids.setdefault(value, []).append(name)
    assert len(alone) == len(set(ids[None])) > 1  # one per frame
    assert [len(found) for found in of_value.values()] == [1] * 19
    assert len(np.unique(groups)) == 19 + len(alone)
    wanted = [*sorted(set(ids[None]))[:2], *sorted(set(ids["drive 1"]))[:2], ids["drive 2"][0], "without boxes"]
    frames = [("val", name) for name in wanted]
    found = _groups(rows, frames, "drive")
    assert len(set(found.tolist())) == 5
    assert found[2] == found[3]
    assert len(set(_groups(rows, frames, None).tolist())) == 6


@pytest.mark.parametrize("name", ["place", "label"])
def test_a_field_that_is_not_stored_is_refused(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"group_by: expected .* \(drive\), got '{name}'; trace with additional_fiel"
    ):
        evaluate(drives(), group_by=name)


def test_too_few_groups_are_told() -> None:
    with pytest.raises(
        EvaluationError, match=r"too few distinct values of drive: .* are 2 values of drive, .* least 10; trace more"
    ):
        evaluate(drives(["one", "other"] * (N_FRAMES // 2)), group_by="drive")
