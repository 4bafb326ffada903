"""Scored rows made up for tests of pools: like the held-out rows, or drifted."""

from __future__ import annotations

import numpy as np

from ml_debugger.estimation.numbers import sigmoid
from ml_debugger.estimation.pool import PoolSummary


def scores(log_odds):
    """Scored rows whose probabilities and confidences follow from the same log-odds."""
    rng = np.random.default_rng(len(log_odds))
    return {
        "error_proba": sigmoid(log_odds),
        "score": sigmoid(1.0 - log_odds),
        "support": rng.random(len(log_odds)),
    }


def summary(scored, wrong=None, outlier=None):
    made = PoolSummary()
    n_rows = len(scored["error_proba"])
    made.add(scored, np.zeros(n_rows, bool) if outlier is None else outlier, wrong)
    return made


def labelled(n_rows=2000, seed=0):
    """Rows whose probabilities are right, and whether each is wrong."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1.5, 1.5, n_rows)
    return scores(log_odds), rng.random(n_rows) < sigmoid(log_odds)


def drifted_by(amount, n_rows=2000, *, seed=7):
    """A pool whose true log-odds are further up than its scores say."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(-1.5 + amount, 1.5, n_rows)
    return scores(seen), rng.random(n_rows) < sigmoid(seen + 0.5 * amount)
