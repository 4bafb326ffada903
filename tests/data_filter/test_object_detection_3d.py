"""The data filter of detection in 3D: the flow of 2D with other boxes, from traced frames to flags and queries."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_debugger import columns
from ml_debugger.analysis.box_kinds import BOXES_3D
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.match_settings import MatchSettings
from ml_debugger.analysis.matching import Match, match
from ml_debugger.data_filter import ObjectDetection3DDataFilter
from ml_debugger.errors import ConfigError, EvaluationError, InputError, NotFoundError, ShortResultWarning
from ml_debugger.evaluator import Evaluator, Result
from ml_debugger.training import ObjectDetection3DTracer
from tests.helpers.box_aggregation_reference import image_values
from tests.helpers.street_frames import annotations, batches, detect, objects

TRAIN, VAL, POOL = range(60), range(1000, 1150), range(2000, 2080)
EMPTY = {frame for frame in POOL if not len(detect({"frame": [frame]})[0]["scores"])}
RANGE = [0.0, -40.0, -3.0, 70.0, 40.0, 1.0]
BOX = list(columns.BOX_3D_COLUMNS)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with an evaluated run, made once."""
    folder = tmp_path_factory.mktemp("evaluated") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLD_HOME", str(folder))
        trace("frames")
        Evaluator("frames", "v1").request_evaluation(options={"bootstrap": 12})
    return folder


def trace(model_name: str, **settings: Any) -> None:
    settings = {"pc_range": RANGE, **settings}
    tracer = ObjectDetection3DTracer(
        detect, model_name, "v1", ground_truth_provider=lambda frame: annotations([frame])[0], **settings
    )
    for dataset_type, frames in (("train", TRAIN), ("val", VAL)):
        for batch, ids in batches(frames):
            tracer(batch, input_ids=ids, dataset_type=dataset_type)
    tracer.wait_for_save()


@pytest.fixture
def result(evaluated: Path) -> Result:
    """Its result, in a copy of the workspace."""
    shutil.copytree(evaluated, os.environ["MLD_HOME"], dirs_exist_ok=True)
    evaluator = Evaluator("frames", "v1")
    return evaluator.get_result(evaluator.list_results()["result_name"][0])


def filled(**options: Any) -> tuple[ObjectDetection3DDataFilter, dict[int, bool | None]]:
    """A filter that has seen the pool, and its flags by id."""
    flags: dict[int, bool | None] = {}
    data_filter = ObjectDetection3DDataFilter(detect, "frames", "v1", **options)
    for batch, ids in batches(POOL):
        output, found = data_filter(batch, ids)
        for entry, frame in zip(output, ids, strict=True):
            np.testing.assert_array_equal(entry["boxes"], detect({"frame": [frame]})[0]["boxes"])
        flags.update(zip(ids, found, strict=True))
    return data_filter, flags


def test_the_result_is_named_after_the_method(result: Result) -> None:
    assert result.result_name.startswith("frames_v1_od3d_v1_")
    assert result.method_name == "od3d_v1"


def test_samples_are_the_boxes_with_what_matching_says_of_them(result: Result) -> None:
    samples = result.samples()
    assert list(samples.columns) == [
        "input_id", "unit", "dataset_type", "n_epoch", "label", "score", "error_proba", "det_error_proba",
        "cls_error_proba", "zone", "support", "pred_size", *BOX, "truth", "is_error", "error_code", "ignored",
    ]  # fmt: skip
    ordered = samples.sort_values(["input_id", "unit"])
    output = detect({"frame": VAL})
    np.testing.assert_array_equal(ordered[BOX], np.concatenate([one["boxes"] for one in output]).astype(np.float32))
    np.testing.assert_array_equal(ordered["label"], np.concatenate([one["labels"] for one in output]))
    found, truths = matched(ordered)
    np.testing.assert_array_equal(ordered["is_error"], found.is_error)
    assert [code.split(":")[1].rstrip("*") for code in ordered["error_code"]] == found.code.tolist()
    missed = result.missed()
    assert list(missed.columns) == ["input_id", "dataset_type", "truth", *BOX]
    assert len(missed) > 0
    assert sorted(map(tuple, missed[BOX].to_numpy())) == sorted(map(tuple, truths.box[found.missed]))


