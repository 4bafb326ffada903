"""What a learner gets, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Design", "Learner"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Design:
    """Inputs of a learner for N rows.

    Attributes:
        descriptors: ``(N, K)`` float64, each oriented so that larger = more likely wrong.
        baseline: ``(N,)`` float64 log-odds of the baseline score.
        categories: ``(N,)`` int64 in 0..n_categories-1, such as the predicted class; learners may fit an offset for
            each.
        n_categories: Number of categories.
    """

    descriptors: Float64
    baseline: Float64
    categories: Int64
    n_categories: int

    def rows(self, chosen: NDArray[Any]) -> Design:
        """The design of some of the rows."""
        return Design(self.descriptors[chosen], self.baseline[chosen], self.categories[chosen], self.n_categories)


@dataclass(frozen=True, slots=True)
class Learner:
    """A learner is two functions; its fitted state is plain arrays.

    Attributes:
        fit: (design, target ``(N,)`` 0/1, folds ``(N,)``) -> (arrays, out-of-fold log-odds ``(N,)``).
            Hyper-parameters are chosen
            on those folds.
        log_odds: (arrays, design) -> ``(U,)`` log-odds. NumPy only; called with blocks of one size.
    """

    fit: Callable[[Design, NDArray[Any], Int64], tuple[Arrays, Float64]]
    log_odds: Callable[[Mapping[str, NDArray[Any]], Design], Float64]
