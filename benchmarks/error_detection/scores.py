"""Fitting, selecting and calibrating any score on the same val rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchmarks.error_detection import metrics
from benchmarks.error_detection.baselines import BASELINES, Geometry, Method, Rows
from benchmarks.error_detection.traces import Pair, Split
from ml_debugger.estimation.calibration import calibrate, fit_calibrator, wants_isotonic

__all__ = ["Scored", "calibrated", "make_folds", "score_baselines"]

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Scored:
    """What one method says of a pair.

    Attributes:
        val: ``(N,)`` scores of the val rows, out of fold where the method learned from them.
        score: Scores by reported split; they rank.
        proba: Calibrated error probabilities by reported split.
        note: The setting that was chosen.
    """

    val: FloatArray
    score: Mapping[str, FloatArray]
    proba: Mapping[str, FloatArray]
    note: str = ""
    val_auroc: float = field(default=float("nan"))


def make_folds(errors: IntArray, seed: int = 0, n_folds: int = N_FOLDS) -> IntArray:
    """``(N,)`` fold numbers, right and wrong rows spread evenly; fewer folds where errors are fewer."""
    rng = np.random.default_rng(seed)
    n_folds = max(2, min(n_folds, int(errors.sum()), int((1 - errors).sum())))
    folds = np.empty(len(errors), dtype=np.int64)
    for value in (0, 1):
        rows = np.flatnonzero(errors == value)
        folds[rng.permutation(rows)] = np.arange(len(rows)) % n_folds
    return folds


def score_baselines(
    pair: Pair, geometry: Geometry, val: Split, names: tuple[str, ...] | None = None
) -> dict[str, Scored]:
    """Every baseline fitted on the given val rows and calibrated, by name."""
    return {name: _score(BASELINES[name], name, pair, Rows(geometry, val)) for name in names or tuple(BASELINES)}


def _score(method: Method, name: str, pair: Pair, rows: Rows) -> Scored:
    score = method.fit(rows)
    val = _out_of_fold(method, rows) if method.cross_fit else score(rows.val)
    found = {split: score(part) for split, part in pair.reported.items()}
    if method.is_proba:
        proba = {split: expit(values) for split, values in found.items()}
    else:
        proba = calibrated(val, rows.val.errors, found)
    return Scored(val, found, proba, rows.notes.get(name, ""), metrics.auroc(val, rows.val.errors))


def _out_of_fold(method: Method, rows: Rows) -> FloatArray:
    folds = make_folds(rows.val.errors, rows.seed)
    scores = np.empty(len(rows.val))
    for fold in np.unique(folds):
        inside = np.flatnonzero(folds == fold)
        outside = Rows(rows.geometry, rows.val.take(np.flatnonzero(folds != fold)), rows.seed, dict(rows.notes))
        scores[inside] = method.fit(outside)(rows.val.take(inside))
    return scores


def calibrated(val: FloatArray, errors: IntArray, scores: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Error probabilities of scores: the product's own calibrator, fitted on standardised val scores.

    Platt scaling, with isotonic regression mixed in where the product would: where it lowers the out-of-fold log loss.
    """
    centre, scale = np.median(val), max(float(val.std()), 1e-12)
    standard = (val - centre) / scale
    isotonic = wants_isotonic(standard, errors, make_folds(errors))
    calibrator = fit_calibrator(standard, errors, isotonic=isotonic)
    return {name: calibrate(calibrator, (values - centre) / scale) for name, values in scores.items()}
