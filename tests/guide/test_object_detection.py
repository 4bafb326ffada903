"""Every code block of the original guide that 2D object detection uses, run word for word with a real detector."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ml_debugger.columns import ZONES
from ml_debugger.data_filter import BBoxStrategy, ObjectDetectionDataFilter
from ml_debugger.demo.small_detector import SmallDetector
from ml_debugger.errors import ConfigError, ShortResultWarning
from ml_debugger.evaluator import Evaluator, Result
from ml_debugger.training import ObjectDetectionTracer
from tests.guide import blocks
from tests.guide.blocks import Block
from tests.helpers.digit_detector import N_EMPTY, digit_detector, image_loader, scenes, trace, tracer

RESULT_NAME = "faster_rcnn_v1_od_v1_20251219"
THRESHOLD = {"img_error_threshold": 0.5, "aggregation": "mean"}


@pytest.fixture(scope="module")
def model() -> SmallDetector:
    return digit_detector()


@pytest.fixture(scope="module")
def workspace(model: SmallDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the guide's prerequisite holds: tracing and evaluation are complete."""
    home = tmp_path_factory.mktemp("guide")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLD_HOME", str(home))
        evaluate(model, "faster_rcnn", RESULT_NAME)
        evaluate(model, "my_od_model", None)
    return home


def evaluate(model: SmallDetector, model_name: str, result_name: str | None) -> Result:
    trace(tracer(model, model_name), scenes().parts["train"])
    return Evaluator(model_name, "v1").request_evaluation(result_name=result_name)


@pytest.fixture
def names(workspace: Path, model: SmallDetector, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names that the guide's blocks use and do not define."""
    monkeypatch.setenv("MLD_HOME", str(workspace))
    return {
        "model": model,
        "device": torch.device("cpu"),
        "pool_dataloader": image_loader(scenes().parts["pool"]),
        "ObjectDetectionDataFilter": ObjectDetectionDataFilter,
    }


@pytest.fixture
def queried(names: dict[str, Any]) -> dict[str, Any]:
    """The names after steps 1 and 2 of the batch method."""
    run(blocks.DETECTION_INITIALIZE, names)
    run(blocks.INFER, names)
    return names


def run(
    block: Block, names: dict[str, Any], fill: dict[int, str] | None = None, credentials: tuple[str, str] = ("", "")
) -> None:
    exec(compile(block.code(fill, credentials), f"guide lines {block.first}-{block.last}", "exec"), names)


def image_values(names: dict[str, Any], top_n: int | None = None, column: str = "error_proba") -> pd.Series[float]:
    """The mean over the worst boxes of each image, greatest first, by plain pandas."""
    boxes = names["data_filter"].scores().sort_values(["input_id", column], ascending=[True, False])
    worst = boxes.groupby("input_id")[column].apply(lambda values: values.head(top_n or len(values)).mean())
    return worst.sort_values(ascending=False)


def first(values: pd.Series[float], n_data: int = 50) -> list[float]:
    return values.iloc[:n_data].tolist()


def share_of_wrong(names: dict[str, Any], ids: Sequence[int]) -> float:
    """Share of the boxes of some images that are on no object of their class."""
    boxes = names["data_filter"].scores().set_index("input_id")
    wrong = []
    for number in set(ids) & set(boxes.index):
        target = scenes().targets[number]
        for row in boxes.loc[[number]].itertuples():
            same = target["boxes"][target["labels"] == row.label]
            wrong.append(not any(overlap([row.x1, row.y1, row.x2, row.y2], other) >= 0.5 for other in same))
    return float(np.mean(wrong))


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    width, height = (min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1))
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def test_no_block_of_the_guide_is_left_out() -> None:
    """Whatever looks like code belongs to a block."""
    if not blocks.GUIDE.exists():
        pytest.skip(f"the original guide is not here: {blocks.GUIDE.name}")
    run_lines = {n for block in blocks.blocks() for n in range(block.first, block.last + 1)}
    other = {n for first, last in blocks.COMMENTS for n in range(first, last + 1)}
    code = re.compile(
        r"\s*(import |from \S+ import |for .+ in .+:$|with .+:$|if .+:$|\w+ \+?= |\w+\.\w+\(|print\(|# ?\w)"
    )
    lines = blocks.GUIDE.read_text().splitlines()
    left_out = {n: line for n, line in enumerate(lines, 1) if code.match(line) and n not in run_lines | other}
    assert not left_out


