"""Every code block of the original guide that 3D object detection uses, run word for word with a torch detector.

The guide's loops in 3D do not turn gradients off.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from ml_debugger.columns import BOX_3D_COLUMNS, ZONES
from ml_debugger.data_filter import ObjectDetection3DDataFilter
from ml_debugger.errors import ShortResultWarning
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ObjectDetection3DTracer
from tests.guide import blocks
from tests.guide.test_object_detection import first, image_values, run
from tests.helpers.cluster_detector import ClusterDetector
from tests.helpers.street_frames import objects, points

RESULT_NAME = "centerpoint_v1_od3d_v1_20251219"
TRAIN, VAL, POOL = range(50), range(1000, 1120), range(2000, 2070)
FILLER = (-50.0, 0.0, -1.7, 0.0)  # a return behind the sensor
THRESHOLD = {"img_error_threshold": 0.5, "aggregation": "mean"}


class Batch(dict[str, Any]):
    """A dict of inputs that can be moved, as the guide's loop does."""

    def to(self, device: torch.device) -> Batch:
        return Batch({name: value.to(device) for name, value in self.items()})


def padded(frames: Sequence[int]) -> torch.Tensor:
    """``(B, N, 4)`` points of some frames."""
    clouds = [points(frame) for frame in frames]
    whole = np.tile(np.array(FILLER, np.float32), (len(clouds), max(map(len, clouds)), 1))
    for row, cloud in zip(whole, clouds, strict=True):
        row[: len(cloud)] = cloud
    return torch.from_numpy(whole)


def loader(frames: Sequence[int], *, as_dict: bool = False) -> DataLoader[Any]:
    """Batches of (points, something that is no label, ids)."""

    def collate(some: list[int]) -> tuple[Any, None, list[str]]:
        cloud = padded(some)
        return Batch(points=cloud) if as_dict else cloud, None, [f"{frame:06d}" for frame in some]

    return DataLoader(list(frames), batch_size=16, collate_fn=collate)


def annotation(frame_id: str) -> dict[str, np.ndarray]:
    boxes, labels = objects(int(frame_id))
    return {"boxes": boxes, "labels": labels + 1}


def trace(model: ClusterDetector, model_name: str) -> None:
    tracer = ObjectDetection3DTracer(model, model_name, "v1", ground_truth_provider=annotation)
    for dataset_type, frames in (("train", TRAIN), ("val", VAL)):
        for cloud, _, ids in loader(frames, as_dict=True):
            tracer(cloud, input_ids=ids, dataset_type=dataset_type)
    tracer.wait_for_save()


def evaluate(model: ClusterDetector, model_name: str, result_name: str | None) -> None:
    trace(model, model_name)
    Evaluator(model_name, "v1").request_evaluation(result_name=result_name, options={"bootstrap": 0})


@pytest.fixture(scope="module")
def model() -> ClusterDetector:
    return ClusterDetector().eval()


