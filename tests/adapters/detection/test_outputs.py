"""Every form in which boxes come, and every mistake in them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ml_debugger.adapters.detection.boxes import LOWEST_CANDIDATE, MOST_CANDIDATES
from ml_debugger.adapters.detection.outputs import read_detections, read_image
from ml_debugger.errors import CaptureError, InputError

BOXES = np.array([[0, 0, 10, 10], [5, 5, 9, 20.5]], dtype=np.float32)
LABELS = np.array([2, 0])
SCORES = np.array([0.9, 0.25], dtype=np.float32)
PLAIN = {"boxes": BOXES, "labels": LABELS, "scores": SCORES}


def entry(**changes: Any) -> dict[str, Any]:
    return PLAIN | changes


FORMS = {
    "numpy": PLAIN,
    "torch": {name: torch.tensor(value) for name, value in PLAIN.items()},
    "grad": entry(boxes=torch.tensor(BOXES, requires_grad=True), scores=torch.tensor(SCORES, dtype=torch.bfloat16)),
    "lists": {name: value.tolist() for name, value in PLAIN.items()},
    "columns": entry(scores=SCORES[:, None], labels=LABELS[:, None].astype(np.float32)),
    "supervision": SimpleNamespace(xyxy=BOXES, class_id=LABELS, confidence=SCORES, data={}),
    "ultralytics": SimpleNamespace(
        boxes=SimpleNamespace(xyxy=torch.tensor(BOXES), cls=torch.tensor([2.0, 0.0]), conf=torch.tensor(SCORES)),
        orig_shape=(48, 64),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str) -> None:
    for output in ([FORMS[form]], (FORMS[form],), FORMS[form], ({}, [FORMS[form]])):
        (image,) = read_detections(output, 1)
        np.testing.assert_array_equal(image.boxes, BOXES)
        np.testing.assert_array_equal(image.labels, LABELS)
        np.testing.assert_allclose(image.scores, SCORES, atol=1e-2)
        assert (image.boxes.dtype, image.labels.dtype, image.scores.dtype) == (np.float32, np.int64, np.float64)
        assert image.features is image.logits is image.candidates is None
    assert image.size == ((64, 48) if form == "ultralytics" else None)


def test_detections_of_supervision_carry_features_in_their_data() -> None:
    found = SimpleNamespace(xyxy=BOXES, class_id=LABELS, confidence=SCORES, data={"features": np.ones((2, 3))})
    assert read_image(found).features.shape == (2, 3)


@pytest.mark.parametrize(
    ("features", "expected"),
    [(np.ones((2, 3)), (2, 3)), (np.ones((2, 3, 7, 7)), (2, 3)), (torch.ones(2, 5), (2, 5))],
)
def test_features_are_vectors(features: Any, expected: tuple[int, int]) -> None:
    assert read_image(entry(features=features, logits=np.zeros((2, 4)))).features.shape == expected


@pytest.mark.parametrize("boxes", [np.zeros((0, 4)), np.zeros(0), torch.zeros(0, 4), []])
def test_no_box_has_a_shape(boxes: Any) -> None:
    empty = {"boxes": boxes, "labels": [], "scores": [], "features": np.zeros((0, 3))}
    image = read_image(empty)
    assert image.boxes.shape == (0, 4)
    assert image.labels.shape == image.scores.shape == (0,)
    assert image.features.shape == (0, 3)
    assert read_image(empty | {"features": []}).features is None


def test_a_broken_box_stays_with_label_minus_one() -> None:
    image = read_image(entry(boxes=np.where(BOXES == 20.5, np.nan, BOXES), scores=np.array([np.inf, 0.5])))
    assert image.labels.tolist() == [-1, -1]
    assert image.scores.tolist() == [0, 0]
    assert np.isnan(image.boxes).all()


def test_a_score_is_clipped_by_rounding_alone() -> None:
    assert read_image(entry(scores=np.array([1.0004, -0.0004]))).scores.tolist() == [1, 0]


REFUSED = {
    "one box too many": (entry(labels=np.arange(3)), r"labels \(2,\), one per box, got ndarray \(3,\)"),
    "widths": (entry(boxes=np.zeros((2, 5))), r"boxes \(U, 4\) in pixels x1 y1 x2 y2, got ndarray \(2, 5\)"),
    "inverted": (entry(boxes=np.array([[0, 0, 5, 5], [9.0, 0, 3, 5]])), r"x1 <= x2.*position 1; convert"),
    "logits": (entry(scores=np.array([0.5, 3.2])), r"scores in 0\.\.1, got 3\.2 at position 1; return probabilities"),
    "percent": (entry(scores=[90, 25]), "percentage divided by 100"),
    "fractions": (entry(labels=np.array([0.5, 1])), "integer class ids"),
    "features": (entry(features=np.ones((3, 2))), r"features \(2, \*\), one row per box"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_cannot_be_right_is_refused(mistake: str) -> None:
    output, message = REFUSED[mistake]
    with pytest.raises(InputError, match=f"model output of image 1.*{message}"):
        read_detections([PLAIN, output], 2)


UNREADABLE = {
    "no scores": ([entry(scores=None)], "scores are missing"),
    "no labels": ([{"boxes": BOXES, "scores": SCORES}], "labels are missing"),
    "supervision truth": (
        [SimpleNamespace(xyxy=BOXES, class_id=LABELS, confidence=None, data={})],
        "scores are missing",
    ),
    "losses": ({"loss_classifier": torch.tensor(1.0)}, r"call model\.eval\(\)"),
    "a tensor": (torch.zeros(2, 6), "expected a list with one dict"),
    "tensors": ([torch.zeros(2, 6)], "expected a list with one dict"),
    "none": (None, "got NoneType"),
}


@pytest.mark.parametrize("form", UNREADABLE)
def test_what_cannot_be_read_is_an_error_that_says_what_to_return(form: str) -> None:
    output, message = UNREADABLE[form]
    with pytest.raises(CaptureError, match=message):
        read_detections(output, 1)


def test_there_is_one_entry_per_id() -> None:
    with pytest.raises(InputError, match="3 ids were given, but the model returned boxes of 2 images"):
        read_detections([PLAIN, PLAIN], 3)
    assert read_detections([], 0) == []


def test_candidates_by_class_or_by_entry() -> None:
    scores = np.array([[0.9, 0.005, 0.3], [0.0, 0.5, np.nan]])
    by_class = read_image(entry(candidates={"boxes": BOXES, "scores": scores})).candidates
    assert by_class.labels.tolist() == [0, 1, 2]
    np.testing.assert_allclose(by_class.scores, [0.9, 0.5, 0.3])
    np.testing.assert_array_equal(by_class.boxes, BOXES[[0, 1, 0]])
    flat = {"boxes": BOXES, "scores": [0.3, 0.9], "labels": [1, 2]}
    assert read_image(entry(candidates=flat)).candidates.labels.tolist() == [2, 1]


def test_only_the_best_candidates_are_read() -> None:
    n = MOST_CANDIDATES + 5
    boxes = np.repeat(BOXES[:1], n, axis=0)
    scores = np.linspace(LOWEST_CANDIDATE, 1, n)
    found = read_image(entry(candidates={"boxes": boxes, "scores": scores, "labels": np.zeros(n)})).candidates
    assert len(found.scores) == MOST_CANDIDATES
    assert found.scores[0] == 1
    none = read_image(entry(candidates={"boxes": np.zeros((0, 4)), "scores": np.zeros((0, 3))})).candidates
    assert dataclasses.astuple(none)[1].shape == (0,)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (BOXES, "expected a dict of boxes"),
        ({"boxes": BOXES}, "expected a dict of boxes"),
        ({"boxes": BOXES, "scores": SCORES}, r"labels \(M,\) are missing"),
        ({"boxes": BOXES, "scores": np.ones((3, 4))}, r"scores \(2, C\)"),
        ({"boxes": BOXES, "scores": [0.1, 7], "labels": [0, 1]}, r"0\.\.1"),
        ({"boxes": BOXES[:, ::-1], "scores": SCORES, "labels": LABELS}, "x1 <= x2"),
    ],
)
def test_candidates_that_cannot_be_right_are_refused(candidates: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"image 0, candidates.*{message}"):
        read_image(entry(candidates=candidates))


def test_supervisions_own_detections() -> None:
    supervision = pytest.importorskip("supervision")
    found = supervision.Detections(xyxy=BOXES, class_id=LABELS, confidence=SCORES, data={"features": np.ones((2, 3))})
    first, second = read_detections([found, supervision.Detections.empty()], 2)
    np.testing.assert_array_equal(first.boxes, BOXES)
    assert first.features.shape == (2, 3)
    assert second.boxes.shape == (0, 4)
