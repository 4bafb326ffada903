"""What is known about a predicted box besides its score, each number oriented: larger = more likely wrong.

Scores and spread of the candidates that a box suppressed are those of MetaDetect (Schubert, Kahl, Rottmann, 2020,
arXiv 2010.01695); they enter as a smooth linear model, since detectors give few errors to learn from. What a model does
not show is 0 throughout and gets no weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import Overlaps, PredictedBoxes, box_areas, find_overlaps
from ml_debugger.columns import BOX_CONTEXT, NEIGHBOUR_CONTEXT
from ml_debugger.estimation.numbers import sigmoid
from ml_debugger.tasks.task import Units

__all__ = [
    "BOX_DESCRIPTORS",
    "box_descriptors",
    "box_geometry",
    "known_context",
    "neighbours",
    "score_log_odds",
    "shared_columns",
    "shown",
]

Float64 = NDArray[np.float64]

LEAST: Final = 1e-3  # a score nearer to 0 or 1 does not count for more
SURE: Final = 1e-6  # likewise for the score of the box itself

BOX_DESCRIPTORS: Final = (
    "class_margin",
    "class_entropy",
    "class_mass",
    "beside_class",
    "no_suppressed",
    "suppressed_score_sum",
    "suppressed_score_max",
    "suppressed_score_mean",
    "suppressed_score_std",
    "suppressed_iou_mean",
    "suppressed_iou_std",
    "side_std",
    "n_suppressed_other",
    "suppressed_other",
    "suppressed_other_to_score",
    "small",
    "large",
    "elongated",
    "near_border",
    "far_from_border",
    "n_kept",
    "n_kept_same",
    "overlap_same",
    "overlap_other",
    "rank",
    "image_score",
    "score_to_best",
    "better_iou_same",
    "better_iou_other",
    "inside_better_same",
    "inside_better_other",
    "around_better_same",
    "around_better_other",
)
"""Names of the columns of :func:`box_descriptors`."""

_BETTER: Final = tuple(name for name in BOX_DESCRIPTORS if "_better" in name or name.startswith("better_"))
_OF_CANDIDATES: Final = np.array(["suppressed" in name or name == "side_std" for name in BOX_DESCRIPTORS])


def score_log_odds(units: Units) -> Float64:
    """``(U,)`` log-odds that a box is wrong if its score is taken for the probability that it is right."""
    score = np.clip(units.score, SURE, 1.0 - SURE)
    return np.asarray(np.log1p(-score) - np.log(score))


def box_descriptors(units: Units) -> Float64:
    """``(U, K)`` descriptors of units with finite scores and boxes, in the order of `BOX_DESCRIPTORS`."""
    known = known_context(units, BOX_CONTEXT)
    found = {**shared_columns(units, known), "side_std": known["side_std"], **_place_columns(units, known)}
    table = np.stack([found[name] for name in BOX_DESCRIPTORS], axis=1)
    unseen = ~shown(units, BOX_CONTEXT, "n_suppressed_same")
    return np.asarray(np.where(unseen[:, None] & _OF_CANDIDATES, 0.0, table))


def shared_columns(units: Units, known: Mapping[str, Float64]) -> dict[str, Float64]:
    """Per descriptor ``(U,)``: those of boxes of every kind.

    Args:
        units: U units.
        known: Their context by name, 0 where nothing is known.
    """
    other = _log_odds(known["suppressed_other_score_max"])
    return {
        **_class_columns(units),
        "no_suppressed": -np.log1p(known["n_suppressed_same"]),
        "suppressed_score_sum": -np.log1p(known["suppressed_score_sum"]),
        "suppressed_score_max": -_log_odds(known["suppressed_score_max"]),
        "suppressed_score_mean": -known["suppressed_score_mean"],
        "suppressed_score_std": -known["suppressed_score_std"],
        "suppressed_iou_mean": -known["suppressed_iou_mean"],
        "suppressed_iou_std": known["suppressed_iou_std"],
        "n_suppressed_other": np.log1p(known["n_suppressed_other"]),
        "suppressed_other": other,
        "suppressed_other_to_score": other - _log_odds(units.score),
        **{name: known[name] for name in _BETTER},
        "n_kept": np.log1p(known["n_kept"]),
        "n_kept_same": np.log1p(known["n_kept_same"]),
        "overlap_same": known["overlap_same"],
        "overlap_other": known["overlap_other"],
        "rank": np.log1p(known["rank"]),
        "image_score": -known["image_score"],
        "score_to_best": -known["score_to_best"],
    }


def box_geometry(units: Units) -> Float64:
    """``(U, 2)`` logarithms of the size of a box, relative to its image where that is known, and of width / height."""
    known = known_context(units, BOX_CONTEXT)
    width, height = _sides(units)
    area = known["image_width"] * known["image_height"]
    relative = width * height / np.where(area > 0, area, 1.0)
    return np.stack([np.log(np.maximum(relative, SURE)), np.log(width / height)], axis=1)


def neighbours(
    boxes: PredictedBoxes, beside: Callable[[PredictedBoxes], Overlaps] | None = None
) -> NDArray[np.float32]:
    """``(U, 13)`` what the other boxes of its image say about each, in the columns `NEIGHBOUR_CONTEXT`.

    Made when a box is recorded, so that its score depends on its own row alone.

    Args:
        boxes: U boxes.
        beside: Finds the pairs of them that overlap; default: those of axis-aligned boxes.
    """
    image = np.unique(boxes.input_index, return_inverse=True)[1]
    score = np.asarray(boxes.score, dtype=np.float64)
    score = score if np.isfinite(score).all() else np.nan_to_num(score)
    n_kept = np.bincount(image)
    best = np.zeros(len(n_kept))
    np.maximum.at(best, image, score)
    names, kinds = np.unique(boxes.label, return_inverse=True)
    kinds = kinds + image * len(names)
    found = {
        "n_kept": n_kept[image],
        "n_kept_same": np.bincount(kinds)[kinds],
        "rank": _rank(image, score, n_kept),
        "image_score": (np.bincount(image, score) / n_kept)[image],
        "score_to_best": score - best[image],
        **_overlaps(boxes, (beside or _beside_in_images)(boxes), score),
    }
    return np.stack([found[name] for name in NEIGHBOUR_CONTEXT], axis=1).astype(np.float32)


def _beside_in_images(boxes: PredictedBoxes) -> Overlaps:
    """Pairs of boxes of the same image that overlap."""
    pairs = find_overlaps(boxes.input_index, boxes.box, boxes.input_index, boxes.box)
    area = np.maximum(box_areas(boxes.box), SURE)
    shared = pairs.iou * (area[pairs.first] + area[pairs.second]) / (1.0 + pairs.iou)
    return replace(pairs, first_share=shared / area[pairs.first], second_share=shared / area[pairs.second])


def _overlaps(boxes: PredictedBoxes, pairs: Overlaps, score: Float64) -> dict[str, Float64]:
    """``(U,)`` greatest overlaps with other boxes of the class, and of other classes; 0 where there is none.

    With any of them; with those of a greater score; and what share of the box lies in one of these, or the other way
    round: a second box for one object, or a part of it, is more often wrong than the box that the model prefers.
    """
    pairs = pairs.rows(pairs.first != pairs.second)
    one, other = pairs.first, pairs.second
    better = score[other] > score[one]
    same = boxes.label[one] == boxes.label[other]
    found = {}
    for name, kind in (("same", same), ("other", ~same)):
        every, best = np.flatnonzero(kind), np.flatnonzero(kind & better)
        for what, values, rows in (
            (f"overlap_{name}", pairs.iou, every),
            (f"better_iou_{name}", pairs.iou, best),
            (f"inside_better_{name}", pairs.first_share, best),
            (f"around_better_{name}", pairs.second_share, best),
        ):
            found[what] = np.zeros(len(boxes))
            np.maximum.at(found[what], one[rows], values[rows])
    return found


def _rank(image: NDArray[np.int64], score: Float64, n_kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(U,)`` number of boxes of the image with a greater score; equal scores in their order."""
    order = np.lexsort((-score, image))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - (np.cumsum(n_kept) - n_kept)[image[order]]
    return rank


