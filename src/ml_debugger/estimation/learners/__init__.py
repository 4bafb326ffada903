"""LEARNERS: what turns descriptors into error log-odds. One file per learner, one entry here."""

from __future__ import annotations

from typing import Final

from ml_debugger.estimation.learners import anchored_ridge
from ml_debugger.estimation.learners.design import Design, Learner

__all__ = ["LEARNERS", "Design", "Learner"]

LEARNERS: Final[dict[str, Learner]] = {
    "anchored_ridge": anchored_ridge.LEARNER,
}
