"""Mean average precision of predicted boxes, computed by pycocotools."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes

__all__ = ["MAX_DRAWS", "MAX_WORK", "MIN_DRAWS", "MISSING_NOTE", "NAMES", "Z95", "average_precision"]

NAMES: Final = ("map", "map50")
MISSING_NOTE: Final = "map and map50 are left out: they need pycocotools, pip install 'ml-debugger[detection]'"

MAX_DRAWS: Final = 40  # a draw repeats COCO's whole accumulation; so many give the width of an interval within a tenth
MAX_WORK: Final = 500_000  # boxes times draws; with more boxes there are fewer draws, and below MIN_DRAWS no interval
MIN_DRAWS: Final = 10
Z95: Final = 1.959963984540054
_EVERY_AREA: Final = [[0.0, 1e10]]
_MAX_DETECTIONS: Final = [100]


def average_precision(
    predictions: PredictedBoxes, truths: TrueBoxes, images: NDArray[np.int64], *, draws: int = 0, seed: int = 0
) -> dict[str, float | None] | None:
    """COCO's AP of the boxes there are: ``map`` over IoU .50:.95, ``map50`` at IoU .50, means over annotated classes.

    As in COCO's evaluation, ignored truths are crowd regions, at most 100 boxes of an image count, and boxes in images
    without an object are false positives.

    Args:
        predictions: U boxes; those without a class or with non-finite numbers are left out.
        truths: G boxes.
        images: The annotated images, by what ``input_index`` of both names them; others are left out.
        draws: At most so many bootstrap draws of images for the 95 % intervals; few, or none with very many boxes.
        seed: Of the draws.

    Returns:
        ``map`` and ``map50`` in 0..1 with ``_low`` and ``_high``, None where undefined; None without pycocotools.
    """
    if importlib.util.find_spec("pycocotools") is None:
        return None
    found: dict[str, float | None] = {f"{name}{end}": None for name in NAMES for end in ("", "_low", "_high")}
    known = np.isin(truths.input_index, images)
    counted = known & ~truths.ignored
    if not counted.any():
        return found
    truths, known = _of_every_class(truths, known, classes := np.unique(truths.label[counted]))
    usable = (predictions.label >= 0) & np.isfinite(predictions.score) & np.isfinite(predictions.box).all(axis=1)
    usable &= np.isin(predictions.input_index, images)
    annotated = [*_entries(truths.input_index, truths.box, truths.label, known, iscrowd=truths.ignored.astype(int))]
    predicted = [*_entries(predictions.input_index, predictions.box, predictions.label, usable, predictions.score)]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        evaluation = _evaluated(annotated, predicted, np.unique(images).tolist(), classes.tolist())
        evaluation.accumulate()
        values = _means(evaluation.eval["precision"])
        spread = _spread(evaluation, min(draws, MAX_DRAWS, MAX_WORK // (len(annotated) + len(predicted))), seed)
    for place, name in enumerate(NAMES):
        found[name] = values[place]
        if spread is not None:
            half = Z95 * spread[place]
            found[f"{name}_low"], found[f"{name}_high"] = max(0.0, values[place] - half), min(1.0, values[place] + half)
    return found


def _of_every_class(
    truths: TrueBoxes, known: NDArray[np.bool_], classes: NDArray[np.int64]
) -> tuple[TrueBoxes, NDArray[np.bool_]]:
    """Regions to be ignored whatever is predicted there, once for each class: COCO's regions belong to one."""
    times = np.where(truths.label < 0, len(classes), 1)
    rows = np.repeat(np.arange(len(truths)), times)
    label = truths.label[rows]
    label[label < 0] = np.tile(classes, int((truths.label < 0).sum()))
    return TrueBoxes(truths.input_index[rows], truths.box[rows], label, truths.ignored[rows]), known[rows]


def _entries(
    image: NDArray[np.int64],
    box: NDArray[Any],
    label: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    score: NDArray[Any] | None = None,
    iscrowd: NDArray[Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Boxes as COCO lists them; ids start at 1, since 0 means "no match" there."""
    corner, size = box[:, :2].astype(float), (box[:, 2:] - box[:, :2]).astype(float)
    sides = np.concatenate([corner, size], axis=1).tolist()
    for number, row in enumerate(np.flatnonzero(chosen).tolist(), start=1):
        yield {
            "id": number,
            "image_id": int(image[row]),
            "category_id": int(label[row]),
            "bbox": sides[row],
            "area": sides[row][2] * sides[row][3],
            "iscrowd": 0 if iscrowd is None else int(iscrowd[row]),
            "score": 0.0 if score is None else float(score[row]),
        }


def _evaluated(
    annotated: list[dict[str, Any]], predicted: list[dict[str, Any]], images: list[int], classes: list[int]
) -> Any:
    """COCO's evaluation after its matching; boxes of classes without an annotation have no part in the mean."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def listed(entries: list[dict[str, Any]]) -> Any:
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in images],
            "categories": [{"id": number} for number in classes],
            "annotations": entries,
        }
        coco.createIndex()
        return coco

    evaluation = COCOeval(listed(annotated), listed(predicted), "bbox")
    evaluation.params.areaRng, evaluation.params.areaRngLbl = _EVERY_AREA, ["all"]
    evaluation.params.maxDets = _MAX_DETECTIONS
    evaluation.evaluate()
    return evaluation


def _means(precision: NDArray[np.float64]) -> list[float]:
    """``map`` and ``map50`` of COCO's precision, IoU first; -1 stands for a class without an annotation."""
    return [float(part[part > -1].mean()) if (part > -1).any() else float("nan") for part in (precision, precision[0])]


def _spread(evaluation: Any, draws: int, seed: int) -> list[float] | None:
    """Standard deviations of ``map`` and ``map50`` over resampled images; None if there are too few draws."""
    if draws < MIN_DRAWS:
        return None
    random = np.random.default_rng(seed)
    matched, count = evaluation.evalImgs, len(evaluation.params.imgIds)
    starts = range(0, len(matched), count)  # the images of one class after those of another
    found = []
    for _ in range(draws):
        rows = random.integers(0, count, count).tolist()
        evaluation.evalImgs = [matched[start + row] for start in starts for row in rows]
        evaluation.accumulate()
        found.append(_means(evaluation.eval["precision"]))
    evaluation.evalImgs = matched
    return [float(value) for value in np.nanstd(np.array(found), axis=0, ddof=1)]
