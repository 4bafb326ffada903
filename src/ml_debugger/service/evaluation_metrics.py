"""The numbers of a result: how well errors are found, and how honest the probabilities are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml_debugger import columns
from ml_debugger.analysis.intervals import binomial_interval
from ml_debugger.estimation import measure
from ml_debugger.service.evaluation_options import EvaluationOptions
from ml_debugger.service.evaluation_rows import Rows
from ml_debugger.tasks.learning import Labelled, Learned

__all__ = ["measure_result"]


def measure_result(learned: Learned, rows: Rows, labelled: Labelled, options: EvaluationOptions) -> dict[str, Any]:
    """Out-of-fold metrics of the held-out rows, and the same of the calibrated baseline."""
    held = rows.held_out
    wrong, groups = rows.diagnosis.is_error[held], labelled.groups[held]
    errors, count = int(wrong.sum()), len(wrong)
    low, high = binomial_interval(errors, count)
    accuracy = {"accuracy": 1.0 - errors / count, "accuracy_low": 1.0 - high, "accuracy_high": 1.0 - low}
    shared = {
        **(rows.quality.metrics or accuracy),
        "error_rate": errors / count,
        "error_rate_low": low,
        "error_rate_high": high,
    }
    tables = [
        measure(values[columns.ERROR_PROBA][held], wrong, groups, draws=options.bootstrap, seed=options.seed)
        for values in (learned.error_proba, learned.baseline)
    ]
    ours, base = ({**shared, **{name: _finite(value) for name, value in table.items()}} for table in tables)
    parts = {name: _part_metrics(name, learned, labelled, options) for name in learned.error_proba}
    del parts[columns.ERROR_PROBA]
    return {**ours, "baseline": base, **parts}


def _part_metrics(name: str, learned: Learned, labelled: Labelled, options: EvaluationOptions) -> dict[str, Any]:
    """The same of one further error column, on the held-out rows where its question arises."""
    outcome = np.asarray(labelled.targets[name], dtype=np.float64)
    asked = labelled.held_out & np.isfinite(outcome)
    if not asked.any():
        return {"error_rate": None, "baseline": {"error_rate": None}}
    wrong, groups = outcome[asked] > 0, labelled.groups[asked]
    ours, base = (
        measure(values[name][asked], wrong, groups, draws=options.bootstrap, seed=options.seed)
        for values in (learned.error_proba, learned.baseline)
    )
    rate = {"error_rate": float(wrong.mean())}
    found = {**rate, **{name: _finite(value) for name, value in ours.items()}}
    return {**found, "baseline": {**rate, **{name: _finite(value) for name, value in base.items()}}}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
