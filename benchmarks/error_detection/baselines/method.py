"""What a published score is to the benchmark, and how one is tuned on val rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.error_detection import metrics
from benchmarks.error_detection.baselines.geometry import Geometry
from benchmarks.error_detection.traces import Split

__all__ = ["Method", "Rows", "Score", "best_of", "plain"]

FloatArray = NDArray[np.floating]
Score = Callable[[Split], FloatArray]
"""Error scores ``(N,)`` of a split; larger = more likely wrong."""
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Rows:
    """What a method may look at: the train rows, the val rows, and the model's last layer.

    Attributes:
        geometry: What follows from the train rows alone; shared between methods, so each part is computed once.
        seed: For methods that draw random numbers.
        notes: Settings chosen, by method. One that is there already is kept by methods that learn from val rows, so
            that the folds of cross-fitting share it and their scores stay comparable.
    """

    geometry: Geometry
    val: Split
    seed: int = 0
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def train(self) -> Split:
        """The bank rows."""
        return self.geometry.train

    @cached_property
    def n_classes(self) -> int:
        """Width of the logits."""
        return self.train.logits.shape[1]


@dataclass(frozen=True)
class Method:
    """One published score.

    Attributes:
        fit: From the rows it may see to the score, tuned.
        source: Authors, venue, year.
        cross_fit: It learns many parameters from the val rows: its scores of these rows are taken out of fold.
        is_proba: The score is the log-odds of a probability of its own, not calibrated further.
    """

    fit: Callable[[Rows], Score]
    source: str
    cross_fit: bool = False
    is_proba: bool = False


def plain(score: Score) -> Callable[[Rows], Score]:
    """A score without parameters."""
    return lambda rows: score


def best_of(rows: Rows, candidates: Sequence[T], make: Callable[[T], Score], name: str) -> Score:
    """The candidate setting with the lowest AURC on the val rows, the first of equals; noted under ``name``.

    AURC is what Cattelan & Silva (UAI 2024) tune for.
    """
    scores = [make(candidate) for candidate in candidates]
    risks = [metrics.aurc(score(rows.val), rows.val.errors) for score in scores]
    chosen = int(np.argmin(risks))
    rows.notes[name] = str(candidates[chosen])
    return scores[chosen]
