"""Which classes a probe looks at: all of them, or with very many those that the network itself puts first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALL_CLASSES", "TOP_CLASSES", "Choices", "choose", "error_odds", "log_mass"]

ALL_CLASSES = 128  # up to here every class is looked at
TOP_CLASSES = 10  # beyond, the predicted class and those with the greatest logits besides

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Choices:
    """Classes looked at for U units.

    Attributes:
        classes: ``(U, T)`` int64, the predicted class first; None for all C in order.
        own: ``(U,)`` column of the predicted class.
    """

    classes: Int64 | None
    own: Int64

    def rows(self, chosen: NDArray[Any]) -> Choices:
        """Those of some of the units."""
        return Choices(None if self.classes is None else self.classes[chosen], self.own[chosen])

    def take(self, values: NDArray[Any]) -> NDArray[Any]:
        """``(U, T)`` of ``(U, C)``."""
        return values if self.classes is None else np.take_along_axis(values, self.classes, axis=1)

    def product(self, rows: NDArray[Any], by_class: NDArray[Any]) -> NDArray[Any]:
        """``(U, T)`` of ``rows (U, M)`` and a line of weights per class ``(C, M)``, of the classes looked at only."""
        if self.classes is None:
            return np.asarray(rows @ by_class.T)
        return np.asarray(np.matmul(by_class.take(self.classes, axis=0), rows[:, :, None])[:, :, 0])

    def find(self, truth: Int64) -> Int64:
        """``(U,)`` column of a class; -1 where nobody looks at it."""
        if self.classes is None:
            return truth
        hits = self.classes == truth[:, None]
        return np.where(hits.any(axis=1), hits.argmax(axis=1), -1)


def choose(logits: NDArray[Any], label: Int64) -> Choices:
    """The classes to look at.

    Args:
        logits: ``(U, C)`` finite.
        label: ``(U,)`` predicted classes.
    """
    if logits.shape[1] <= ALL_CLASSES:
        return Choices(None, label)
    left = np.array(logits, order="C")
    flat, starts = left.reshape(-1), np.arange(0, left.size, left.shape[1])
    classes = np.empty((len(label), TOP_CLASSES), dtype=np.int64)
    classes[:, 0] = label
    for column in range(1, TOP_CLASSES):
        flat[starts + classes[:, column - 1]] = -np.inf
        left.argmax(axis=1, out=classes[:, column])
    return Choices(classes, np.zeros(len(label), dtype=np.int64))


def log_mass(scores: NDArray[Any], own: Int64) -> tuple[Float64, Float64]:
    """Log of the softmax mass outside the class in column ``own``, and its score; up to one constant.

    Args:
        scores: ``(..., U, T)``.
        own: ``(U,)``.

    Returns:
        Both ``(..., U)``.
    """
    others = np.array(scores, order="C")
    flat = others.reshape(-1)
    index = np.arange(0, flat.size, scores.shape[-1]).reshape(scores.shape[:-1]) + own
    mine = flat[index].astype(np.float64, copy=False)
    flat[index] = -np.inf
    best = others.max(axis=-1)
    small = np.empty(scores.shape, dtype=np.float32)
    np.subtract(others, best[..., None], out=small, casting="same_kind")
    mass = np.exp(small, out=small).sum(axis=-1)
    rest = np.log(mass, dtype=np.float64)
    rest += best
    return rest, mine


def error_odds(scores: NDArray[Any], own: Int64) -> Float64:
    """``(U,)`` log((1 - p) / p) of the softmax probability p of the class in column ``own``.

    In log-odds nothing saturates: a probability of 1 in float32 would lose the ranking of the confident.
    """
    rest, mine = log_mass(scores, own)
    return np.asarray(rest - mine)
