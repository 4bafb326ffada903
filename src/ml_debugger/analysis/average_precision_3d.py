"""Mean average precision of predicted boxes in frames, by what overlap means there, and by nuScenes's distances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.average_precision import MAX_DRAWS, MAX_WORK, MIN_DRAWS, Z95
from ml_debugger.analysis.box_kinds import BOXES_3D
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.match_settings import MatchSettings
from ml_debugger.analysis.matching import find_right

__all__ = ["NAMES_3D", "average_precision_3d"]

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

NAMES_3D: Final = ("map", "map_3d", "map_distance")
DISTANCES: Final = (0.5, 1.0, 2.0, 4.0)
"""Metres between the centres up to which a box is right, in nuScenes's mean."""

RECALLS: Final = 40
"""Recalls at which precision is read, as in KITTI's evaluation since 2019."""

LEAST: Final = 0.1
"""Recall and precision that count for nothing in nuScenes's."""

_ROUNDING: Final = 1e-9


def average_precision_3d(
    predictions: PredictedBoxes,
    truths: TrueBoxes,
    frames: Int64,
    matching: MatchSettings | None = None,
    *,
    draws: int = 0,
    seed: int = 0,
) -> dict[str, float | None]:
    """Average precision of the boxes there are, means over the annotated classes.

    ``map`` is by the matching itself, as long as nothing else is said at an intersection over union seen from above of
    .5; ``map_3d`` is by that of the volumes, with the same thresholds. Both are means of the precision at 40 recalls,
    as in KITTI's evaluation, but over all boxes, whatever their distance. ``map_distance`` is nuScenes's: the mean over
    distances of the centres of .5, 1, 2 and 4 m, leaving out recalls and precisions below .1.

    Predictions take the annotated box that they fit best by falling score, as in `match`; those in regions to be
    ignored do not count, those in frames without an object are false.

    Args:
        predictions: U boxes ``(U, 7)``; those without a class or with non-finite numbers are left out.
        truths: G boxes ``(G, 7)``.
        frames: ``(F,)`` the annotated frames, by what ``input_index`` of both names them; others are left out.
        matching: Thresholds and measures other than the default ones.
        draws: At most so many bootstrap draws of frames for the 95 % intervals; few, or none with very many boxes.
        seed: Of the draws.

    Returns:
        ``map``, ``map_3d`` and ``map_distance`` in 0..1 with ``_low`` and ``_high``, None where undefined.
    """
    found: dict[str, float | None] = {f"{name}{end}": None for name in NAMES_3D for end in ("", "_low", "_high")}
    frames = np.unique(frames)
    truths = _rows(truths, np.isin(truths.input_index, frames))
    counted = ~np.asarray(truths.ignored, dtype=bool)
    if not counted.any():
        return found
    usable = np.isfinite(predictions.score) & np.isfinite(predictions.box).all(axis=1)
    usable &= np.isin(predictions.input_index, frames) & np.isin(predictions.label, truths.label[counted])
    predictions = _rows(predictions, usable)
    curves = _curves(predictions, truths, frames, matching or MatchSettings())
    once = np.ones(len(frames))
    n_draws = min(draws, MAX_DRAWS, MAX_WORK // (len(predictions) + len(truths)))
    random = np.random.default_rng(seed)
    weights = random.multinomial(len(frames), once / len(frames), size=n_draws if n_draws >= MIN_DRAWS else 0)
    for name, some in curves.items():
        value = found[name] = _mean(some, once)
        if len(weights):
            half = Z95 * float(np.nanstd([_mean(some, times) for times in weights.astype(float)], ddof=1))
            found[f"{name}_low"], found[f"{name}_high"] = max(0.0, value - half), min(1.0, value + half)
    return found


@dataclass(frozen=True, slots=True)
class _Curve:
    """Precision and recall of one class by one measure.

    Attributes:
        frame: ``(R,)`` of the predictions that count, by falling score.
        right: ``(R,)`` whether each is right.
        truth_frame: ``(T,)`` of the annotated boxes.
        area: Precision and recall, ``(R,)`` each -> average precision.
    """

    frame: Int64
    right: Bool
    truth_frame: Int64
    area: Callable[[Float64, Float64], float]

    def average(self, times: Float64) -> float:
        """Average precision with each frame counted so many times ``(F,)``; NaN without an annotated box."""
        total = times[self.truth_frame].sum()
        weight = times[self.frame]
        seen = weight > 0
        right = np.cumsum((weight * self.right)[seen])
        if not total or not len(right):
            return 0.0 if total else float("nan")
        return self.area(right / np.cumsum(weight[seen]), right / total)


def _curves(
    predictions: PredictedBoxes, truths: TrueBoxes, frames: Int64, matching: MatchSettings
) -> dict[str, list[_Curve]]:
    """Per name the curves of all classes, by name of the mean."""
    volumes = replace(matching, measure="iou_3d", measure_by_class={})
    by_distance = [MatchSettings(measure="distance", centre_distance=metres) for metres in DISTANCES]
    order = np.argsort(-predictions.score, kind="stable")
    counted = ~np.asarray(truths.ignored, dtype=bool)
    frame, truth_frame = (np.searchsorted(frames, boxes.input_index) for boxes in (predictions, truths))
    found: dict[str, list[_Curve]] = {name: [] for name in NAMES_3D}
    for name, settings, area in (
        ("map", matching, _at_recalls),
        ("map_3d", volumes, _at_recalls),
        *(("map_distance", settings, _above_least) for settings in by_distance),
    ):
        right, ignored = find_right(predictions, truths, settings, BOXES_3D)
        for label in np.unique(truths.label[counted]):
            own = order[(predictions.label[order] == label) & ~ignored[order]]
            theirs = truth_frame[counted & (truths.label == label)]
            found[name].append(_Curve(frame[own], right[own], theirs, area))
    return found


def _mean(curves: list[_Curve], times: Float64) -> float:
    values = np.array([curve.average(times) for curve in curves])
    return float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else float("nan")


def _at_recalls(precision: Float64, recall: Float64) -> float:
    """KITTI's: mean over `RECALLS` of the greatest precision at such a recall or a greater one; 0 beyond the last."""
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    wanted = np.arange(1, RECALLS + 1) / RECALLS
    return float(best[np.searchsorted(recall, wanted - _ROUNDING)].mean())


def _above_least(precision: Float64, recall: Float64) -> float:
    """nuScenes's: mean over a hundred recalls of what precision exceeds `LEAST`, as a share of what it can."""
    at = np.interp(np.linspace(0.0, 1.0, 101), recall, precision, right=0.0)
    return float((np.maximum(at[round(100 * LEAST) + 1 :] - LEAST, 0.0) / (1.0 - LEAST)).mean())


def _rows(boxes: Any, chosen: Bool) -> Any:
    """Some of the boxes."""
    return type(boxes)(*(getattr(boxes, name)[chosen] for name in boxes.__slots__))
