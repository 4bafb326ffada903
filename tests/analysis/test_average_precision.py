"""Mean average precision is what pycocotools says, and says nothing where pycocotools is absent."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_debugger.analysis.average_precision import average_precision
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes

pytest.importorskip("pycocotools")
COCO355 = Path(os.environ.get("MLD_TEST_DATA", "../shared/data")) / "coco355"
BOX = [10.0, 10.0, 50.0, 50.0]
FAR = [200.0, 200.0, 260.0, 260.0]


def predicted(*rows: tuple[int, list[float], int, float]) -> PredictedBoxes:
    image, box, label, score = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    return PredictedBoxes(
        np.array(image, dtype=np.int64), np.array(box, float).reshape(-1, 4), np.array(label, np.int64), np.array(score)
    )


def true(*rows: tuple[int, list[float], int, bool]) -> TrueBoxes:
    image, box, label, ignored = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    return TrueBoxes(
        np.array(image, np.int64),
        np.array(box, float).reshape(-1, 4),
        np.array(label, np.int64),
        np.array(ignored, bool),
    )


def measured(predictions: PredictedBoxes, truths: TrueBoxes, images: list[int], **options: Any) -> Any:
    return average_precision(predictions, truths, np.array(images, dtype=np.int64), **options)


def test_every_object_found_and_nothing_else_is_one() -> None:
    found = measured(predicted((7, BOX, 3, 0.9)), true((7, BOX, 3, False)), [7])
    assert (found["map"], found["map50"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found["map_low"] is None


def test_nothing_found_is_zero_and_nothing_annotated_is_undefined() -> None:
    assert measured(predicted(), true((7, BOX, 3, False)), [7])["map"] == 0.0
    for truths in (true(), true((7, BOX, 3, True))):
        assert set(measured(predicted((7, BOX, 3, 0.9)), truths, [7]).values()) == {None}


def test_a_box_in_an_image_without_objects_is_a_false_positive() -> None:
    boxes = predicted((7, BOX, 3, 0.5), (8, BOX, 3, 0.9))
    assert measured(boxes, true((7, BOX, 3, False)), [7, 8])["map50"] == pytest.approx(0.5)
    assert measured(boxes, true((7, BOX, 3, False)), [7])["map50"] == pytest.approx(1.0)  # 8 is not annotated


@pytest.mark.parametrize("label", [3, -1])
def test_a_box_in_a_region_to_be_ignored_is_none(label: int) -> None:
    boxes = predicted((7, BOX, 3, 0.5), (7, FAR, 3, 0.9))
    around = [150.0, 150.0, 400.0, 400.0]  # much larger than the box in it
    ignored = true((7, BOX, 3, False), (7, around, label, True))
    assert measured(boxes, true((7, BOX, 3, False)), [7])["map50"] == pytest.approx(0.5)
    assert measured(boxes, ignored, [7])["map50"] == pytest.approx(1.0)


def test_boxes_without_class_or_place_do_not_count() -> None:
    boxes = predicted((7, BOX, 3, 0.5), (7, BOX, -1, 0.9), (7, [np.nan] * 4, 3, 0.9), (7, FAR, 3, np.nan))
    assert measured(boxes, true((7, BOX, 3, False)), [7])["map50"] == pytest.approx(1.0)


def test_intervals_hold_the_value_and_come_again() -> None:
    random = np.random.default_rng(0)
    truths = true(*((image, BOX, image % 2, False) for image in range(60)))
    boxes = predicted(*((i, BOX if random.random() < 0.7 else FAR, i % 2, float(random.random())) for i in range(60)))
    found = measured(boxes, truths, list(range(60)), draws=20, seed=1)
    for name in ("map", "map50"):
        assert 0 <= found[f"{name}_low"] < found[name] < found[f"{name}_high"] <= 1
    assert found == measured(boxes, truths, list(range(60)), draws=20, seed=1)
    assert found != measured(boxes, truths, list(range(60)), draws=20, seed=2)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    measured(predicted((7, BOX, 3, 0.9)), true((7, BOX, 3, False)), [7], draws=10)
    assert capsys.readouterr().out == ""


def test_without_pycocotools_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pycocotools" else find(name))
    assert measured(predicted((7, BOX, 3, 0.9)), true((7, BOX, 3, False)), [7]) is None


@pytest.mark.data
@pytest.mark.parametrize("least", [0.3, 0.05])
def test_agrees_with_cocos_evaluation_on_real_detections(least: float) -> None:
    if not COCO355.exists():
        pytest.skip(f"no {COCO355}: MLD_TEST_DATA names the folder that has it")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    kept = [d for d in json.loads((COCO355 / "dets_yolox_nano416.json").read_text()) if d["score"] >= least]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(COCO355 / "instances.json"))
        direct = COCOeval(truth, truth.loadRes([dict(one) for one in kept]), "bbox")
        direct.evaluate()
        direct.accumulate()
        direct.summarize()
    annotations = truth.dataset["annotations"]
    assert any(one["iscrowd"] for one in annotations)

    def corners(entries: list[dict[str, Any]]) -> np.ndarray:
        box = np.array([one["bbox"] for one in entries], dtype=np.float32)
        box[:, 2:] += box[:, :2]
        return box

    def column(entries: list[dict[str, Any]], name: str) -> np.ndarray:
        return np.array([one[name] for one in entries])

    found = average_precision(
        PredictedBoxes(column(kept, "image_id"), corners(kept), column(kept, "category_id"), column(kept, "score")),
        TrueBoxes(
            column(annotations, "image_id"),
            corners(annotations),
            column(annotations, "category_id"),
            column(annotations, "iscrowd").astype(bool),
        ),
        np.array(truth.getImgIds()),
    )
    assert found is not None
    assert found["map"] == pytest.approx(direct.stats[0], abs=2e-4)
    assert found["map50"] == pytest.approx(direct.stats[1], abs=2e-4)
