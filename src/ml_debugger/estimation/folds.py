"""Folds that keep rows of one group together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["grouped_folds", "split_groups"]

Int64 = NDArray[np.int64]


def grouped_folds(groups: NDArray[Any], n_folds: int, *, strata: NDArray[Any] | None = None, seed: int = 0) -> Int64:
    """``(N,)`` fold of each row, 0..n_folds-1: rows of a group share one, and folds hold about as many groups each.

    Args:
        groups: ``(N,)`` group of each row, of any sortable type.
        n_folds: Number of folds; some stay empty where there are fewer groups.
        strata: ``(N,)`` 0/1, such as errors; groups that hold a 1 are spread evenly over the folds.
        seed: Of the shuffle.
    """
    names, member = np.unique(groups, return_inverse=True)
    marked = np.zeros(len(names), dtype=bool)
    if strata is not None:
        marked[member[np.asarray(strata) > 0]] = True
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(marked[order], kind="stable")]
    fold = np.empty(len(names), dtype=np.int64)
    fold[order] = np.arange(len(names)) % n_folds
    return fold[member]


def split_groups(groups: NDArray[Any], share: float, *, seed: int = 0) -> NDArray[np.bool_]:
    """``(N,)`` True for the rows of about ``share`` of the groups, drawn at random."""
    names, member = np.unique(groups, return_inverse=True)
    chosen = np.zeros(len(names), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(names))[: round(share * len(names))]] = True
    return np.asarray(chosen[member])
