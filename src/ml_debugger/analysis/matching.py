"""Which annotated box each predicted box belongs to, and how its place is right or wrong.

One-to-one pairs come first, greedily by score as COCO's evaluation makes them, so that right boxes are exactly its true
positives. What is left is told apart in the spirit of TIDE (Bolya et al., ECCV 2020, arXiv 2008.08115), by the rules
of `DETECTION_CODES`, tried from the top. Everything is arrays over all images at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.box_kinds import BOXES_2D, BoxKind
from ml_debugger.analysis.boxes import Overlaps, PredictedBoxes, TrueBoxes, join_overlaps
from ml_debugger.analysis.match_settings import MatchSettings

__all__ = ["DETECTION_CODES", "Match", "MatchSettings", "find_right", "match"]

DETECTION_CODES: Final = ("U", "A", "D", "SG", "SP", "M", "ON", "N")
"""Codes of a predicted box in the order in which their rules are tried; the first that holds wins."""

_U, _A, _D, _SG, _SP, _M, _ON, _N = range(len(DETECTION_CODES))
_NAMES: Final = np.array(DETECTION_CODES, dtype=object)
_LOWEST: Final = 1e-9

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Match:
    """What the annotations say about U predicted boxes, and the predictions about G annotated ones.

    Attributes:
        truth: ``(U,)`` int64, position of the annotated box that the prediction belongs to, of its class or another; -1
            where there is none (codes ``ON``, ``N``, ``U``).
        iou: ``(U,)`` overlap with it; 0 where there is none.
        code: ``(U,)`` one of `DETECTION_CODES`.
        certain: ``(U,)`` whether code and class stay the same with slightly other thresholds.
        is_error: ``(U,)`` whether it is not a box in the right place with the right class.
        det_error: ``(U,)`` whether the place is wrong: every code but ``A``.
        cls_error: ``(U,)`` whether the place is right and the class wrong.
        ignored: ``(U,)`` whether nothing can be said, since the box lies in a region to be ignored. Its code is ``U``,
            and the three error columns are False: leave it out.
        missed: ``(G,)`` whether no prediction belongs to the annotated box; False for regions to be ignored.
    """

    truth: Int64
    iou: Float64
    code: NDArray[np.object_]
    certain: Bool
    is_error: Bool
    det_error: Bool
    cls_error: Bool
    ignored: Bool
    missed: Bool

    def __len__(self) -> int:
        return len(self.truth)

    def annotated(self, truth_label: Int64) -> Int64:
        """``(U,)`` class of the annotated box that each prediction belongs to, of ``(G,)`` classes; -1 for none."""
        labels = np.full(len(self.truth), -1, dtype=np.int64)
        known = self.truth >= 0
        labels[known] = truth_label[self.truth[known]]
        return labels


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the rules look at: which boxes overlap, whatever the thresholds.

    Attributes:
        predictions: All of them, also those that cover nothing.
        usable: ``(U,)`` whether a prediction can be matched at all.
        truth_label: ``(G,)`` class of the annotated boxes.
        pairs: Predicted with annotated boxes, regions to be ignored left out.
        own: ``(P,)`` whether both have the same class.
        in_region: ``(U,)`` share of each prediction that lies in one region to be ignored of its class.
        nearest: ``(U,)`` greatest overlap with another prediction of the image.
    """

    predictions: PredictedBoxes
    usable: Bool
    truth_label: Int64
    pairs: Overlaps
    own: Bool
    in_region: Float64
    nearest: Float64


