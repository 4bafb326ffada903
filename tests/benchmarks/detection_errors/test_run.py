"""The detection benchmark on a detector made up for the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection_errors import report
from benchmarks.detection_errors.data import Detector, Images, Proposals, detections, suppressed_at
from benchmarks.detection_errors.metadetect import metadetect_features
from benchmarks.detection_errors.missed import missed_table
from benchmarks.detection_errors.protocol import OURS, Answers, answer, compare, figures
from benchmarks.detection_errors.rivals import RIVALS
from tests.helpers import labelled_boxes

N_IMAGES = 90


@pytest.fixture(scope="module")
def made() -> Detector:
    output, truths = labelled_boxes.detections(N_IMAGES, 7)
    random = np.random.default_rng(0)
    annotations = tuple(
        [
            {"bbox": [*box[:2], *(box[2:] - box[:2])], "category_id": int(label)}
            for box, label in zip(truth["boxes"], truth["labels"], strict=True)
        ]
        for truth in truths
    )
    images = Images(
        np.arange(N_IMAGES),
        tuple(Path(f"{one}.jpg") for one in range(N_IMAGES)),
        np.full((N_IMAGES, 2), 640),
        annotations,
    )
    # every box three times, the copies a little aside and less sure: candidates of one suppression
    image = np.tile(output.input_index, 3)
    box = np.concatenate([output.boxes, *(output.boxes + random.normal(0, 3, output.boxes.shape) for _ in range(2))])
    score = np.concatenate([output.score, output.score * 0.8, output.score * 0.5])
    order = np.argsort(image, kind="stable")
    label = np.tile(output.label, 3)[order]
    classes = np.full((len(order), 3), 0.01)
    classes[np.arange(len(order)), label] = score[order]
    return suppressed_at(
        Proposals(image[order], box[order].astype(np.float32), classes, label, suppressed=False), images
    )


@pytest.fixture(scope="module")
def found(made: Detector) -> Answers:
    return answer(made, 0.3, 1)


def test_suppression_keeps_one_of_each(made: Detector) -> None:
    proposals = made.proposals
    output = detections(proposals, made.images, 0.3)
    assert len(output.label) <= len(proposals.label) // 3 + 10
    features = metadetect_features(output, proposals)
    assert features.shape == (len(output.label), 55)
    assert np.isfinite(features).all()
    assert (features[:, 10] >= 1).all()  # a box is one of its candidates


def test_every_method_answers_for_every_box(found: Answers) -> None:
    assert list(found.proba) == [OURS, *RIVALS]
    for name, values in found.proba.items():
        assert values.shape == (1, len(found.wrong)), name
        assert ((values >= 0) & (values <= 1)).all(), name
        shown = figures(found, name)
        assert 0.4 < shown["auroc"] <= 1
        assert shown["iou_r2"] < 1


def test_gains_have_intervals(found: Answers) -> None:
    gain, low, high = compare(found, ["score"], draws=20)["score"]["auroc"]
    assert low <= high
    assert gain == pytest.approx(figures(found, OURS)["auroc"] - figures(found, "score")["auroc"])
    gain, low, high = compare(found, ["score + isotonic"], draws=20)["score + isotonic"]["brier"]  # has ties
    assert gain == pytest.approx(figures(found, "score + isotonic")["brier"] - figures(found, OURS)["brier"])


def test_the_tables(found: Answers, made: Detector, tmp_path: Path) -> None:
    missed = missed_table(made, 0.3, 1)
    assert missed["images"] == N_IMAGES
    assert 0 < missed["with a missed object"] < 1
    text = report.write({("made up", 0.3): found}, {("made up", 0.3): missed}, tmp_path, draws=10)
    assert (tmp_path / "tables.md").read_text() == text
    assert all(f"| {name} |" in text for name in (OURS, *RIVALS))
