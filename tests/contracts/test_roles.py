"""Tracer, Evaluator and DataFilter: a server and the embedded mode say the same, to the bit."""

from __future__ import annotations

import os
from typing import Any

import httpx
import pandas as pd
import pytest
import torch

from ml_debugger.columns import BOX_3D_COLUMNS
from ml_debugger.data_filter import ClassificationDataFilter, ObjectDetection3DDataFilter, ObjectDetectionDataFilter
from ml_debugger.demo.small_detector import SmallDetector
from ml_debugger.errors import NotFoundError
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer, ObjectDetection3DTracer
from tests.helpers.blobs import BlobNet, fitted_net, make_blobs
from tests.helpers.digit_detector import digit_detector, image_loader, scenes, trace, tracer
from tests.helpers.server import RunningServer
from tests.helpers.street_frames import annotations, batches, detect

pytestmark = pytest.mark.filterwarnings("ignore::ml_debugger.errors.MLDebuggerWarning")
WHERE = {"conditions": [{"error_proba": ">=0.3"}]}
OPTIONS = {"bootstrap": 50}


@pytest.fixture
def places(served: RunningServer) -> dict[str, tuple[str, str]]:
    """Endpoint and key: of a server, and of none."""
    return {"server": (os.environ["MLD_API_ENDPOINT"], os.environ["MLD_API_KEY"]), "embedded": ("", "")}


def classification(net: BlobNet, place: tuple[str, str]) -> dict[str, Any]:
    credentials = dict(zip(("api_endpoint", "api_key"), place, strict=True))
    recorder = ClassificationTracer(
        net, "blobs", "v1", additional_fields=[{"name": "lux", "type": "float"}], **credentials
    )
    for seed, tag in enumerate(("train", "val")):
        for x, y, ids in make_blobs(200, seed=seed).batches():
            recorder(x, y, [f"{tag}{number}" for number in ids], tag, 3, lux=0.5)
    evaluator = Evaluator("blobs", "v1", *place)
    result = evaluator.request_evaluation(result_name="mine", options=OPTIONS)  # flushes the tracer
    chosen = ClassificationDataFilter(net, "blobs", "v1", "mine", filter_config=WHERE, **credentials)
    flags: dict[int, Any] = {}
    with torch.no_grad():
        for x, _, ids in make_blobs(300, seed=7).batches():
            flags |= dict(zip(ids, chosen(x, ids)[1], strict=True))
    queried = chosen.query(1000, WHERE)
    assert set(queried) == {number for number, flag in flags.items() if flag is True}
    return {
        "flags": flags,
        "queried": queried,
        "diverse": chosen.query(20, "diverse_error"),
        "scores": chosen.scores().sort_values("input_id", ignore_index=True),
        "metrics": result.metrics,
        "summary": result.summary(),
        "samples": result.samples().sort_values("input_id", ignore_index=True),
        "listed": evaluator.list_results()[["result_name", "n_samples", "error_rate"]],
    }


def detection(model: SmallDetector, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("MLD_API_ENDPOINT", place[0])
    monkeypatch.setenv("MLD_API_KEY", place[1])
    trace(tracer(model, "digits"), scenes().parts["train"])
    result = Evaluator("digits", "v1").request_evaluation(result_name="boxes", options=OPTIONS)
    chosen = ObjectDetectionDataFilter(model, "digits", "v1", "boxes")
    with torch.no_grad():
        for images, _, ids in image_loader(scenes().parts["pool"][-40:]):
            chosen(images, ids)
    return {
        "queried": chosen.query(15, "high_error_proba"),
        "scores": chosen.scores().sort_values(["input_id", "unit"], ignore_index=True),
        "metrics": result.metrics,
        "missed": result.missed().sort_values(["input_id", "x1"], ignore_index=True),
        "zones": result.zones,
    }


def detection_3d(place: tuple[str, str]) -> dict[str, Any]:
    credentials = dict(zip(("api_endpoint", "api_key"), place, strict=True))
    drive = [{"name": "drive", "type": "str"}]
    traced = ObjectDetection3DTracer(
        detect,
        "streets",
        "v1",
        additional_fields=drive,
        pc_range=(0, -20, -3, 60, 20, 2),
        score_thresh=0.3,
        **credentials,
    )
    for batch, ids in batches(range(120)):
        traced(batch, annotations(ids), ids, "val", drive=[f"drive {number // 4}" for number in ids])
    options = OPTIONS | {"group_by": "drive", "matching": {"measure": "distance"}}
    result = Evaluator("streets", "v1", *place).request_evaluation(result_name="frames", options=options)
    chosen = ObjectDetection3DDataFilter(detect, "streets", "v1", "frames", score_thresh=0.3, **credentials)
    flags: dict[int, Any] = {}
    for batch, ids in batches(range(200, 260)):
        flags |= dict(zip(ids, chosen(batch, ids)[1], strict=True))
    found = chosen.describe()["pc_range"]
    assert tuple(found) == (0, -20, -3, 60, 20, 2)  # the tracer's, kept with the run
    return {
        "flags": flags,
        "queried": chosen.query(15, {"top_n": 2, "bbox_filter": WHERE}),
        "scores": chosen.scores().sort_values(["input_id", "unit"], ignore_index=True),
        "missed_proba": chosen.missed_proba().sort_values("input_id", ignore_index=True),
        "metrics": result.metrics,
        "samples": result.samples().sort_values(["input_id", *BOX_3D_COLUMNS], ignore_index=True),
        "missed": result.missed().sort_values(["input_id", "x"], ignore_index=True),
        "zones": result.zones,
    }


def same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert set(first) == set(second)
    for name, value in first.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, second[name], check_exact=True)
        else:
            assert value == second[name], name


def test_classification(places: dict[str, tuple[str, str]]) -> None:
    net = fitted_net()
    same(classification(net, places["embedded"]), classification(net, places["server"]))


def test_detection(places: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    model = digit_detector()
    same(detection(model, places["embedded"], monkeypatch), detection(model, places["server"], monkeypatch))


def test_detection_3d(places: dict[str, tuple[str, str]]) -> None:
    same(detection_3d(places["embedded"]), detection_3d(places["server"]))
    endpoint, key = places["server"]
    page = httpx.get(f"{endpoint}/results/frames", headers={"Authorization": f"Bearer {key}"}, timeout=60)
    assert page.status_code == 200
    for said in ("od3d_v1", "Seen from above, forward (+x) is up"):
        assert said in page.text


def test_recreate_and_what_is_not_there(places: dict[str, tuple[str, str]]) -> None:
    for place in places.values():
        credentials = dict(zip(("api_endpoint", "api_key"), place, strict=True))
        net, data = fitted_net(), make_blobs(20)
        recorder = ClassificationTracer(net, "again", "v1", **credentials)
        recorder(torch.from_numpy(data.x), data.y, list(range(20)))
        recorder.wait_for_save()
        with pytest.raises(NotFoundError, match="no evaluation result for model 'again'"):
            ClassificationDataFilter(net, "again", "v1", **credentials)
        ClassificationTracer(net, "again", "v1", force_table_recreate=True, **credentials)
        with pytest.raises(RuntimeError, match="no labelled rows"):
            Evaluator("again", "v1", *place).request_evaluation()
