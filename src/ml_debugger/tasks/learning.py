"""Learn an error model from labelled units of any task, with out-of-fold values for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.estimation import ErrorModel, FitSettings, fit, one_blas_thread
from ml_debugger.estimation.neighbours import N_VOTES
from ml_debugger.estimation.outliers import fit_outlier_axis, outlier_score, support_of
from ml_debugger.tasks.scoring import score_units
from ml_debugger.tasks.task import Bool, Int64, Lessons, Task, Units, Votes

__all__ = ["Labelled", "Learned", "learn"]

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Labelled:
    """N labelled units and the part each plays.

    Attributes:
        units: The units.
        truth: ``(N,)`` annotated classes; -1 where there is none.
        targets: Per error column ``(N,)`` 0/1, NaN where the question does not arise; ``error_proba`` is always known.
        groups: ``(N,)`` units that must not be split between folds.
        in_bank: ``(N,)`` whether the unit serves the reference statistics.
        held_out: ``(N,)`` whether the unit serves learner and calibrator.
        certifying: ``(N,)`` which held-out units neither learner nor calibrator nor reference statistics may see.
    """

    units: Units
    truth: Int64
    targets: Mapping[str, NDArray[Any]]
    groups: NDArray[Any]
    in_bank: Bool
    held_out: Bool
    certifying: Bool


@dataclass(frozen=True, slots=True)
class Learned:
    """An error model without zone limits, and out-of-fold values; NaN for units that only served the bank.

    Attributes:
        model: The error model.
        error_proba: Per error column ``(N,)``.
        baseline: Per error column ``(N,)`` of the calibrated baseline.
        support: ``(N,)``.
        whole: ``(N,)`` held-out units with finite logits and vectors.
        votes: Of the N units; classes are -1 where there is no vote.
    """

    model: ErrorModel
    error_proba: dict[str, Float64]
    baseline: dict[str, Float64]
    support: Float64
    whole: Bool
    votes: Votes


def learn(task: Task, rows: Labelled, vectors: str, settings: FitSettings) -> Learned:
    """Fit the error model of a task.

    Args:
        task: Which.
        rows: Labelled units; at least one usable unit in the bank and one held out.
        vectors: ``"features"`` or ``"logits"``: what the geometry is measured on.
        settings: Of the fit.
    """
    _, whole = task.usable(rows.units, vectors)
    held_whole = rows.held_out & whole
    fitting, certifying = held_whole & ~rows.certifying, held_whole & rows.certifying
    lessons = _lessons(rows, whole, fitting)
    reference, seen, voted = task.learn(lessons, vectors, settings.seed)
    fitted = fit(
        seen.descriptors,
        {name: target[fitting] for name, target in rows.targets.items()},
        rows.groups[fitting],
        seen.baseline,
        replace(settings, layout=task.layout),
    )
    meta = {
        "task": task.name,
        "method": task.method,
        "vectors": vectors,
        "n_classes": rows.units.logits.shape[1],
        "n_features": rows.units.features.shape[1],
        "targets": fitted.targets,
    }
    learned = {**_prefixed("reference", reference), **fitted.arrays}
    units = rows.units.rows(certifying)
    with one_blas_thread():
        fresh = task.describe(units, ErrorModel(learned, meta))
    outlier = fit_outlier_axis(np.concatenate([seen.outlying, fresh.outlying]))
    model = ErrorModel({**learned, **_prefixed("outlier", outlier)}, meta)
    predicted = model.predict(fresh.descriptors, fresh.baseline, fresh.outlying)
    result = _Values(task, len(rows.units), fitted.targets)
    result.put(fitting, task.reconcile(fitted.out_of_fold), fitted.baseline)
    result.put(certifying, task.reconcile(predicted.error_proba), model.predict_baseline(fresh.baseline))
    result.put_votes(fitting, voted)
    result.put_votes(certifying, task.votes(units, model))
    result.support[fitting] = support_of(outlier, outlier_score(outlier, seen.outlying))
    result.support[certifying] = predicted.support
    result.put_broken(rows, rows.held_out & ~whole, model)
    return Learned(
        model,
        result.error_proba,
        result.baseline,
        result.support,
        held_whole,
        result.votes,
    )


def _lessons(rows: Labelled, whole: Bool, fitting: Bool) -> Lessons:
    """The fitting units, and the units of the bank that share no group with a fitting or a certifying one."""
    guarded = np.isin(rows.groups, rows.groups[fitting | rows.certifying])
    chosen = fitting | (rows.in_bank & whole & ~guarded)
    is_error = rows.targets[columns.ERROR_PROBA][chosen] > 0
    return Lessons(rows.units.rows(chosen), rows.truth[chosen], is_error, rows.groups[chosen], fitting[chosen])


class _Values:
    """Out-of-fold values being collected; NaN, and no vote, where there is none."""

    def __init__(self, task: Task, size: int, targets: Iterable[str]) -> None:
        self.task = task
        self.error_proba = {name: np.full(size, np.nan) for name in targets}
        self.baseline = {name: np.full(size, np.nan) for name in targets}
        self.support = np.full(size, np.nan)
        self.votes = Votes(np.full((size, N_VOTES), -1, dtype=np.int64), np.zeros((size, N_VOTES)))

    def put(self, chosen: Bool, error_proba: Mapping[str, Float64], baseline: Mapping[str, Float64]) -> None:
        """Values of some of the units."""
        for name in self.error_proba:
            self.error_proba[name][chosen] = error_proba[name]
            self.baseline[name][chosen] = baseline[name]

    def put_votes(self, chosen: Bool, votes: Votes) -> None:
        """Votes of some of the units."""
        self.votes.classes[chosen], self.votes.shares[chosen] = votes.classes, votes.shares

    def put_broken(self, rows: Labelled, broken: Bool, model: ErrorModel) -> None:
        """Units that cannot be described get what scoring gives them."""
        if broken.any():
            scored, _, _ = score_units(self.task, model, rows.units.rows(broken))
            self.support[broken] = scored.pop("support")
            self.put(broken, scored, scored)


def _prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}