def known_context(units: Units, names: tuple[str, ...]) -> dict[str, Float64]:
    """Per name ``(U,)`` numbers of the context; 0 where nothing is known."""
    if units.context.shape[1] != len(names):
        return {name: np.zeros(len(units)) for name in names}
    return dict(zip(names, _filled(units.context).T, strict=True))


def _filled(values: NDArray[Any]) -> Float64:
    """A copy with 0 for what is not finite."""
    filled = np.array(values, dtype=np.float64)
    filled[~np.isfinite(filled)] = 0.0
    return filled


def shown(units: Units, names: tuple[str, ...], name: str) -> NDArray[np.bool_]:
    """``(U,)`` whether the model shows this number of the context."""
    if units.context.shape[1] != len(names):
        return np.zeros(len(units), dtype=bool)
    return np.asarray(np.isfinite(units.context[:, names.index(name)]))


def _log_odds(share: Any) -> Float64:
    inside = np.clip(np.asarray(share, dtype=np.float64), LEAST, 1.0 - LEAST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _class_columns(units: Units) -> dict[str, Float64]:
    """What the logits say of the predicted class and of the others; nothing without.

    The lead of the predicted class over the next, and how many classes share the probability. If each class has a
    probability of its own (sigmoid): their sum, and by how much the score is less than that of the class, because of an
    objectness or centreness.
    """
    logits = _filled(units.logits)
    if logits.shape[1] < 2:
        return dict.fromkeys(("class_margin", "class_entropy", "class_mass", "beside_class"), np.zeros(len(units)))
    rows, own = np.arange(len(units)), np.clip(units.label, 0, logits.shape[1] - 1)
    others = logits.copy()
    others[rows, own] = -np.inf
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    share = power / power.sum(axis=1, keepdims=True)
    entropy = -(share * np.log(np.maximum(share, SURE))).sum(axis=1)
    alone = np.log(np.maximum(sigmoid(logits), SURE))
    return {
        "class_margin": others.max(axis=1) - logits[rows, own],
        "class_entropy": entropy,
        "class_mass": np.log(np.exp(alone).sum(axis=1)),
        "beside_class": -_log_odds(np.exp(np.log(np.maximum(units.score, SURE)) - alone[rows, own])),
    }


def _sides(units: Units) -> tuple[Float64, Float64]:
    x1, y1, x2, y2 = np.asarray(units.box, dtype=np.float64).T
    return np.maximum(x2 - x1, SURE), np.maximum(y2 - y1, SURE)


def _place_columns(units: Units, known: Mapping[str, Float64]) -> dict[str, Float64]:
    """Size and shape, and the distance to the border in units of the box; the latter 0 without a size of the image."""
    size, shape = box_geometry(units).T
    x1, y1, x2, y2 = np.asarray(units.box, dtype=np.float64).T
    width, height = _sides(units)
    room = np.minimum.reduce([x1, y1, known["image_width"] - x2, known["image_height"] - y2])
    distance = np.where(known["image_width"] > 0, np.log1p(np.maximum(room, 0.0) / np.sqrt(width * height)), 0.0)
    return {
        "small": -size,
        "large": size,
        "elongated": np.abs(shape),
        "near_border": -distance,
        "far_from_border": distance,
    }
