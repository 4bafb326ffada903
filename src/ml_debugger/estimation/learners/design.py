"""What a learner gets, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Design", "Layout", "Learner"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Layout:
    """What is known beforehand about the columns of a table of descriptors.

    Attributes:
        anchors: Columns whose mean a learner starts from and is shrunk towards; empty: the baseline.
        cautious: Columns that keep their meaning when data shift; empty: no column is known to.
        cautious_anchors: The anchors where only those are used.
        margin: By how many standard errors the learned log loss must be below the baseline's for the learned score to
            be adopted. Shrunk towards the baseline and fitted on few errors, it needs none.
        mixed: Whether strengths of shrinkage are averaged by how well they do, instead of the best being taken: where
            errors are few, the best is so by chance.
    """

    anchors: tuple[int, ...] = ()
    cautious: tuple[int, ...] = ()
    cautious_anchors: tuple[int, ...] = ()
    margin: float = 1.0
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Design:
    """Inputs of a learner for N rows.

    Attributes:
        descriptors: ``(N, K)`` float64, each oriented so that larger = more likely wrong.
        baseline: ``(N,)`` float64 log-odds of the baseline score.
        layout: What is known about the columns.
    """

    descriptors: Float64
    baseline: Float64
    layout: Layout = field(default_factory=Layout)

    def rows(self, chosen: NDArray[Any]) -> Design:
        """That of some of the rows."""
        return Design(self.descriptors[chosen], self.baseline[chosen], self.layout)

    def table(self) -> Float64:
        """``(N, 1 + K)``: the baseline and the descriptors."""
        return np.concatenate([self.baseline[:, None], self.descriptors], axis=1)


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner is two functions; its fitted state is plain arrays.

    Attributes:
        fit: (design, target ``(N,)`` 0/1, folds ``(N,)``) -> (arrays, out-of-fold log-odds ``(N,)``).
            Hyper-parameters are chosen on those folds.
        log_odds: (arrays, design) -> ``(U,)`` log-odds. NumPy only; each row by itself; called with whole blocks.
        prepare: arrays -> those that ``log_odds`` is quicker with; called once per model.
    """

    fit: Callable[[Design, NDArray[Any], Int64], tuple[Arrays, Float64]]
    log_odds: Callable[[Mapping[str, NDArray[Any]], Design], Float64]
    prepare: Callable[[Mapping[str, NDArray[Any]]], Arrays] = dict
