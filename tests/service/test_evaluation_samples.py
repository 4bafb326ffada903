"""The tables of an evaluation of detection: boxes in ignored regions, missed objects, annotations to draw."""

from __future__ import annotations

import importlib.util

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ml_debugger.analysis.average_precision import MISSING_NOTE
from ml_debugger.service.contract import EvaluationRequest, RunKey
from ml_debugger.service.evaluation import run_evaluation
from tests.helpers.box_results import box_evaluation, crowded_run
from tests.helpers.labelled_boxes import TASK, BoxRun, detections


def test_boxes_in_ignored_regions_are_stored_last_and_counted_nowhere() -> None:
    found = box_evaluation()
    ignored = found.samples["ignored"].to_numpy(zero_copy_only=False)
    n_ignored = int(ignored.sum())
    assert n_ignored > 3
    assert ignored[-n_ignored:].all()
    counted = found.samples.num_rows - n_ignored
    assert sum(found.zones["count"].to_pylist()) == counted
    codes = found.error_codes
    assert sum(codes.filter(codes["zone"].is_valid())["count"].to_pylist()) == counted
    aside = found.samples.filter(found.samples["ignored"])
    assert set(aside["is_error"].to_pylist()) == {False}
    assert all(code.startswith("DET:U:") for code in aside["error_code"].to_pylist())
    assert aside["truth"].null_count == n_ignored
    for name in ("error_proba", "det_error_proba", "cls_error_proba", "support", "pred_size", "x2"):
        assert np.isfinite(aside[name].to_numpy()).all()
    assert aside["zone"].null_count == 0


def test_every_box_of_an_annotated_image_has_a_row() -> None:
    run, found = crowded_run(), box_evaluation()
    records = run.tables["records"].filter(pc.equal(run.tables["records"]["dataset_type"], "val"))
    keys = [
        set(zip(t["recording_id"].to_pylist(), t["unit"].to_pylist(), strict=True)) for t in (found.samples, records)
    ]
    assert keys[0] == keys[1]
    assert found.samples.num_rows == records.num_rows


def test_a_run_without_regions_is_learned_the_same() -> None:
    """Rows that are set aside change nothing of the others."""
    output, truths = detections(90, 5)
    request = EvaluationRequest(RunKey("m", "v1"), result_name="r", options={"bootstrap": 0})
    plain = run_evaluation(request, TASK, BoxRun({"val": (output, truths)}).read)
    region = np.array([[-5.0, -5.0, 900.0, 900.0]])
    marked = [
        {"boxes": region, "labels": np.array([-1]), "ignored": np.array([True])} if not len(truth["labels"]) else truth
        for truth in truths
    ]
    same = run_evaluation(request, TASK, BoxRun({"val": (output, marked)}).read)
    assert same.samples["error_proba"].to_pylist() == plain.samples["error_proba"].to_pylist()


def test_missed_objects_are_those_of_the_held_out_images_by_class() -> None:
    run, found = crowded_run(), box_evaluation()
    missed = TASK.diagnose(run.tables["records"], run.tables["truths"]).missed
    held = missed.filter(pc.equal(missed["dataset_type"], "val"))
    assert 0 < found.missed.num_rows == held.num_rows < missed.num_rows
    codes = found.error_codes.filter(found.error_codes["zone"].is_null()).to_pylist()
    by_class = {row["error_code"]: row["count"] for row in codes}
    expected = dict(zip(*np.unique(held["error_code"].to_pylist(), return_counts=True), strict=True))
    assert by_class == expected
    truths = run.tables["truths"]
    objects = truths.filter(
        pc.and_(
            pc.equal(truths["dataset_type"], "val"),
            pc.and_(pc.greater_equal(truths["truth_index"], 0), pc.invert(truths["ignored"])),
        )
    )
    assert codes[0]["share"] == pytest.approx(codes[0]["count"] / objects.num_rows)
    assert found.error_codes["zone"].to_pylist()[-1] is None


def test_examples_of_a_code_are_different_images() -> None:
    for ids in box_evaluation().error_codes["example_ids"].to_pylist():
        assert len(ids) == len(set(ids)) > 0


def test_annotations_are_kept_with_the_sizes_of_their_images() -> None:
    truths = box_evaluation().truths
    assert set(truths["dataset_type"].to_pylist()) == {"val"}
    sizes = truths.filter(truths["image_width"].is_valid())
    assert set(sizes["image_width"].to_pylist()) == set(sizes["image_height"].to_pylist()) == {640.0}
    bare = truths.filter(pc.equal(truths["truth_index"], -1))
    assert bare.num_rows > 0
    assert not any(bare["missed"].to_pylist())
    assert sum(truths["missed"].to_pylist()) == box_evaluation().missed.num_rows


def test_the_quality_of_a_detector_is_its_average_precision() -> None:
    metrics = box_evaluation().metrics
    assert "accuracy" not in metrics
    for name in ("map", "map50"):
        assert 0 < metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"] < 1
    assert metrics["map50"] > metrics["map"]
    for part in ("det_error_proba", "cls_error_proba", "missed_proba"):
        for of in (metrics[part], metrics[part]["baseline"]):
            assert all(np.isfinite(of[name]) for name in ("error_rate", "auroc", "brier", "ece", "nll"))


def test_without_pycocotools_a_note_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pycocotools" else find(name))
    request = EvaluationRequest(RunKey("m", "v1"), result_name="r", options={"bootstrap": 0, "learners": []})
    found = run_evaluation(request, TASK, BoxRun({"val": detections(60, 5)}).read)
    assert (found.metrics["map"], found.metrics["map50"]) == (None, None)
    assert MISSING_NOTE in found.info["notes"]
    assert MISSING_NOTE not in box_evaluation().info["notes"]


def test_the_order_in_which_a_store_gives_rows_changes_nothing() -> None:
    """Stores read on several threads."""
    run = BoxRun({"train": detections(60, 4), "val": detections(90, 5)})
    request = EvaluationRequest(RunKey("m", "v1"), result_name="r", options={"bootstrap": 5, "learners": []})
    expected = run_evaluation(request, TASK, run.read)
    rng = np.random.default_rng(0)
    run.tables = {kind: table.take(pa.array(rng.permutation(table.num_rows))) for kind, table in run.tables.items()}
    found = run_evaluation(request, TASK, run.read)
    for name in ("samples", "missed", "truths", "zones", "error_codes"):
        assert repr(getattr(found, name).to_pylist()) == repr(getattr(expected, name).to_pylist()), name
    assert found.metrics == expected.metrics
