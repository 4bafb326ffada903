"""Fit an error estimator on any table of descriptors: it knows no task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.calibration import calibrate, cross_calibrate, fit_calibrator, wants_isotonic
from ml_debugger.estimation.folds import grouped_folds
from ml_debugger.estimation.learners import LEARNERS, Design, Layout
from ml_debugger.estimation.numbers import log_loss

__all__ = ["FitSettings", "Fitted", "fit"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to fit.

    Attributes:
        learners: Names in LEARNERS; the log-odds of several are averaged. Empty: the calibrated baseline only.
        n_folds: Folds of the cross-fitting.
        min_errors: With fewer errors (or fewer right answers) only the baseline is calibrated.
        seed: Of the folds.
        why_baseline: Set to use the calibrated baseline for a reason that the caller knows.
        layout: What is known about the columns of the descriptors.
    """

    learners: tuple[str, ...] = ("signed_ridge",)
    n_folds: int = 5
    min_errors: int = 10
    seed: int = 0
    why_baseline: str | None = None
    layout: Layout = field(default_factory=Layout)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What came out of :func:`fit`.

    Attributes:
        arrays: By path, as :class:`~ml_debugger.estimation.error_model.ErrorModel` wants them.
        targets: Per target a JSON record: ``learners`` in use, ``reason``, ``n_rows``, ``n_errors``, ``nll``,
            ``baseline_nll``.
        out_of_fold: Per target ``(N,)`` probabilities that no row had a part in making for itself.
        baseline: Per target ``(N,)`` out-of-fold probabilities of the calibrated baseline.
    """

    arrays: Arrays
    targets: dict[str, dict[str, Any]]
    out_of_fold: dict[str, Float64]
    baseline: dict[str, Float64]


def fit(
    descriptors: Float64,
    targets: Mapping[str, NDArray[Any]],
    groups: NDArray[Any],
    baseline: Float64,
    settings: FitSettings | None = None,
) -> Fitted:
    """Error estimators for each target, gated against the calibrated baseline.

    Args:
        descriptors: ``(N, K)`` finite, each oriented so that larger = more likely wrong.
        targets: Per name ``(N,)`` 0/1 outcomes, such as ``{"error_proba": is_error}``. Rows where an outcome is NaN
            have no part in its estimator, which then says what it makes of them.
        groups: ``(N,)`` rows that must not be split, such as the boxes of one image.
        baseline: ``(N,)`` log-odds of the baseline score.
        settings: Learners, folds and limits.
    """
    chosen = settings or FitSettings()
    design = Design(descriptors, baseline, chosen.layout)
    fitted = Fitted({}, {}, {}, {})
    seen: dict[bytes, tuple[Arrays, dict[str, Any], Float64, Float64]] = {}
    for name, target in targets.items():
        outcome = np.asarray(target, dtype=np.float64)
        key = outcome.tobytes()
        if key not in seen:  # where classes are never confused, a wrong box is one in the wrong place
            seen[key] = _fit_known(design, outcome, groups, chosen)
        arrays, record, mine, base = seen[key]
        fitted.arrays.update({f"{name}/{path}": array for path, array in arrays.items()})
        fitted.targets[name], fitted.out_of_fold[name], fitted.baseline[name] = dict(record), mine.copy(), base.copy()
    return fitted


def _fit_known(
    design: Design, outcome: Float64, groups: NDArray[Any], settings: FitSettings
) -> tuple[Arrays, dict[str, Any], Float64, Float64]:
    """The estimator of one target, learned where its outcome is known."""
    known = np.isfinite(outcome)
    if known.all():
        return _fit_target(design, outcome, groups, settings)
    arrays, record, *found = _fit_target(design.rows(known), outcome[known], groups[known], settings)
    mine, base = _with_others(design, known, arrays, record, found)
    return arrays, record, mine, base


def _fit_target(
    design: Design, target: Float64, groups: NDArray[Any], settings: FitSettings
) -> tuple[Arrays, dict[str, Any], Float64, Float64]:
    folds = grouped_folds(groups, settings.n_folds, strata=target, seed=settings.seed)
    isotonic = wants_isotonic(design.baseline, target, folds)
    base = cross_calibrate(design.baseline, target, folds, isotonic=isotonic)
    arrays = _prefixed("baseline", fit_calibrator(design.baseline, target, isotonic=isotonic))
    errors = int(target.sum())
    record: dict[str, Any] = {
        "learners": [],
        "n_rows": len(target),
        "n_errors": errors,
        "baseline_nll": float(log_loss(base, target).mean()) if len(target) else 0.0,
    }
    record["nll"] = record["baseline_nll"]
    reason = settings.why_baseline or _too_few(target, len(np.unique(groups)), settings)
    if reason:
        return arrays, {**record, "reason": f"the calibrated confidence: {reason}"}, base, base
    learned, learned_arrays = _cross_fit(design, target, folds, settings)
    loss = log_loss(learned, target)
    record["learned_nll"] = float(loss.mean())
    gains = {
        "it": (log_loss(base, target) - loss, settings.layout.margin),
        "the error rate alone": (log_loss(_rate(target, folds), target) - loss, 1.0),
    }
    adopted, reason = _gate(gains, groups, record["learned_nll"])
    if not adopted:
        return arrays, {**record, "reason": reason}, base, base
    record |= {"learners": list(settings.learners), "nll": record["learned_nll"], "reason": reason}
    return arrays | learned_arrays, record, learned, base


def _with_others(
    design: Design, known: NDArray[np.bool_], arrays: Arrays, record: dict[str, Any], found: list[Float64]
) -> tuple[Float64, Float64]:
    """``(N,)`` learned and baseline probabilities: out-of-fold where the outcome is known, else what was fitted."""
    others = design.rows(~known)
    base = calibrate(_part(arrays, "baseline"), others.baseline)
    said = base
    if record["learners"]:
        log_odds = [LEARNERS[name].log_odds(_part(arrays, name), others) for name in record["learners"]]
        said = calibrate(_part(arrays, "calibrator"), np.asarray(sum(log_odds) / len(log_odds)))
    whole = np.empty((2, len(known)))
    whole[:, known], whole[:, ~known] = found, (said, base)
    return whole[0], whole[1]


def _too_few(target: Float64, n_groups: int, settings: FitSettings) -> str | None:
    errors = int(target.sum())
    right = len(target) - errors
    if not settings.learners:
        return "no learner was asked for"
    if min(errors, right) < settings.min_errors:
        kind, count = ("errors", errors) if errors <= right else ("right answers", right)
        return f"{count} {kind} among {len(target)} rows, a learner needs at least {settings.min_errors}"
    if n_groups < 2 * settings.n_folds:
        return f"{n_groups} distinct inputs, cross-fitting needs at least {2 * settings.n_folds}"
    return None


def _cross_fit(design: Design, target: Float64, folds: Int64, settings: FitSettings) -> tuple[Float64, Arrays]:
    """Calibrated out-of-fold probabilities of the averaged learners, and the arrays of the whole."""
    arrays: Arrays = {}
    total = np.zeros(len(target))
    for name in settings.learners:
        state, out_of_fold = LEARNERS[name].fit(design, target, folds)
        arrays |= _prefixed(name, state)
        total += out_of_fold
    log_odds = total / len(settings.learners)
    isotonic = wants_isotonic(log_odds, target, folds)
    arrays |= _prefixed("calibrator", fit_calibrator(log_odds, target, isotonic=isotonic))
    return cross_calibrate(log_odds, target, folds, isotonic=isotonic), arrays


def _rate(target: Float64, folds: Int64) -> Float64:
    """``(N,)`` share of errors among the other folds: a score that knows nothing."""
    errors, rows = np.bincount(folds, target), np.bincount(folds)
    return np.asarray(((target.sum() - errors + 0.5) / (len(target) - rows + 1.0))[folds])


def _gate(gains: Mapping[str, tuple[Float64, float]], groups: NDArray[Any], learned: float) -> tuple[bool, str]:
    """Adopt the learned score only if its out-of-fold log loss is lower by more than some standard errors.

    Where errors are noise, shrinking to the error rate beats the baseline too: that is nothing to adopt.
    """
    _, member = np.unique(groups, return_inverse=True)
    for rival, (gain, errors) in gains.items():
        sums = np.bincount(member, gain)
        margin = errors * float(np.sqrt(((sums - sums.mean()) ** 2).sum()) / len(gain))
        if not float(gain.mean()) > margin:
            worse, aside = ("not clearly better", ", within chance") if gain.mean() > 0 else ("no better", "")
            return False, (
                f"the calibrated confidence: the learned error model was {worse} than {rival} "
                f"(log loss {learned:.3f} against {learned + gain.mean():.3f}{aside})"
            )
    gain, errors = next(iter(gains.values()))
    first, clearly = gain.mean(), "clearly " if errors else ""
    return True, (
        f"the learned error model: {clearly}better than the calibrated confidence "
        f"(log loss {learned:.3f} against {learned + first:.3f})"
    )


def _part(arrays: Arrays, prefix: str) -> Arrays:
    return {name[len(prefix) + 1 :]: array for name, array in arrays.items() if name.startswith(f"{prefix}/")}


def _prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}
