"""The bars that the estimator has to clear on the development pairs, each as a figure and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks.error_detection.protocol import PRODUCT, Measured
from benchmarks.error_detection.reference import REFERENCE

__all__ = ["best_on_val", "check"]

Row = dict[str, Any]
Verdict = tuple[str, str, bool | None]

AHEAD_ON = 12 / 16
ABOVE_TRIAL = 0.010
BELOW_MSP = 0.005
ECE_ABOVE_CHANCE = 0.01
DRAWS = 4000


def check(measured: Measured) -> list[Verdict]:
    """(bar, what was found, met) for every bar; None where the development pairs are not all there."""
    figures = [row for row in measured.figures if row["pair"] in REFERENCE and row["val"] == "all"]
    gaps = [row for row in measured.comparisons if row["pair"] in REFERENCE and row["val"] == "all"]
    if not figures:
        return []
    complete = len({row["pair"] for row in figures}) == len(REFERENCE)
    found = [
        _mean_gain(gaps, "test"),
        _above_trial(figures, "test", 0),
        _ahead(gaps),
        _behind(gaps),
        _brier(gaps),
        _ece(figures),
        _below_msp(gaps),
        _above_trial(figures, "shift", 1),
        _mean_gain(gaps, "shift"),
        _chance_after_shuffling(measured),
    ]
    return [(bar, text, met if complete else None) for bar, text, met in found]


def best_on_val(rows: Iterable[Row]) -> list[float]:
    """AUROC of the baseline with the highest val AUROC, one per draw."""
    draws: dict[int, list[Row]] = {}
    for row in rows:
        if row["method"] != PRODUCT:
            draws.setdefault(row["draw"], []).append(row)
    return [max(own, key=lambda row: row["val_auroc"])["auroc"] for own in draws.values()]


def _above_trial(figures: list[Row], split: str, position: int) -> Verdict:
    own = [row for row in figures if row["split"] == split and row["method"] == PRODUCT]
    ours = np.mean([row["auroc"] for row in own])
    trial = np.mean([REFERENCE[row["pair"]].trial[position] for row in own])
    text = f"{ours:.4f} against {trial:.4f}, {ours - trial:+.4f}"
    return f"mean AUROC on {split} at least {ABOVE_TRIAL} above the trial's", text, bool(ours - trial >= ABOVE_TRIAL)


def _rows(gaps: list[Row], split: str, against: str, figure: str) -> list[Row]:
    wanted = {"split": split, "against": against, "figure": figure}
    return [row for row in gaps if all(row[name] == value for name, value in wanted.items())]


def _mean_gain(gaps: list[Row], split: str) -> Verdict:
    """The primary figure: mean gain in AUROC; bootstrap over pairs, each with its own sampling error."""
    own = _rows(gaps, split, "best on val", "auroc")
    values = np.array([row["value"] for row in own])
    errors = np.array([row["high"] - row["low"] for row in own]) / (2 * 1.96)
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(own), (DRAWS, len(own)))
    means = (values[picks] + errors[picks] * rng.normal(size=picks.shape)).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    text = f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
    return f"mean gain in AUROC on {split} over the best baseline on val, interval above zero", text, bool(low > 0)


def _ahead(gaps: list[Row]) -> Verdict:
    own = _rows(gaps, "test", "best on val", "auroc")
    ahead = sum(row["verdict"] > 0 for row in own)
    bar = f"significantly above the best baseline on val on at least {AHEAD_ON:.0%} of pairs"
    return bar, f"{ahead} of {len(own)}", ahead >= AHEAD_ON * len(own)


def _named_failures(rows: list[Row], fails: Callable[[Row], bool]) -> tuple[str, bool]:
    failing = [f"{row['pair']} ({row['value']:+.4f})" for row in rows if fails(row)]
    return ", ".join(failing) or "none", not failing


def _behind(gaps: list[Row]) -> Verdict:
    text, met = _named_failures(_rows(gaps, "test", "best on val", "auroc"), lambda row: row["verdict"] < 0)
    return "significantly below the best baseline on val on no pair", text, met


def _brier(gaps: list[Row]) -> Verdict:
    text, met = _named_failures(_rows(gaps, "test", "msp", "brier"), lambda row: row["verdict"] < 0)
    return "Brier significantly worse than calibrated MSP on no pair", text, met


def _ece(figures: list[Row]) -> Verdict:
    own = [row for row in figures if row["split"] == "test" and row["method"] == PRODUCT]
    gaps = [{"pair": row["pair"], "value": row["ece"] - row["ece_null95"]} for row in own]
    text, met = _named_failures(gaps, lambda row: row["value"] > ECE_ABOVE_CHANCE)
    return f"ECE at most {ECE_ABOVE_CHANCE} above the 95th percentile of calibrated labels", text, met


def _below_msp(gaps: list[Row]) -> Verdict:
    text, met = _named_failures(_rows(gaps, "shift", "msp", "auroc"), lambda row: row["value"] < -BELOW_MSP)
    return f"under shift AUROC more than {BELOW_MSP} below MSP on no pair", text, met


def _chance_after_shuffling(measured: Measured) -> Verdict:
    own = [row for row in measured.controls if row["control"] == "shuffled errors" and row["pair"] in REFERENCE]
    learned = [f"{row['pair']} (AUROC {row['test_auroc']:.3f})" for row in own if not row["fell_back"]]
    bar = "with shuffled errors the product falls back to the baseline on every pair"
    return bar, (", ".join(learned) or "none learned") if own else "not run", bool(own) and not learned