@dataclass(frozen=True, slots=True)
class _Limits:
    """Thresholds of each pair and of each prediction, moved by the same amount."""

    strong: Bool  # (P,) the pair overlaps enough
    weak: Bool  # (P,) the pair has something to do with each other
    foreground: Float64  # (U,)
    background: Float64  # (U,)
    truth_background: Float64  # (G,)
    inside: float


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the rules say with one set of thresholds; ``covered (G,)``: a prediction belongs to it."""

    code: NDArray[np.int8]
    truth: Int64
    iou: Float64
    ignored: Bool
    covered: Bool

    def says(self, truth_label: Int64, label: Int64) -> Int64:
        """``(U,)`` one number for code and right class."""
        right = np.zeros(len(self.truth), dtype=bool)
        known = self.truth >= 0
        right[known] = truth_label[self.truth[known]] == label[known]
        return self.code.astype(np.int64) * 2 + right


def match(
    predictions: PredictedBoxes, truths: TrueBoxes, settings: MatchSettings | None = None, kind: BoxKind = BOXES_2D
) -> Match:
    """Match predicted with annotated boxes of the same images, or of the same frames in 3D.

    1. Pairs of equal class with an overlap of at least ``foreground_iou``: predictions by falling score, each takes the
       annotated box it overlaps most among those still free. Equal scores: the earlier prediction; equal overlaps:
       the later annotation. That is COCO's rule.
    2. Predictions left that lie in a region to be ignored of their class (by at least ``foreground_iou`` of their own
       area) are ignored.
    3. Pairs of what is left with what is left, whatever the class, by the same rule: right place, wrong class.
    4. Every prediction still left gets the first code of `DETECTION_CODES` whose rule holds.

    Args:
        predictions: U boxes; those without an area, or with a NaN in box or score, get the code ``U``.
        truths: G boxes; those without an area are regions to be ignored in which nothing lies.
        settings: The thresholds, and in 3D what overlap means.
        kind: Of the boxes: what covers something, and what two share.

    Raises:
        InputError: If boxes are of another kind.
        ConfigError: If the settings are of another kind.
    """
    settings = MatchSettings() if settings is None else settings
    kind.check(settings, predictions.box, truths.box)
    scene = _look(predictions, truths, settings, kind)
    tolerance = settings.iou_tolerance
    found, lower, upper = (_judge(scene, _limits(scene, settings, shift)) for shift in (0.0, -tolerance, tolerance))
    label, truth_label = predictions.label, truths.label
    meaning = found.says(truth_label, label)
    in_place = found.code == _A
    judged = ~found.ignored
    return Match(
        truth=found.truth,
        iou=found.iou,
        code=np.asarray(_NAMES[found.code]),
        certain=(meaning == lower.says(truth_label, label)) & (meaning == upper.says(truth_label, label)),
        is_error=judged & (meaning != _A * 2 + 1),
        det_error=judged & ~in_place,
        cls_error=in_place & (meaning != _A * 2 + 1),
        ignored=found.ignored,
        missed=~found.covered & ~np.asarray(truths.ignored, dtype=bool) & kind.covers(truths.box),
    )


def find_right(
    predictions: PredictedBoxes, truths: TrueBoxes, settings: MatchSettings | None = None, kind: BoxKind = BOXES_2D
) -> tuple[Bool, Bool]:
    """What average precision needs of :func:`match`, the first two of its steps: right boxes, and those ignored.

    Args:
        predictions: U boxes.
        truths: G boxes.
        settings: As in `match`.
        kind: Of the boxes.

    Returns:
        ``(U,)`` whether each has an annotated box of its class to itself, and ``(U,)`` whether nothing can be said of
        it, since it lies in a region to be ignored.

    Raises:
        InputError: If boxes are of another kind.
        ConfigError: If the settings are of another kind.
    """
    settings = MatchSettings() if settings is None else settings
    kind.check(settings, predictions.box, truths.box)
    scene = _look_at_truths(predictions, truths, settings, kind)
    limits = _limits(scene, settings, 0.0)
    chosen = _pair_greedily(scene, np.flatnonzero(scene.own & limits.strong))
    return chosen >= 0, _ignored(scene, limits, chosen)


def _look(predictions: PredictedBoxes, truths: TrueBoxes, settings: MatchSettings, kind: BoxKind) -> _Scene:
    scene = _look_at_truths(predictions, truths, settings, kind)
    for beside in kind.iter_overlaps(predictions, predictions, settings):
        others = (beside.first != beside.second) & scene.usable[beside.first]
        np.maximum.at(scene.nearest, beside.second[others], beside.iou[others])
    return scene


def _look_at_truths(predictions: PredictedBoxes, truths: TrueBoxes, settings: MatchSettings, kind: BoxKind) -> _Scene:
    usable = kind.covers(predictions.box) & np.isfinite(predictions.score)
    pairs = join_overlaps(kind.iter_overlaps(predictions, truths, settings))
    pairs = pairs.rows(usable[pairs.first])
    truth_label = truths.label[pairs.second]
    own = truth_label == predictions.label[pairs.first]
    is_region = np.asarray(truths.ignored, dtype=bool)[pairs.second]
    excused = pairs.rows(is_region & (own | (truth_label < 0)))
    in_region = np.zeros(len(predictions))
    np.maximum.at(in_region, excused.first, excused.first_share)
    return _Scene(
        predictions=predictions,
        usable=usable,
        truth_label=truths.label,
        pairs=pairs.rows(~is_region),
        own=own[~is_region],
        in_region=in_region,
        nearest=np.zeros(len(predictions)),
    )


def _limits(scene: _Scene, settings: MatchSettings, shift: float) -> _Limits:
    def moved(values: Float64) -> Float64:
        return np.clip(values + shift, _LOWEST, 1.0)

    truth_label, label, second = scene.truth_label, scene.predictions.label, scene.pairs.second
    truth_background = moved(settings.background(truth_label))
    return _Limits(
        strong=scene.pairs.iou >= moved(settings.foreground(truth_label))[second],
        weak=scene.pairs.iou >= truth_background[second],
        foreground=moved(settings.foreground(label)),
        background=moved(settings.background(label)),
        truth_background=truth_background,
        inside=float(np.clip(settings.inside_share + shift, _LOWEST, 1.0)),
    )


def _ignored(scene: _Scene, limits: _Limits, chosen: Int64) -> Bool:
    """``(U,)`` predictions without a pair in a region to be ignored."""
    return np.asarray(scene.usable & (chosen < 0) & (scene.in_region >= limits.foreground))


def _judge(scene: _Scene, limits: _Limits) -> _Verdict:
    """The rules, from the top. ``chosen`` holds the pair of each prediction, -1 for none."""
    pairs, first, second = scene.pairs, scene.pairs.first, scene.pairs.second
    chosen = _pair_greedily(scene, np.flatnonzero(scene.own & limits.strong))
    ignored = _ignored(scene, limits, chosen)
    left = scene.usable & (chosen < 0) & ~ignored
    free = np.ones(len(scene.truth_label), dtype=bool)
    free[second[chosen[chosen >= 0]]] = False
    others = _pair_greedily(scene, np.flatnonzero(limits.strong & left[first] & free[second]))
    chosen = np.maximum(chosen, others)
    free[second[chosen[chosen >= 0]]] = False

    code = np.select([chosen >= 0, ~scene.usable | ignored], [_A, _U], _N).astype(np.int8)
    # Own class before another, free annotations before taken ones, then the greatest overlap.
    order = np.lexsort((-second, -pairs.iou, ~free[second], ~scene.own, first))

    def assign(name: int, rows: Bool) -> None:
        """Give a code to the predictions among some pairs, with the best of these pairs each."""
        best = order[rows[order]]
        best = best[np.diff(first[best], prepend=-1) > 0]
        chosen[first[best]] = best
        code[first[best]] = name

    def open_rows() -> Bool:
        return np.asarray(code[first] == _N)

    assign(_D, open_rows() & limits.strong & ~free[second])
    merging = open_rows() & scene.own & (pairs.second_share >= limits.inside)
    merging &= _several(first[merging], pairs.first_share[merging], limits.background)[first]
    split = open_rows() & scene.own & free[second] & (pairs.first_share >= limits.inside)
    split &= _several(second[split], pairs.second_share[split], limits.truth_background)[second]
    assign(_SG, merging)
    assign(_SP, split)
    torn = np.intersect1d(first[merging], first[split])
    code[torn], chosen[torn] = _U, -1
    assign(_M, open_rows() & limits.weak & (scene.own | free[second]))
    code[(code == _N) & (scene.nearest >= limits.background)] = _ON

    truth, iou = np.full(len(code), -1, dtype=np.int64), np.zeros(len(code))
    has = chosen >= 0
    truth[has], iou[has] = second[chosen[has]], pairs.iou[chosen[has]]
    covered = np.zeros(len(free), dtype=bool)
    covered[truth[has]] = True
    covered[second[merging | split]] = True
    return _Verdict(code, truth, iou, ignored, covered)


def _several(group: Int64, share: Float64, least: Float64) -> Bool:
    """Per group whether two or more belong to it that together have at least a share of it."""
    counts = np.bincount(group, minlength=len(least))
    return np.asarray((counts >= 2) & (np.bincount(group, share, minlength=len(least)) >= least))


def _pair_greedily(scene: _Scene, rows: Int64) -> Int64:
    """``(U,)`` pair of each prediction, one-to-one, -1 for none: by falling score, each takes what it overlaps most.

    Predictions of one image follow each other; those of different images do not meet, so that all images are done
    at once: first the best prediction of each, then the second best.

    Args:
        scene: Of all pairs.
        rows: The pairs that may be made.
    """
    predictions = scene.predictions
    chosen = np.full(len(predictions), -1, dtype=np.int64)
    taken = np.zeros(len(scene.truth_label), dtype=bool)
    first, second = scene.pairs.first[rows], scene.pairs.second[rows]
    image, score = predictions.input_index[first], predictions.score[first]
    order = np.lexsort((-second, -scene.pairs.iou[rows], first, -score, image))
    rows, first, second, image = rows[order], first[order], second[order], image[order]
    turn = _count_within(image, first)
    by_turn = np.argsort(turn, kind="stable")
    ends = np.searchsorted(turn[by_turn], np.arange(int(turn.max(initial=-1)) + 2))
    for low, high in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        now = by_turn[low:high]
        now = now[~taken[second[now]]]
        now = now[np.diff(first[now], prepend=-1) != 0]
        chosen[first[now]] = rows[now]
        taken[second[now]] = True
    return chosen


def _count_within(image: Int64, prediction: Int64) -> Int64:
    """Of rows ordered by image and prediction: how many other predictions of its image came before each row's."""
    number = np.cumsum(np.diff(prediction, prepend=-1) != 0)
    is_first = np.diff(image, prepend=image[:1] - 1) != 0
    return number - np.maximum.accumulate(np.where(is_first, number, 0))
