"""Learn an error model from labelled units of any task, with out-of-fold values for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation import Bank, ErrorModel, FitSettings, fit, grouped_folds
from ml_debugger.estimation.outliers import fit_outlier_axis, outlier_score, support_of
from ml_debugger.tasks.scoring import score_units
from ml_debugger.tasks.task import Bool, Description, Int64, Task, Units

__all__ = ["Labelled", "Learned", "learn"]

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Labelled:
    """N labelled units and the part each plays.

    Attributes:
        units: The units.
        truth: ``(N,)`` annotated classes.
        is_error: ``(N,)``.
        groups: ``(N,)`` units that must not be split between folds.
        in_bank: ``(N,)`` whether the unit serves the reference statistics.
        held_out: ``(N,)`` whether the unit serves learner and calibrator.
        certifying: ``(N,)`` which held-out units neither learner nor calibrator nor reference statistics may see.
    """

    units: Units
    truth: Int64
    is_error: Bool
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
        vote_classes: ``(N, V)``; -1 where there is no vote.
        vote_shares: ``(N, V)``.
    """

    model: ErrorModel
    error_proba: dict[str, Float64]
    baseline: dict[str, Float64]
    support: Float64
    whole: Bool
    vote_classes: Int64
    vote_shares: Float64


def learn(task: Task, rows: Labelled, vectors: str, settings: FitSettings) -> Learned:
    """Fit the error model of a task.

    Args:
        task: Which.
        rows: Labelled units; at least one usable unit in the bank and one held out.
        vectors: ``"features"`` or ``"logits"``: what the geometry is measured on.
        settings: Of the fit.
    """
    _, whole = task.usable(rows.units, vectors)
    guarded = np.isin(rows.groups, rows.groups[rows.certifying])
    fitting = rows.held_out & whole & ~rows.certifying
    banked = rows.in_bank & whole & ~guarded
    seen, bank = _describe_all(
        task, rows, vectors, settings, (fitting, banked, rows.held_out & whole & rows.certifying)
    )
    settings = replace(settings, n_categories=rows.units.logits.shape[1])
    fitted = fit(
        seen.descriptors[fitting],
        task.targets(rows.is_error[fitting]),
        rows.groups[fitting],
        seen.baseline[fitting],
        seen.categories[fitting],
        settings,
    )
    held_whole = rows.held_out & whole
    outlier = fit_outlier_axis(seen.descriptors[held_whole], task.outlier_axis)
    arrays = {**_prefixed("bank", bank.to_arrays()), **_prefixed("outlier", outlier), **fitted.arrays}
    meta = {
        "task": task.name,
        "method": task.method,
        "vectors": vectors,
        "n_classes": rows.units.logits.shape[1],
        "n_features": rows.units.features.shape[1],
        "n_categories": settings.n_categories,
        "targets": fitted.targets,
    }
    model = ErrorModel(arrays, meta)
    result = _Values(task, model, rows)
    result.put(fitting, fitted.out_of_fold, fitted.baseline)
    result.support[held_whole] = support_of(outlier, outlier_score(outlier, seen.descriptors[held_whole]))
    certifying = held_whole & rows.certifying
    if certifying.any():
        predicted = model.predict(*(part[certifying] for part in (seen.descriptors, seen.baseline, seen.categories)))
        result.put(certifying, predicted.error_proba, model.predict_baseline(seen.baseline[certifying]))
    return Learned(
        model, result.error_proba, result.baseline, result.support, held_whole, seen.vote_classes, seen.vote_shares
    )


class _Values:
    """Out-of-fold values being collected; units that cannot be described get what scoring gives them."""

    def __init__(self, task: Task, model: ErrorModel, rows: Labelled) -> None:
        size = len(rows.units)
        self.error_proba = {name: np.full(size, np.nan) for name in model.meta["targets"]}
        self.baseline = {name: np.full(size, np.nan) for name in model.meta["targets"]}
        self.support = np.full(size, np.nan)
        _, whole = task.usable(rows.units, str(model.meta["vectors"]))
        broken = rows.held_out & ~whole
        if broken.any():
            scored, _, _ = score_units(task, model, rows.units.rows(broken))
            self.support[broken] = scored.pop("support")
            self.put(broken, scored, scored)

    def put(self, chosen: Bool, error_proba: Mapping[str, Float64], baseline: Mapping[str, Float64]) -> None:
        """Values of some of the units."""
        for name in self.error_proba:
            self.error_proba[name][chosen] = error_proba[name]
            self.baseline[name][chosen] = baseline[name]


def _describe_all(
    task: Task, rows: Labelled, vectors: str, settings: FitSettings, parts: tuple[Bool, Bool, Bool]
) -> tuple[Description, Bank]:
    """Descriptions of fitting and certifying units by banks that none of them is in, and the bank of all its units.

    Where fitting units are in the bank, it is built anew without each fold of them.
    """
    fitting, banked, certifying = parts
    bank = _bank_of(task, rows, banked, vectors, settings)
    found = _Descriptions(len(rows.units))
    found.put(certifying, task, rows, bank, vectors)
    shared = np.isin(rows.groups[fitting], rows.groups[banked]).any()
    if not shared:
        found.put(fitting, task, rows, bank, vectors)
        return found.whole(), bank
    folds = np.full(len(fitting), -1)
    folds[fitting] = grouped_folds(
        rows.groups[fitting], settings.n_folds, strata=rows.is_error[fitting], seed=settings.seed
    )
    for fold in np.unique(folds[fitting]):
        inside = folds == fold
        others = banked & ~np.isin(rows.groups, rows.groups[inside])
        found.put(inside, task, rows, _bank_of(task, rows, others, vectors, settings), vectors)
    return found.whole(), bank


def _bank_of(task: Task, rows: Labelled, chosen: Bool, vectors: str, settings: FitSettings) -> Bank:
    return task.reference(rows.units.rows(chosen), rows.truth[chosen], rows.is_error[chosen], vectors, settings.seed)


class _Descriptions:
    """Descriptions being collected for N units; zeros where there are none."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.parts: list[tuple[Bool, Description]] = []

    def put(self, chosen: Bool, task: Task, rows: Labelled, bank: Bank, vectors: str) -> None:
        """Describe some of the units by a bank."""
        self.parts.append((chosen, task.describe(rows.units.rows(chosen), bank, vectors)))

    def whole(self) -> Description:
        """All of them in one."""
        first = self.parts[0][1]
        result = Description(
            np.zeros((self.size, first.descriptors.shape[1])),
            np.zeros(self.size),
            np.zeros(self.size, dtype=np.int64),
            np.full((self.size, first.vote_classes.shape[1]), -1, dtype=np.int64),
            np.zeros((self.size, first.vote_shares.shape[1])),
        )
        for chosen, part in self.parts:
            result.descriptors[chosen] = part.descriptors
            result.baseline[chosen] = part.baseline
            result.categories[chosen] = part.categories
            result.vote_classes[chosen] = part.vote_classes
            result.vote_shares[chosen] = part.vote_shares
        return result


def _prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}
