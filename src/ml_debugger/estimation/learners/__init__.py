"""LEARNERS: what turns descriptors into error log-odds. One file per learner, one entry here."""

from __future__ import annotations

from typing import Final

from ml_debugger.estimation.learners import boosted_ridge, signed_ridge
from ml_debugger.estimation.learners.design import Design, Layout, Learner

__all__ = ["LEARNERS", "Design", "Layout", "Learner"]

LEARNERS: Final[dict[str, Learner]] = {
    "signed_ridge": signed_ridge.LEARNER,
    "boosted_ridge": boosted_ridge.LEARNER,
}
