"""What the candidates that non-maximum suppression dropped say about the boxes that it kept.

Their number, scores and spread tell stable boxes from unstable ones: MetaDetect (Schubert, Kahl, Rottmann, 2020,
arXiv 2010.01695).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.box_kinds import BOXES_2D, BoxKind
from ml_debugger.analysis.boxes import WIDTHS, ClosePairs, PredictedBoxes, run_starts
from ml_debugger.columns import DETECTION_3D_CONTEXT, DETECTION_CONTEXT
from ml_debugger.errors import InputError

__all__ = ["SUPPRESSED", "SUPPRESSED_3D", "Candidates", "suppressed"]

SUPPRESSED: Final = DETECTION_CONTEXT[2:]
"""The columns that :func:`suppressed` makes of boxes in images."""

SUPPRESSED_3D: Final = DETECTION_3D_CONTEXT[4:]
"""Those of boxes in point clouds."""

LOWEST_SCORE: Final = 0.01
"""Candidates whose best score is less are noise and left out."""

SAME_SCORE: Final = 1e-4
"""A candidate with the score of the kept box, up to rounding, may be that box itself."""

NO_KEY: Final = np.iinfo(np.int64).min

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """M boxes before non-maximum suppression; those that were kept may be among them.

    Attributes:
        input_index: ``(M,)`` int64, which image each belongs to.
        box: ``(M, 4)`` in the pixels of the kept boxes, or ``(M, 7)`` in 3D.
        label: ``(M,)`` int64, class of the best score.
        score: ``(M,)`` the best score.
        class_scores: ``(M, C)`` scores of all classes, column = class, or None where only the best is known.

    Raises:
        InputError: If lengths or widths do not fit together.
    """

    input_index: Int64
    box: NDArray[np.floating[Any]]
    label: Int64
    score: NDArray[np.floating[Any]]
    class_scores: NDArray[np.floating[Any]] | None = None

    def __post_init__(self) -> None:
        count = len(self.input_index)
        for name, shapes in (
            ("box", [(count, width) for width in WIDTHS]),
            ("label", [(count,)]),
            ("score", [(count,)]),
        ):
            got = getattr(self, name).shape
            if got not in shapes:
                expected = " or in 3D ".join(map(str, shapes))
                raise InputError(f"{name}: expected shape {expected}, one entry per candidate, got {got}")
        scores = self.class_scores
        if scores is not None and (scores.ndim != 2 or len(scores) != count or not scores.shape[1]):
            raise InputError(f"class_scores: expected shape ({count}, C) with C >= 1, got {scores.shape}")

    @classmethod
    def of_class_scores(
        cls, input_index: Int64, box: NDArray[np.floating[Any]], class_scores: NDArray[np.floating[Any]]
    ) -> Candidates:
        """Candidates with the scores of all classes ``(M, C)``, column = class."""
        best = class_scores.argmax(axis=1)
        return cls(input_index, box, best, class_scores.max(axis=1), class_scores)

    def rows(self, chosen: NDArray[Any]) -> Candidates:
        """Some of the candidates."""
        scores = None if self.class_scores is None else self.class_scores[chosen]
        return Candidates(self.input_index[chosen], self.box[chosen], self.label[chosen], self.score[chosen], scores)


def suppressed(
    kept: PredictedBoxes, candidates: Candidates, iou: float = 0.5, kind: BoxKind = BOXES_2D
) -> NDArray[np.float32]:
    """Statistics of the candidates that each kept box stands for.

    A candidate is suppressed by the best kept box of the class that overlaps it by ``iou``; each counts once per class,
    and the kept boxes themselves do not count. Candidates of other classes count for every box that they overlap.

    Args:
        kept: U boxes.
        candidates: M boxes of the same images.
        iou: From which overlap on a box suppresses another: that of the detector where it is known.
        kind: Of the boxes; in 3D overlaps are those seen from above.

    Returns:
        ``(U, 10)`` in the columns `SUPPRESSED`, ``(U, 11)`` in `SUPPRESSED_3D`. Without suppressed candidates the
        number, sum and greatest score are 0, and means and deviations NaN. ``side_std`` is the standard deviation of
        each side's position, mean of the four, in units of the square root of the kept box's area; ``size_std`` that of
        the three sizes, in units of the cube root of its volume; ``yaw_std`` that of the turn against it, in radians,
        half a turn being none.
    """
    strong = candidates.score >= LOWEST_SCORE
    candidates = candidates if strong.all() else candidates.rows(strong)
    pairs = kind.close_pairs(candidates.input_index, candidates.box, kept.input_index, kept.box, iou)
    own, other = _scores_of_pairs(candidates, pairs, kept.label)
    return np.concatenate(
        [
            _of_own_class(kept, candidates.box, pairs, own, kind),
            _of_other_classes(len(kept), pairs.second, other),
        ],
        axis=1,
    ).astype(np.float32)


def _scores_of_pairs(candidates: Candidates, pairs: ClosePairs, label: Int64) -> tuple[Float64, Float64]:
    """``(P,)`` score of a candidate for the class of the kept box, and its best score for another class."""
    wanted, one = label[pairs.second], pairs.first
    is_best = candidates.label[one] == wanted
    best = candidates.score[one].astype(np.float64)
    if candidates.class_scores is None:
        return np.where(is_best, best, 0.0), np.where(is_best, 0.0, best)
    scores = candidates.class_scores
    count, n_classes = scores.shape
    known = (wanted >= 0) & (wanted < n_classes)
    own = np.where(known, scores[one, np.where(known, wanted, 0)], 0.0)
    second = np.zeros(count) if n_classes < 2 else np.partition(scores, -2, axis=1)[:, -2]
    return own, np.where(is_best, second[one], best)


def _of_own_class(kept: PredictedBoxes, boxes: NDArray[Any], pairs: ClosePairs, own: Float64, kind: BoxKind) -> Float64:
    """``(U, 8)``, in 3D ``(U, 9)``, the columns about candidates of the box's own class."""
    count = len(kept)
    rows = _suppressed_rows(kept, pairs, own)
    group, score, overlap = pairs.second[rows], own[rows], pairs.iou[rows]
    number = np.bincount(group, minlength=count).astype(np.float64)
    greatest = np.zeros(count)
    np.maximum.at(greatest, group, score)
    total = np.bincount(group, score, minlength=count)
    theirs, own_box = boxes[pairs.first[rows]], kept.box[group]
    spread = [np.asarray(one.values(theirs, own_box), dtype=np.float64).T for one in kind.spreads]
    mean, deviation = _means_and_deviations(group, np.concatenate([score[None], overlap[None], *spread]), number)
    columns = [number, total, greatest, mean[0], deviation[0], mean[1], deviation[1]]
    start = 2
    for one, values in zip(kind.spreads, spread, strict=True):
        unit = one.unit(kept.box)
        apart = deviation[start : start + len(values)].mean(axis=0)
        columns.append(np.divide(apart, unit, out=np.full(count, np.nan), where=unit > 0))
        start += len(values)
    return np.stack(columns, axis=1)


