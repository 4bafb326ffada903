"""The heart: reference statistics, descriptors, learners, calibration, the error model and its metrics."""

from __future__ import annotations

from ml_debugger.estimation.bank import Bank, build_bank
from ml_debugger.estimation.descriptors import CLASS_DESCRIPTORS, Described, describe, error_log_odds
from ml_debugger.estimation.error_model import ErrorModel, Predictions
from ml_debugger.estimation.fit import FitSettings, Fitted, fit
from ml_debugger.estimation.folds import grouped_folds
from ml_debugger.estimation.learners import LEARNERS
from ml_debugger.estimation.metrics import METRICS, measure

__all__ = [
    "CLASS_DESCRIPTORS",
    "LEARNERS",
    "METRICS",
    "Bank",
    "Described",
    "ErrorModel",
    "FitSettings",
    "Fitted",
    "Predictions",
    "build_bank",
    "describe",
    "error_log_odds",
    "fit",
    "grouped_folds",
    "measure",
]
