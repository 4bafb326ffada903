"""The data filter of detection: boxes scored live, images flagged and selected, and the two never disagree."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_debugger.data_filter import BBoxStrategy, ObjectDetectionDataFilter
from ml_debugger.errors import ConfigError, ShortResultWarning
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ObjectDetectionTracer
from tests.helpers.box_aggregation_reference import image_values
from tests.helpers.labelled_boxes import detections

POOL = 90
BATCH = 8


class Detector:
    """Answers with detections made beforehand: the "images" of a batch are their numbers."""

    def __init__(self, n_images: int, seed: int) -> None:
        self.output, self.truths = detections(n_images, seed)

    def __call__(self, images: list[int]) -> list[dict[str, np.ndarray]]:
        return [self.of(image) for image in images]

    def of(self, image: int) -> dict[str, np.ndarray]:
        mine = self.output.input_index == image
        found = {"boxes": "boxes", "labels": "label", "scores": "score", "features": "features", "logits": "logits"}
        entry = {name: np.asarray(getattr(self.output, field))[mine] for name, field in found.items()}
        return entry | {"candidates": self.beside(image, int(mine.sum()))}

    def beside(self, image: int, n_boxes: int) -> dict[str, np.ndarray]:
        """A candidate beside the boxes that scores the higher, the more objects were missed."""
        n_missed = len(self.truths[image]["boxes"]) - n_boxes
        score = 0.02 + 0.05 * n_missed + 0.0005 * (image % 60)
        return {"boxes": np.array([[900.0, 900, 950, 950]]), "scores": np.array([score]), "labels": np.array([0])}


def detect(images: list[tuple[Detector, int]]) -> list[dict[str, np.ndarray]]:
    """One model for all images, whichever made-up set they are of."""
    return [source.of(number) for source, number in images]


def batches(source: Detector, n_images: int) -> Any:
    for start in range(0, n_images, BATCH):
        numbers = range(start, min(start + BATCH, n_images))
        yield [(source, number) for number in numbers], list(numbers)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with an evaluated run, made once."""
    folder = tmp_path_factory.mktemp("evaluated") / "workspace"
    source = Detector(200, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLD_HOME", str(folder))
        tracer = ObjectDetectionTracer(detect, "boxes", "v1")
        for images, ids in batches(source, 200):
            tracer(images, [source.truths[number] for number in ids], ids, "val")
        Evaluator("boxes", "v1").request_evaluation(options={"bootstrap": 5})
    return folder


@pytest.fixture
def result(evaluated: Path) -> Any:
    """Its result, in a copy of the workspace."""
    shutil.copytree(evaluated, os.environ["MLD_HOME"], dirs_exist_ok=True)
    evaluator = Evaluator("boxes", "v1")
    return evaluator.get_result(evaluator.list_results()["result_name"][0])


def filled(**options: Any) -> tuple[ObjectDetectionDataFilter, dict[int, bool | None]]:
    """A filter that has seen the pool, and its flags by id."""
    source, flags = Detector(POOL, 2), {}
    data_filter = ObjectDetectionDataFilter(detect, "boxes", "v1", **options)
    for images, ids in batches(source, POOL):
        output, batch_flags = data_filter(images, ids)
        assert [len(one["boxes"]) for one in output] == [int((source.output.input_index == i).sum()) for i in ids]
        flags.update(zip(ids, batch_flags, strict=True))
    return data_filter, flags


def values(data_filter: ObjectDetectionDataFilter, config: dict[str, Any]) -> dict[int, float]:
    """Value of each image by the slow reference."""
    frame = data_filter.scores()
    frame["recording_id"] = frame["input_id"]
    return image_values(frame.to_dict("records"), config)


def test_a_box_is_scored_as_stored(result: Any) -> None:
    data_filter, flags = filled()
    assert set(flags.values()) == {None}
    frame = data_filter.scores()
    assert list(frame.columns) == [
        "input_id", "unit", "dataset_type", "n_epoch", "label", "score", "error_proba", "det_error_proba",
        "cls_error_proba", "zone", "support", "pred_size", "x1", "y1", "x2", "y2",
    ]  # fmt: skip
    source = Detector(POOL, 2)
    assert len(frame) == len(source.output.label)
    assert frame["error_proba"].between(0, 1).all()
    assert (frame["det_error_proba"] <= frame["error_proba"]).all()
    one = frame[(frame["input_id"] == 5) & (frame["unit"] == 0)]
    np.testing.assert_allclose(one[["x1", "y1", "x2", "y2"]].to_numpy(), source.of(5)["boxes"][:1])


CONFIGS = [
    {"img_error_threshold": 0.4},
    {"img_error_threshold": 0.3, "top_n": 1},
    {"img_error_threshold": 0.2, "aggregation": "median", "weight_column": "pred_size"},
    {"img_error_threshold": 0.3, "target_column": "det_error_proba", "weight_column": "score"},
    {"img_error_threshold": 0.5, "bbox_filter": {"conditions": [{"score": "<0.6"}]}, "top_n": 2},
]


@pytest.mark.parametrize("config", CONFIGS)
def test_flags_and_query_agree(result: Any, config: dict[str, Any]) -> None:
    data_filter, flags = filled(filter_config=config)
    assert {type(flag) for flag in flags.values()} == {bool}
    flagged = {input_id for input_id, flag in flags.items() if flag}
    assert 0 < len(flagged) < POOL
    assert set(data_filter.query(10 * POOL, config)) == flagged
    expected = values(data_filter, config)
    assert flagged == {input_id for input_id, value in expected.items() if value >= config["img_error_threshold"]}


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    target=st.sampled_from(["error_proba", "det_error_proba", "cls_error_proba"]),
    top_n=st.one_of(st.none(), st.integers(1, 3)),
    aggregation=st.sampled_from(["mean", "median"]),
    weight=st.sampled_from([None, "pred_size", "score"]),
    limit=st.sampled_from([None, ">=0.2", "<0.5"]),
    place=st.floats(0, 1),
)
def test_a_threshold_at_the_value_of_an_image_flags_it(
    result: Any, target: str, top_n: int | None, aggregation: str, weight: str | None, limit: str | None, place: float
) -> None:
    """The hardest case: a threshold exactly at a value, where one bit would tell flags and query apart."""
    config: dict[str, Any] = {
        "target_column": target,
        "top_n": top_n,
        "aggregation": aggregation,
        "weight_column": weight,
        "bbox_filter": None if limit is None else {"conditions": [{target: limit}]},
    }
    seen, _ = filled_once(result)
    ranked = seen.values(config)
    if not ranked:
        return
    threshold = sorted(ranked.values())[int(place * (len(ranked) - 1))]
    live = BBoxStrategy(**config, img_error_threshold=min(max(threshold, 0.0), 1.0))
    assert seen.flagged(live) == set(seen.data_filter.query(10 * POOL, live))


