"""Negative controls: what must not work does not work."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.error_detection import metrics
from benchmarks.error_detection.product import Evaluated, Traced, evaluate
from benchmarks.error_detection.traces import Pair, Split

__all__ = ["control_rows", "duplicates", "same_ids", "shuffled_errors"]


def control_rows(pair: Pair, seed: int = 0) -> list[dict[str, Any]]:
    """One record per control."""
    honest = evaluate([Traced.of(pair.train, "train"), Traced.of(pair.val, "val")])
    controls = (shuffled_errors(pair, seed), same_ids(pair), duplicates(pair))
    return [_record(pair, "none", honest, pair.reported["test"])] + [
        _record(pair, name, evaluated, test) for name, evaluated, test in controls
    ]


def shuffled_errors(pair: Pair, seed: int) -> tuple[str, Evaluated, Split]:
    """Which rows are wrong is shuffled, on val and test: nothing can be learned, and the product must fall back.

    A row that becomes wrong is annotated with the runner-up class.
    """
    rng = np.random.default_rng(seed)
    val, test = (_shuffle(split, rng) for split in (pair.val, pair.reported["test"]))
    return "shuffled errors", evaluate([Traced.of(pair.train, "train"), Traced.of(val, "val")]), test


def same_ids(pair: Pair) -> tuple[str, Evaluated, Split]:
    """The val rows are in the bank too, under the same ids: the figures of the Result must not become optimistic."""
    val = Traced.of(pair.val, "val")
    both = Traced(pair.val, "train", val.ids)
    return "val rows in the bank", evaluate([Traced.of(pair.train, "train"), both, val]), pair.reported["test"]


def duplicates(pair: Pair) -> tuple[str, Evaluated, Split]:
    """Every val row is there twice under different ids: copies must not end up on both sides of a fold."""
    twice = pair.val.take(np.r_[np.arange(len(pair.val)), np.arange(len(pair.val))])
    return "copies in val", evaluate([Traced.of(pair.train, "train"), Traced.of(twice, "val")]), pair.reported["test"]


def _record(pair: Pair, control: str, evaluated: Evaluated, test: Split) -> dict[str, Any]:
    """What the Result says of itself (out of fold), against the truth on test."""
    proba = evaluated.estimate(test).error_proba
    return {
        "pair": pair.name,
        "control": control,
        "fell_back": evaluated.fell_back,
        "result_auroc": evaluated.metrics["auroc"],
        "test_auroc": metrics.auroc(proba, test.errors),
        "result_brier": evaluated.metrics["brier"],
        "test_brier": metrics.brier(proba, test.errors),
        "test_ece": metrics.ece(proba, test.errors),
    }


def _shuffle(split: Split, rng: np.random.Generator) -> Split:
    wrong = rng.permutation(split.errors) == 1
    runner_up = np.argpartition(split.logits, -2, axis=1)[:, -2]
    second = np.where(runner_up == split.predicted, split.logits.argmin(axis=1), runner_up)
    return split.relabel(np.where(wrong, second, split.predicted))