def matched(samples: Any, settings: MatchSettings | None = None) -> tuple[Match, TrueBoxes]:
    """What matching says of the boxes of a table, and the annotated boxes."""
    truths = annotations(VAL)
    counts = [len(one["labels"]) for one in truths]
    boxes = TrueBoxes(
        np.repeat(VAL, counts),
        np.concatenate([one["boxes"] for one in truths]).astype(np.float32),
        np.concatenate([one["labels"] for one in truths]),
        np.zeros(sum(counts), bool),
    )
    index, label = (samples[name].to_numpy(np.int64) for name in ("input_id", "label"))
    predicted = PredictedBoxes(index, samples[BOX].to_numpy(np.float32), label, samples["score"].to_numpy(float))
    return match(predicted, boxes, settings, BOXES_3D), boxes


def test_metrics_tell_how_good_the_detector_is_and_that_errors_are_found(result: Result) -> None:
    metrics = result.metrics
    for name in ("map", "map_3d", "map_distance"):
        assert 0.3 < metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"] < 1
    assert metrics["auroc"] > metrics["baseline"]["auroc"] > 0.7
    assert metrics["brier"] < metrics["baseline"]["brier"]
    assert metrics["missed_proba"]["error_rate"] > 0


def test_a_box_is_scored_as_stored(result: Result) -> None:
    data_filter, flags = filled()
    assert set(flags.values()) == {None}
    frame = data_filter.scores()
    assert list(frame.columns) == [
        "input_id", "unit", "dataset_type", "n_epoch", "label", "score", "error_proba", "det_error_proba",
        "cls_error_proba", "zone", "support", "pred_size", *BOX,
    ]  # fmt: skip
    assert {str(frame[name].dtype) for name in BOX} == {"float32"}
    for number, rows in frame.groupby("input_id"):
        given = detect({"frame": [number]})[0]
        np.testing.assert_array_equal(rows[BOX], given["boxes"][rows["unit"]].astype(np.float32))
        np.testing.assert_allclose(rows["pred_size"], given["boxes"][rows["unit"], 3:6].prod(axis=1), rtol=1e-5)
    assert frame["error_proba"].between(0, 1).all()
    assert (frame["det_error_proba"] <= frame["error_proba"]).all()
    assert set(frame["input_id"]) == set(POOL) - EMPTY


