"""What the rows of the bank next to a unit say: whose class they are, and how near the nearest is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.bank import Bank
from ml_debugger.estimation.exact import to_unit_grid

__all__ = ["N_VOTES", "Looked", "look", "top_votes"]

N_VOTES = 3  # classes kept of the features' own vote
SQUARINGS = 4  # a row votes with ((1 + cosine) / 2) ** 16
FURTHER = 1  # and, more locally, with the 32nd power: it tells more, but holds less well under shift
NONE = 1e-30

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Looked:
    """What the neighbours of U units say.

    Attributes:
        against: ``(U,)`` share of the wide vote that is not for the predicted class.
        against_near: ``(U,)`` the same of the near vote.
        distance: ``(U,)`` 1 - the greatest cosine.
    """

    against: Float64
    against_near: Float64
    distance: Float64


def look(bank: Bank, points: Float64, label: Int64, masked: NDArray[Any] | None = None) -> Looked:
    """The vote of the bank's rows on the predicted class of U placed units.

    Args:
        bank: With at least one row.
        points: ``(U, P)`` placed units.
        label: ``(U,)`` predicted classes.
        masked: ``(U, R)`` rows that must not speak: the unit itself and its copies.
    """
    votes, nearest = _votes(bank, points, masked)
    edges = _edges(bank, label)
    flat = votes.reshape(-1)
    mass = np.empty((2, len(edges)))
    mass[0] = np.add.reduceat(flat, edges)
    for _ in range(FURTHER):
        np.multiply(flat, flat, out=flat)
    mass[1] = np.add.reduceat(flat, edges)
    own = mass[:, 1::3]
    wide, near = 1.0 - own / (mass[:, ::3] + own + mass[:, 2::3] + NONE)
    return Looked(wide, near, np.maximum(2.0 - 2.0 * nearest.astype(np.float64), 0.0))


def _edges(bank: Bank, label: Int64) -> Int64:
    """``(3 U,)`` where the parts of each line of votes begin: before the predicted class, of it, and behind it."""
    edges = bank.spans.take(np.minimum(label, len(bank.spans) - 1), axis=0)
    width = bank.voters.shape[1]
    edges += np.arange(0, len(label) * width, width)[:, None]
    return np.asarray(edges.reshape(-1))


def top_votes(bank: Bank, points: Float64, masked: NDArray[Any] | None = None) -> tuple[Int64, Float64]:
    """``(U, V)`` most voted classes, most voted first, and their shares; -1 and 0 where there are none."""
    votes, _ = _votes(bank, points, masked)
    mass = np.add.reduceat(votes, bank.starts + 1, axis=1).astype(np.float64)
    share = mass / (mass.sum(axis=1, keepdims=True) + NONE)
    count = min(N_VOTES, share.shape[1])
    order = np.argsort(-share, axis=1, kind="stable")[:, :count]
    classes, shares = np.full((len(share), N_VOTES), -1, dtype=np.int64), np.zeros((len(share), N_VOTES))
    classes[:, :count], shares[:, :count] = bank.classes[order], np.take_along_axis(share, order, axis=1)
    return classes, shares


def _votes(bank: Bank, points: Float64, masked: NDArray[Any] | None) -> tuple[Float32, Float32]:
    """``(U, W)`` weights of the rows, placed as in ``Bank.voters``, and ``(U,)`` (1 + cosine) / 2 of the nearest."""
    units = np.ones((len(points), points.shape[1] + 1), dtype=np.float32)
    units[:, :-1] = to_unit_grid(points)
    votes = units @ bank.voters
    if masked is not None:
        votes[:, 1 : len(bank.rows) + 1][masked] = 0.0
    nearest = votes.max(axis=1)
    for _ in range(SQUARINGS):
        np.multiply(votes, votes, out=votes)
    return votes, nearest
