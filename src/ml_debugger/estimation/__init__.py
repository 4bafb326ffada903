"""The heart: reference statistics, descriptors, learners, calibration, the error model and its metrics."""

from __future__ import annotations

from ml_debugger.estimation.bank import Bank, build_bank
from ml_debugger.estimation.blocks import one_blas_thread
from ml_debugger.estimation.descriptors import CLASS_DESCRIPTORS, Described, describe, error_log_odds, vote
from ml_debugger.estimation.error_model import ErrorModel, Predictions
from ml_debugger.estimation.fit import FitSettings, Fitted, fit
from ml_debugger.estimation.folds import grouped_folds
from ml_debugger.estimation.learners import LEARNERS, Layout
from ml_debugger.estimation.metrics import METRICS, measure
from ml_debugger.estimation.numbers import finite_rows
from ml_debugger.estimation.reference import Examples, Reference, fit_reference

__all__ = [
    "CLASS_DESCRIPTORS",
    "LEARNERS",
    "METRICS",
    "Bank",
    "Described",
    "ErrorModel",
    "Examples",
    "FitSettings",
    "Fitted",
    "Layout",
    "Predictions",
    "Reference",
    "build_bank",
    "describe",
    "error_log_odds",
    "finite_rows",
    "fit",
    "fit_reference",
    "grouped_folds",
    "measure",
    "one_blas_thread",
    "vote",
]