def detect_broken(images: list[tuple[Detector, int]]) -> list[dict[str, np.ndarray]]:
    """The first box of every third image has no place."""
    output = detect(images)
    for found, (_, number) in zip(output, images, strict=True):
        if number % 3 == 0:
            found["boxes"] = found["boxes"].copy()
            found["boxes"][:1] = np.nan
    return output


@pytest.mark.filterwarnings("ignore::ml_debugger.errors.NonFiniteWarning")
@pytest.mark.parametrize(
    "config",
    [
        {"weight_column": "age", "aggregation": "median", "top_n": 2},
        {"weight_column": "age", "bbox_filter": {"conditions": [{"night": "==1", "error_proba": "<1"}]}},
        {"weight_column": "pred_size", "top_n": 1},
        {
            "bbox_filter": {"target_zones": ["aleatoric_hotspot"], "conditions": [{"age": ">=5"}]},
            "aggregation": "median",
        },
    ],
    ids=str,
)
def test_flags_equal_query_with_fields_of_ones_own_and_boxes_that_are_not_finite(
    result: Any, config: dict[str, Any]
) -> None:
    fields = [{"name": "age", "type": "float"}, {"name": "night", "type": "int"}]
    live = {**config, "img_error_threshold": 0.45}
    source, flags = Detector(POOL, 2), {}
    data_filter = ObjectDetectionDataFilter(detect_broken, "boxes", "v1", filter_config=live, additional_fields=fields)
    for images, ids in batches(source, POOL):
        age = [float("nan") if number % 7 == 0 else float(number % 9) for number in ids]
        _, batch_flags = data_filter(images, ids, age=age, night=[number % 2 for number in ids])
        flags.update(zip(ids, batch_flags, strict=True))
    flagged = {input_id for input_id, flag in flags.items() if flag}
    expected = values(data_filter, config)
    assert set(data_filter.query(10 * POOL, live)) == flagged
    assert flagged == {one for one, value in expected.items() if value >= 0.45}
    assert 0 < len(flagged) < POOL
    assert (data_filter.scores()["label"] == -1).any()