def test_the_result_name_comes_from_the_result(names: dict[str, Any]) -> None:
    names["evaluator"] = Evaluator("faster_rcnn", "v1")
    run(blocks.RESULT_NAME, names)
    assert names["result_name"].startswith("faster_rcnn_v1_od_v1_")
    assert names["result_name"] != RESULT_NAME


def test_batch_method_gives_the_models_output_and_no_flags(queried: dict[str, Any], model: SmallDetector) -> None:
    assert queried["filter_flags"] == [None] * len(queried["ids"])
    with torch.no_grad():
        expected = model(queried["input_data"])
    for got, image in zip(queried["model_output"], expected, strict=True):
        assert all(torch.equal(got[name], image[name]) for name in ("boxes", "labels", "scores"))
    table = queried["data_filter"].scores()
    last = table[table["input_id"].isin([int(number) for number in queried["ids"]])]
    assert len(last) == sum(len(image["scores"]) for image in expected)
    for number, image in zip(queried["ids"].tolist(), expected, strict=True):
        own = last[last["input_id"] == number].sort_values("unit")
        assert own["unit"].tolist() == list(range(len(image["scores"])))
        np.testing.assert_array_equal(own[["x1", "y1", "x2", "y2"]], image["boxes"].numpy())
        assert own["label"].tolist() == image["labels"].tolist()
    assert set(table["dataset_type"]) == {"pool"}
    assert set(table["zone"]) <= set(ZONES)