@pytest.fixture(scope="module")
def workspace(model: ClusterDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the guide's prerequisite holds: tracing and evaluation are complete."""
    home = tmp_path_factory.mktemp("guide")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLD_HOME", str(home))
        for model_name, result_name in (("centerpoint", RESULT_NAME), ("my_3d_od_model", None)):
            evaluate(model, model_name, result_name)
    return home


@pytest.fixture
def names(workspace: Path, model: ClusterDetector, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names that the guide's blocks use and do not define."""
    monkeypatch.setenv("MLD_HOME", str(workspace))
    return {
        "model": model,
        "device": torch.device("cpu"),
        "pool_dataloader": loader(POOL, as_dict=True),
        "ObjectDetection3DDataFilter": ObjectDetection3DDataFilter,
    }


@pytest.fixture
def queried(names: dict[str, Any]) -> dict[str, Any]:
    """The names after steps 1 and 2 of the batch method."""
    run(blocks.DETECTION_3D_INITIALIZE, names)
    run(blocks.INFER, names)
    return names


def values(names: dict[str, Any], top_n: int | None = None) -> pd.Series[float]:
    return image_values(names, top_n)


def share_of_wrong(names: dict[str, Any], ids: Sequence[str]) -> float:
    """Share of the boxes of some frames that are a third of a metre or more beside every object of their class."""
    boxes = names["data_filter"].scores().set_index("input_id")
    wrong = []
    for name in set(ids) & set(boxes.index):
        target = annotation(name)
        for row in boxes.loc[[name]].itertuples():
            same = target["boxes"][target["labels"] == row.label]
            wrong.append(not (np.hypot(same[:, 0] - row.x, same[:, 1] - row.y) < 0.33).any())
    return float(np.mean(wrong))


def test_the_result_name_comes_from_the_result(names: dict[str, Any]) -> None:
    names["evaluator"] = Evaluator("my_3d_od_model", "v1")
    run(blocks.RESULT_NAME, names)
    assert names["result_name"].startswith("my_3d_od_model_v1_od3d_v1_")


def test_batch_method_gives_the_models_output_and_no_flags(queried: dict[str, Any], model: ClusterDetector) -> None:
    assert queried["filter_flags"] == [None] * len(queried["ids"])
    expected = model(queried["input_data"])[0]
    table = queried["data_filter"].scores()
    for got, name, frame in zip(queried["model_output"][0], queried["ids"], expected, strict=True):
        assert all(torch.equal(got[key], frame[key]) for key in frame)
        own = table[table["input_id"] == name].sort_values("unit")
        np.testing.assert_array_equal(own[list(BOX_3D_COLUMNS)], frame["pred_boxes"].detach().numpy())
        assert own["label"].tolist() == frame["pred_labels"].tolist()
    assert set(table["dataset_type"]) == {"pool"}
    assert set(table["zone"]) <= set(ZONES)


def test_real_time_method_flags_what_a_query_would_select(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(blocks.DETECTION_3D_INITIALIZE_REAL_TIME, names)
    run(blocks.INFER_REAL_TIME, names)
    assert all(type(flag) is bool for flag in names["filter_flags"])
    flagged = names["new_data_indices"]
    assert f"Total {len(flagged)} data points matched" in capsys.readouterr().out
    means = values(names)
    assert 0 < len(flagged) < len(means)
    assert set(flagged) == set(means.index[means >= 0.5])
    assert set(flagged) == set(names["data_filter"].query(len(means), THRESHOLD))


def test_queries_take_the_likeliest_errors(queried: dict[str, Any]) -> None:
    run(blocks.DETECTION_QUERY_SORT, queried)
    ids, means = queried["queried_ids"], values(queried)
    assert len(ids) == len(set(ids)) == 50
    assert means[ids].tolist() == pytest.approx(first(means))
    worst, safest = (queried["data_filter"].query(20, name) for name in ("high_error_proba", "low_error_proba"))
    assert share_of_wrong(queried, worst) > share_of_wrong(queried, safest) + 0.15
    run(blocks.DETECTION_QUERY_BOXES, queried)
    ids, means = queried["queried_ids"], values(queried, top_n=3)
    assert means[ids].tolist() == pytest.approx(first(means))
    with_boxes = set(queried["data_filter"].scores()["input_id"])
    assert len(with_boxes) < len(POOL)
    with pytest.warns(ShortResultWarning, match=f"{len(POOL) - len(with_boxes)} inputs have no boxes that count"):
        assert set(queried["data_filter"].query(len(POOL), "high_error_proba")) == with_boxes


def test_optional_parameters(queried: dict[str, Any]) -> None:
    run(blocks.QUERY_OPTIONS, queried)
    assert len(queried["queried_ids"]) == 50
    assert all(type(index) is int for index in queried["queried_ids"])
    assert set(queried["queried_ids"]) <= set(POOL)


@pytest.fixture(params=["embedded", "server"])
def credentials(
    request: pytest.FixtureRequest, model: ClusterDetector, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """Endpoint and key for the block: none, or those of a server at which the guide's prerequisite holds."""
    if request.param == "server":
        request.getfixturevalue("served")
        evaluate(model, "my_3d_od_model", None)
    found = os.environ.get("MLD_API_ENDPOINT", ""), os.environ.get("MLD_API_KEY", "")
    for name in ("MLD_API_ENDPOINT", "MLD_API_KEY"):
        monkeypatch.setenv(name, "set by the block")
    return found


def test_complete_sample(names: dict[str, Any], model: ClusterDetector, credentials: tuple[str, str]) -> None:
    """Its loops keep gradients: the output that comes back still has them."""
    evaluator = Evaluator("my_3d_od_model", "v1", *credentials)
    result = evaluator.get_result(evaluator.list_results()["result_name"][0])
    names = {"result": result, "detector_3d": model, "pool": loader(POOL)}
    run(blocks.DETECTION_3D_COMPLETE, names, {319: "detector_3d", 320: "pool"}, credentials)
    assert (os.environ["MLD_API_ENDPOINT"], os.environ["MLD_API_KEY"]) == credentials
    assert names["ObjectDetection3DDataFilter"] is ObjectDetection3DDataFilter
    assert torch.is_grad_enabled()
    assert any(frame["pred_scores"].requires_grad for frame in names["model_output"][0])
    ids, top = names["queried_ids"], values(names, top_n=3)
    assert len(set(ids)) == 50
    assert all(type(name) is str for name in ids)
    assert top[ids].tolist() == pytest.approx(first(top))
    means = values(names)
    assert 0 < len(names["high_error_frames"]) < len(means)
    assert set(names["high_error_frames"]) == set(means.index[means >= 0.5])