class Seen:
    """A filled filter whose batches can be flagged again under other strategies."""

    def __init__(self, data_filter: ObjectDetectionDataFilter) -> None:
        self.data_filter = data_filter

    def values(self, config: dict[str, Any]) -> dict[int, float]:
        from ml_debugger.selection import box_candidates

        found = box_candidates(self._scored(range(POOL)), BBoxStrategy(**config))
        return dict(zip(map(int, found["input_id"].to_pylist()), found["rank_value"].to_pylist(), strict=True))

    def flagged(self, config: BBoxStrategy) -> set[int]:
        from ml_debugger.selection import box_candidates

        chosen: set[int] = set()
        for start in range(0, POOL, BATCH):
            found = box_candidates(self._scored(range(start, start + BATCH)), config, selected_only=True)
            chosen |= set(map(int, found["input_id"].to_pylist()))
        return chosen

    def _scored(self, ids: range) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        names = ("input_id", "id_kind", "recording_id", "unit", "label", "zone", "score", "pred_size")
        names += ("error_proba", "det_error_proba", "cls_error_proba")
        table = pa.Table.from_batches(list(self.data_filter._scan_scores(names, "pool", None)))
        return table.filter(pc.is_in(table["input_id"], value_set=pa.array([str(one) for one in ids])))


_SEEN: dict[str, tuple[Seen, Any]] = {}


def filled_once(result: Any) -> tuple[Seen, Any]:
    if result.created_at not in _SEEN:
        data_filter, flags = filled()
        _SEEN[result.created_at] = Seen(data_filter), flags
    return _SEEN[result.created_at]