def _suppressed_rows(kept: PredictedBoxes, pairs: ClosePairs, own: Float64) -> Int64:
    """Pairs of a candidate with the kept box that suppressed it."""
    rows = np.flatnonzero(own >= LOWEST_SCORE)
    candidate, box = pairs.first[rows], pairs.second[rows]
    label, score = kept.label[box], kept.score[box]
    # of the candidates with the score of a kept box the one that overlaps it most is the box itself
    same = np.flatnonzero(np.abs(own[rows] - score) <= SAME_SCORE)
    same = same[np.lexsort((-pairs.iou[rows[same]], box[same]))]
    same = same[run_starts(box[same])]
    key = candidate * (int(label.max(initial=0)) + 1) + label
    itself = np.sort(key[same])
    place = np.searchsorted(itself, key)
    left = np.flatnonzero(np.append(itself, NO_KEY)[place] != key)
    order = left[np.argsort(key[left], kind="stable")]  # nearly sorted already
    start = np.flatnonzero(run_starts(key[order]))
    size = np.diff(start, append=len(order))
    best, several = order[start], size > 1
    contested = order[np.repeat(several, size)]
    contested = contested[np.lexsort((-pairs.iou[rows[contested]], -score[contested], key[contested]))]
    best[several] = contested[run_starts(key[contested])]
    return np.asarray(rows[best])


def _of_other_classes(count: int, group: Int64, score: Float64) -> Float64:
    """``(U, 2)`` number and greatest score of candidates of other classes."""
    seen = score >= LOWEST_SCORE
    greatest = np.zeros(count)
    np.maximum.at(greatest, group[seen], score[seen])
    return np.stack([np.bincount(group[seen], minlength=count), greatest], axis=1)


def _means_and_deviations(group: Int64, values: Float64, number: Float64) -> tuple[Float64, Float64]:
    """``(K, U)`` means and standard deviations by group of ``(K, P)`` values; NaN where a group has none."""
    shape = len(values), len(number)
    bins = (group + len(number) * np.arange(len(values))[:, None]).ravel()

    def mean_of(numbers: Float64) -> Float64:
        sums = np.bincount(bins, numbers.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
        return np.asarray(np.divide(sums, number, out=np.full(shape, np.nan), where=number > 0))

    mean = mean_of(values)
    return mean, np.sqrt(mean_of((values - mean[:, group]) ** 2))