def test_real_time_method_flags_what_a_query_would_select(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(blocks.DETECTION_INITIALIZE_REAL_TIME, names)
    run(blocks.INFER_REAL_TIME, names)
    assert all(type(flag) is bool for flag in names["filter_flags"])
    flagged = [int(index) for index in names["new_data_indices"]]
    assert f"Total {len(flagged)} data points matched" in capsys.readouterr().out
    values = image_values(names)
    assert 0 < len(flagged) < len(values)
    assert set(flagged) == set(values.index[values >= 0.5])
    assert set(flagged) == set(names["data_filter"].query(len(values), THRESHOLD))
    assert set(flagged).isdisjoint(scenes().parts["pool"][-N_EMPTY:])


def test_sort_strategy_takes_the_likeliest_errors(queried: dict[str, Any]) -> None:
    run(blocks.DETECTION_QUERY_SORT, queried)
    ids, values = queried["queried_ids"], image_values(queried)
    assert len(ids) == len(set(ids)) == 50
    assert values[ids].tolist() == pytest.approx(first(values))
    safest = queried["data_filter"].query(50, "low_error_proba")
    assert share_of_wrong(queried, ids) > share_of_wrong(queried, safest) + 0.15


def test_low_error_proba_takes_the_other_end(queried: dict[str, Any]) -> None:
    ids = queried["data_filter"].query(n_data=50, strategy="low_error_proba")
    values = image_values(queried)
    assert values[ids].tolist() == pytest.approx(first(values[::-1]))
    assert set(ids).isdisjoint(scenes().parts["pool"][-N_EMPTY:])


def test_the_likeliest_errors_of_each_image_are_averaged(queried: dict[str, Any]) -> None:
    run(blocks.DETECTION_QUERY_BOXES, queried)
    ids, values = queried["queried_ids"], image_values(queried, top_n=3)
    assert len(ids) == len(set(ids)) == 50
    assert values[ids].tolist() == pytest.approx(first(values))
    assert values[ids].tolist() != pytest.approx(image_values(queried)[ids].tolist())


@pytest.mark.parametrize("column", ["error_proba", "det_error_proba", "cls_error_proba"])
@pytest.mark.parametrize("top_n", [1, 3, None])
def test_target_column_and_top_n(queried: dict[str, Any], column: str, top_n: int | None) -> None:
    ids = queried["data_filter"].query(50, {"target_column": column, "top_n": top_n})
    values = image_values(queried, top_n, column)
    assert values[ids].tolist() == pytest.approx(first(values))


def test_sort_asc_begins_with_the_safest(queried: dict[str, Any]) -> None:
    ids = queried["data_filter"].query(50, {"top_n": 3, "sort": "asc"})
    values = image_values(queried, top_n=3)
    assert values[ids].tolist() == pytest.approx(first(values[::-1]))


def test_median(queried: dict[str, Any]) -> None:
    ids = queried["data_filter"].query(50, {"aggregation": "median"})
    values = queried["data_filter"].scores().groupby("input_id")["error_proba"].median().sort_values(ascending=False)
    assert values[ids].tolist() == pytest.approx(first(values))


def weighted_median(boxes: pd.DataFrame) -> float:
    """Of values each repeated as often as its weight says: where half of them is passed."""
    ordered = boxes.sort_values("error_proba", ascending=False)
    reached, half = ordered["pred_size"].cumsum(), ordered["pred_size"].sum() / 2
    return float((ordered["error_proba"][reached >= half].iloc[0] + ordered["error_proba"][reached > half].iloc[0]) / 2)


def test_weight_column_weighs_mean_and_median(queried: dict[str, Any]) -> None:
    boxes = queried["data_filter"].scores().groupby("input_id")
    expected = {
        "mean": boxes.apply(lambda one: np.average(one["error_proba"], weights=one["pred_size"])),
        "median": boxes.apply(weighted_median),
    }
    for aggregation, values in expected.items():
        ids = queried["data_filter"].query(50, {"aggregation": aggregation, "weight_column": "pred_size"})
        assert values[ids].tolist() == pytest.approx(first(values.sort_values(ascending=False)))


def test_bbox_filter_comes_before_top_n(queried: dict[str, Any]) -> None:
    data_filter = queried["data_filter"]
    condition = {"conditions": [{"score": "<0.5", "error_proba": ">=0.3"}]}
    boxes = data_filter.scores()
    kept = boxes[(boxes["score"] < 0.5) & (boxes["error_proba"] >= 0.3)].sort_values("error_proba", ascending=False)
    values = kept.groupby("input_id")["error_proba"].apply(lambda own: own.head(2).mean()).sort_values(ascending=False)
    n_data = min(50, len(values))
    assert n_data > 5
    ids = data_filter.query(n_data, {"bbox_filter": condition, "top_n": 2})
    assert values[ids].tolist() == pytest.approx(first(values, n_data))
    with pytest.warns(ShortResultWarning, match="have no boxes that count"):
        assert set(data_filter.query(10_000, {"bbox_filter": condition, "top_n": 2})) == set(values.index)


def test_strings_are_the_default_strategy(queried: dict[str, Any]) -> None:
    query = queried["data_filter"].query
    assert query(50, "high_error_proba") == query(50, {}) == query(50, BBoxStrategy())
    assert query(50, "low_error_proba") == query(50, {"sort": "asc"})


def test_images_without_boxes_are_left_out_and_counted(queried: dict[str, Any]) -> None:
    pool = scenes().parts["pool"]
    with_boxes = set(queried["data_filter"].scores()["input_id"])
    without = sorted(set(pool) - with_boxes)
    assert set(pool[-N_EMPTY:]) <= set(without)
    with pytest.warns(ShortResultWarning, match=f"{len(without)} inputs have no boxes that count"):
        assert set(queried["data_filter"].query(len(pool), "high_error_proba")) == with_boxes
    ids = queried["data_filter"].query(len(pool), "high_error_proba", include_empty=True)
    assert sorted(ids) == sorted(pool)
    assert set(ids[-len(without) :]) == set(without)


def test_optional_parameters(queried: dict[str, Any]) -> None:
    run(blocks.QUERY_OPTIONS, queried)
    assert len(queried["queried_ids"]) == 50
    assert all(type(index) is int for index in queried["queried_ids"])
    assert set(queried["queried_ids"]) <= set(scenes().parts["pool"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"aggregation": "max"}, '"mean" or "median"'),
        ({"target_column": "score"}, "det_error_proba"),
        ("best", "one of"),
    ],
)
def test_a_strategy_that_is_none_is_refused_with_what_there_is(queried: dict[str, Any], wrong: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        queried["data_filter"].query(5, wrong)


@pytest.fixture(params=["embedded", "server"])
def credentials(
    request: pytest.FixtureRequest, model: SmallDetector, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """Endpoint and key for the block: none, or those of a server at which the guide's prerequisite holds."""
    if request.param == "server":
        request.getfixturevalue("served")
        evaluate(model, "my_od_model", None)
    found = os.environ.get("MLD_API_ENDPOINT", ""), os.environ.get("MLD_API_KEY", "")
    for name in ("MLD_API_ENDPOINT", "MLD_API_KEY"):
        monkeypatch.setenv(name, "set by the block")
    return found


def test_complete_sample(names: dict[str, Any], model: SmallDetector, credentials: tuple[str, str]) -> None:
    evaluator = Evaluator("my_od_model", "v1", *credentials)
    result = evaluator.get_result(evaluator.list_results()["result_name"][0])
    names = {"result": result, "trained_model": model, "pool": names["pool_dataloader"]}
    run(blocks.DETECTION_COMPLETE, names, {273: "trained_model", 274: "pool"}, credentials)
    assert (os.environ["MLD_API_ENDPOINT"], os.environ["MLD_API_KEY"]) == credentials
    assert "ObjectDetectionDataFilter" in names
    ids, values = names["queried_ids"], image_values(names, top_n=3)
    assert len(set(ids)) == 50
    assert all(type(index) is int for index in ids)
    assert values[ids].tolist() == pytest.approx(first(values))
    means = image_values(names)
    assert 0 < len(names["high_error_images"]) < len(means)
    assert set(names["high_error_images"]) == set(means.index[means >= 0.5])


def test_active_learning_loop(names: dict[str, Any]) -> None:
    """The guide's loop names the classes of classification; with those of detection under these names it runs too."""
    rounds: list[tuple[int, list[int]]] = []
    evaluator = Evaluator("active", "v1")

    def train_model(model: SmallDetector, indices: list[int]) -> None:
        model.load_state_dict(digit_detector(indices, epochs=6).state_dict())
        model.eval()

    def infer_pool(data_filter: ObjectDetectionDataFilter) -> None:
        with torch.no_grad():
            for image, _, ids in image_loader(names["pool_indices"]):
                data_filter(image, ids)
        rounds.append((len(names["pool_indices"]), list(names["train_indices"])))

    pool = scenes().parts["pool"][:-N_EMPTY]
    names |= {
        "model": SmallDetector(score_thresh=0.1),
        "model_name": "active",
        "version_name": "v1",
        "n_iterations": 2,
        "train_model": train_model,
        "train_indices": list(scenes().parts["train"]),
        "pool_indices": list(pool),
        "evaluator": evaluator,
        "collect_data": lambda tracer: trace(tracer, names["train_indices"]),
        "infer_pool": infer_pool,
        "ClassificationTracer": ObjectDetectionTracer,
        "ClassificationDataFilter": ObjectDetectionDataFilter,
    }
    names["train_dataloader"] = names["train_indices"]  # the loop extends this very list
    run(blocks.ACTIVE_LEARNING, names, {365: "collect_data(tracer)", 371: "infer_pool(data_filter)"})
    assert [size for size, _ in rounds] == [len(pool), len(pool) - 100]
    bought = names["train_indices"][len(scenes().parts["train"]) :]
    assert len(bought) == len(set(bought)) == 200
    assert all(type(index) is int for index in bought)
    assert set(bought).isdisjoint(names["pool_indices"])
    assert set(bought) | set(names["pool_indices"]) == set(pool)
    assert len(evaluator.list_results(n_epoch="all")) == 2