def test_images_without_boxes_are_left_out_counted_and_available(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    data_filter, flags = filled(filter_config={"img_error_threshold": 0.0})
    source = Detector(POOL, 2)
    empty = {number for number in range(POOL) if not (source.output.input_index == number).any()}
    assert empty
    assert {input_id for input_id, flag in flags.items() if flag is False} == empty
    with pytest.warns(ShortResultWarning, match=f"; {len(empty)} inputs have no boxes that count"):
        ids = data_filter.query(POOL, "high_error_proba")
    assert set(ids) == set(range(POOL)) - empty
    everything = data_filter.query(POOL, "high_error_proba", include_empty=True)
    assert everything[: len(ids)] == ids
    assert set(everything[len(ids) :]) == empty
    missed = data_filter.missed_proba().set_index("input_id")["missed_proba"]
    assert missed[sorted(empty)].nunique() > 2
    assert everything[len(ids) :] == sorted(empty, key=lambda one: (-missed[one], str(one)))
    few = data_filter.query(len(ids) + 1, "high_error_proba", include_empty=True)
    assert few == everything[: len(ids) + 1]
    barred = sorted(empty)[:1]
    assert set(data_filter.query(POOL - 1, {}, include_empty=True, exclude=barred)) == set(range(POOL)) - set(barred)
    with caplog.at_level(logging.INFO):
        data_filter.query(POOL, {"img_error_threshold": 0.9})
    assert f"; {len(empty)} inputs have no boxes that count" in caplog.text


def test_empty_images_of_a_result_that_knows_nothing_of_missed_objects_come_by_id(
    result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_debugger.estimation.error_model import ErrorModel

    data_filter, _ = filled()
    monkeypatch.setattr(ErrorModel, "predict_frames", lambda *given: {})
    source = Detector(POOL, 2)
    empty = [number for number in range(POOL) if not (source.output.input_index == number).any()]
    everything = data_filter.query(POOL, "high_error_proba", include_empty=True)
    assert everything[-len(empty) :] == sorted(empty, key=str)


def test_a_budget_counts_predicted_boxes(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    data_filter, _ = filled()
    boxes = data_filter.missed_proba().set_index("input_id")["n_units"].clip(lower=1)
    every = data_filter.query(40, "high_error_proba")
    ids = data_filter.query(40, "high_error_proba", box_budget=30)
    assert ids == every[: len(ids)]
    assert boxes[ids].sum() <= 30 < boxes[every[: len(ids) + 1]].sum()
    assert f"use {boxes[ids].sum()} of the budget of 30 boxes" in caplog.text
    spread = data_filter.query(POOL, "diverse_error", box_budget=30)
    assert 26 <= boxes[spread].sum() <= 30
    with_empty = data_filter.query(POOL, {"top_n": 1}, include_empty=True, box_budget=10**6)
    assert set(with_empty) == set(range(POOL))
    n_filled = int((boxes.sum()) - (data_filter.missed_proba()["n_units"] == 0).sum())
    few = data_filter.query(POOL, {"top_n": 1}, include_empty=True, box_budget=n_filled + 2)
    assert few == with_empty[: len(few)]
    assert boxes[few].sum() == n_filled + 2


def test_an_image_whose_boxes_are_all_filtered_out_counts_as_empty(result: Any) -> None:
    data_filter, _ = filled()
    config = {"bbox_filter": {"conditions": [{"score": ">=0.75"}]}}
    left = set(values(data_filter, config))
    assert 0 < len(left) < POOL
    with pytest.warns(ShortResultWarning, match=f"{POOL - len(left)} inputs have no boxes that count"):
        assert set(data_filter.query(POOL, config)) == left
    assert set(data_filter.query(POOL, config, include_empty=True)) == set(range(POOL))


def test_order_and_sort(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    data_filter, _ = filled()
    config: dict[str, Any] = {"top_n": 2}
    expected = values(data_filter, config)
    ranked = sorted(expected, key=lambda input_id: (-expected[input_id], str(input_id)))
    assert data_filter.query(10, config) == ranked[:10]
    upwards = sorted(expected, key=lambda input_id: (expected[input_id], str(input_id)))
    assert data_filter.query(10, {**config, "sort": "asc"}) == upwards[:10]
    assert data_filter.query(10, BBoxStrategy(top_n=2)) == ranked[:10]
    mean = values(data_filter, {})
    assert data_filter.query(5, "low_error_proba") == sorted(mean, key=lambda one: (mean[one], str(one)))[:5]
    with caplog.at_level(logging.INFO):
        assert len(data_filter.query(POOL, {"img_error_threshold": 0.9})) < POOL  # "up to": logged, no warning


@pytest.mark.parametrize("strategy", ["diverse_error", "coverage", "badge", "zone_balanced", "random"])
def test_strategies_work_on_images(result: Any, strategy: str) -> None:
    data_filter, _ = filled()
    ids = data_filter.query(12, strategy, seed=3)
    assert len(set(ids)) == 12
    assert ids == data_filter.query(12, strategy, seed=3)


def test_sampling_draws_among_images(result: Any) -> None:
    data_filter, _ = filled()
    mean = values(data_filter, {})
    middle = sorted(mean.values())[len(mean) // 2]
    ids = data_filter.query(10, {}, sampling={"method": "random", "min_value": middle})
    assert all(mean[input_id] >= middle - 1e-12 for input_id in ids)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"aggregation": "max"}, "'mean' or 'median'"),
        ({"target_zones": ["hotspot"]}, "Allowed keys"),
        ("best", "expected"),
    ],
)
def test_a_bad_strategy_is_refused_with_what_is_allowed(result: Any, strategy: Any, message: str) -> None:
    data_filter, _ = filled()
    with pytest.raises(ConfigError, match=message):
        data_filter.query(3, strategy)


def test_a_bad_filter_config_is_refused_at_construction(result: Any) -> None:
    with pytest.raises(ConfigError, match="img_error_threshold"):
        ObjectDetectionDataFilter(detect, "boxes", "v1", filter_config={"img_error_threshold": 2.0})


def test_describe_names_the_result(result: Any) -> None:
    data_filter, _ = filled()
    assert data_filter.describe()["result_name"] == result.result_name
    data_filter.wait_for_save()


def test_images_with_missed_objects_are_found(result: Any) -> None:
    learned = result.metrics["missed_proba"]
    assert 0 < learned["error_rate"] < 1
    assert learned["baseline"]["auroc"] is not None
    data_filter, _ = filled()
    frame = data_filter.missed_proba()
    assert list(frame.columns) == ["input_id", "dataset_type", "n_epoch", "n_units", "missed_proba"]
    assert sorted(frame["input_id"]) == list(range(POOL))
    assert frame["missed_proba"].between(0, 1).all()
    assert (frame["n_units"] == 0).any()
    assert data_filter.missed_proba("elsewhere").empty