CONFIGS = [
    {"img_error_threshold": 0.3},
    {"img_error_threshold": 0.4, "top_n": 1},
    {"img_error_threshold": 0.2, "aggregation": "median", "weight_column": "pred_size"},
    {"img_error_threshold": 0.2, "target_column": "cls_error_proba", "weight_column": "score"},
    {"img_error_threshold": 0.4, "bbox_filter": {"conditions": [{"pred_size": ">=2"}]}, "top_n": 2},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_flags_and_query_agree(result: Result, config: dict[str, Any]) -> None:
    data_filter, flags = filled(filter_config=config)
    assert {type(flag) for flag in flags.values()} == {bool}
    flagged = {input_id for input_id, flag in flags.items() if flag}
    assert 0 < len(flagged) < len(POOL)
    assert set(data_filter.query(10 * len(POOL), config)) == flagged
    frame = data_filter.scores()
    frame["recording_id"] = frame["input_id"]
    expected = image_values(frame.to_dict("records"), config)
    assert flagged == {input_id for input_id, value in expected.items() if value >= config["img_error_threshold"]}


def test_frames_with_errors_come_first(result: Result) -> None:
    data_filter, _ = filled()
    values = data_filter.scores().groupby("input_id")["error_proba"].mean()
    worst, safest = (data_filter.query(20, name) for name in ("high_error_proba", "low_error_proba"))
    assert values[worst].min() >= values.drop(worst).max()
    assert share_of_wrong(worst) > share_of_wrong(safest) + 0.15
    for strategy in ("diverse_error", "coverage", "badge", "zone_balanced", "random"):
        ids = data_filter.query(12, strategy, seed=3)
        assert len(set(ids)) == 12
        assert ids == data_filter.query(12, strategy, seed=3)
    assert data_filter.query(5, "high_error_proba", type_cast=str) == [str(frame) for frame in worst[:5]]


def share_of_wrong(frames: list[int]) -> float:
    wrong = []
    for frame in frames:
        given, (boxes, label) = detect({"frame": [frame]})[0], objects(frame)
        for box, said in zip(given["boxes"], given["labels"], strict=True):
            near = np.hypot(*(boxes[:, :2] - box[:2]).T) < 0.2
            wrong.append(not (near & (label == said)).any())
    return float(np.mean(wrong))


def test_frames_without_boxes_are_left_out_counted_and_available(result: Result) -> None:
    data_filter, flags = filled(filter_config={"img_error_threshold": 0.0})
    assert {frame for frame, flag in flags.items() if flag is False} == EMPTY
    with pytest.warns(ShortResultWarning, match=f"; {len(EMPTY)} inputs have no boxes that count"):
        ids = data_filter.query(len(POOL), "high_error_proba")
    assert set(ids) == set(POOL) - EMPTY
    everything = data_filter.query(len(POOL), "high_error_proba", include_empty=True)
    assert everything[: len(ids)] == ids
    assert set(everything) == set(POOL)
    budget = data_filter.query(len(POOL), "high_error_proba", box_budget=12)
    missed = data_filter.missed_proba().set_index("input_id")
    assert missed.loc[budget, "n_units"].sum() <= 12
    assert list(missed.columns) == ["dataset_type", "n_epoch", "n_units", "missed_proba"]
    assert missed["missed_proba"].between(0, 1).all()
    assert (missed.loc[sorted(EMPTY), "n_units"] == 0).all()


def test_a_filter_takes_the_range_from_the_tracer(result: Result) -> None:
    assert border_distances(filled()[0]) == pytest.approx(border_distances(filled(pc_range=RANGE)[0]))
    narrow = border_distances(filled(pc_range=[0, -20, -3, 70, 20, 1])[0])
    assert np.mean(narrow) < np.mean(border_distances(filled()[0])) - 5


def border_distances(data_filter: ObjectDetection3DDataFilter) -> list[float]:
    place = columns.BOX_3D_CONTEXT.index("border_distance")
    rows = data_filter._scan(columns.RECORDS, ("input_id", "unit", "context"), "pool", "pass")
    found = {(row["input_id"], row["unit"]): row["context"][place] for batch in rows for row in batch.to_pylist()}
    return [found[key] for key in sorted(found)]


def test_a_version_traced_without_a_range_has_none_and_another_gets_its_own(result: Result) -> None:
    trace("bare", pc_range=None)
    Evaluator("bare", "v1").request_evaluation(options={"bootstrap": 0, "learners": []})
    data_filter = ObjectDetection3DDataFilter(detect, "bare", "v1")
    batch, ids = next(batches(POOL))
    data_filter(batch, ids)
    assert np.isnan(border_distances(data_filter)).all()
    traced = ObjectDetection3DTracer(detect, "bare", "v1", pc_range=np.array(RANGE, np.float32))
    traced(*next((batch, annotations(ids), ids) for batch, ids in batches(VAL)), "val")
    traced.wait_for_save()
    assert ObjectDetection3DDataFilter(detect, "bare", "v1")._traced("pc_range") is None  # evaluated before
    Evaluator("bare", "v1").request_evaluation(options={"bootstrap": 0, "learners": []})
    assert ObjectDetection3DDataFilter(detect, "bare", "v1")._traced("pc_range") == RANGE


def test_matching_by_distance_is_an_option_by_class(result: Result) -> None:
    evaluator = Evaluator("frames", "v1")
    fast: dict[str, Any] = {"bootstrap": 0, "learners": []}
    matching = {"measure_by_class": {1: "distance"}, "centre_distance_by_class": {1: 0.04}}
    found = evaluator.request_evaluation(options={**fast, "matching": matching})
    before, after = result.samples(), found.samples()
    np.testing.assert_array_equal(after["is_error"], matched(after, MatchSettings.read(matching))[0].is_error)
    changed, people = after["is_error"] != before["is_error"], after["truth"] == 1
    assert changed[people].mean() > 0.1
    assert not changed[~people].any()
    assert found.metrics["map"] != result.metrics["map"]
    assert found.metrics["map_3d"] == pytest.approx(result.metrics["map_3d"])
    with pytest.raises(ConfigError, match="measure: expected one of iou_bev, iou_3d, distance, got 'iou'"):
        evaluator.request_evaluation(options={**fast, "matching": {"measure": "iou"}})


def test_a_filter_config_of_another_kind_and_a_missing_result_are_refused(result: Result) -> None:
    with pytest.raises(ConfigError, match="img_error_threshold"):
        ObjectDetection3DDataFilter(detect, "frames", "v1", filter_config={"img_error_threshold": 2.0})
    with pytest.raises(NotFoundError, match="no evaluation result for model 'other'"):
        ObjectDetection3DDataFilter(detect, "other", "v1")
    with pytest.raises(InputError, match="pc_range"):
        ObjectDetection3DDataFilter(detect, "frames", "v1", pc_range=[1, 2])


def test_an_evaluation_without_labelled_frames_names_the_tracers(result: Result) -> None:
    tracer = ObjectDetection3DTracer(detect, "unlabelled", "v1")
    batch, ids = next(batches(POOL))
    tracer(batch, [None] * len(ids), ids)
    with pytest.raises(EvaluationError, match="no labelled rows"):
        Evaluator("unlabelled", "v1").request_evaluation()
    assert filled()[0].describe()["result_name"] == result.result_name
