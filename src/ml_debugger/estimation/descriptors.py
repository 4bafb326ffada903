"""What is measured about one prediction: each descriptor is oriented so that larger means more likely wrong.

Logit descriptors are computed in float64 log-odds: a float32 softmax saturates at 1 and loses the ranking of the
confident.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.bank import POINT_STEP, RANGE, Bank
from ml_debugger.estimation.blocks import in_blocks
from ml_debugger.estimation.exact import UNIT_STEP, to_grid, to_unit_grid

__all__ = ["CLASS_DESCRIPTORS", "N_VOTES", "Described", "Descriptor", "describe", "error_log_odds"]

N_VOTES = 3  # classes kept of the features' own vote
TEMPERATURE = 0.05
FAR = 1e6  # squared distance to a class that the bank has never seen
TINY = 1e-3

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor: ``sign`` turns the raw quantity so that larger = more likely wrong; ``text`` says what it is."""

    name: str
    sign: int
    text: str


CLASS_DESCRIPTORS: Final = tuple(
    Descriptor(*entry)
    for entry in (
        ("msp", 1, "log-odds that the softmax probability of the predicted class is wrong (Hendrycks & Gimpel 2017)"),
        ("margin", -1, "probability of the predicted class minus the best other"),
        ("logit_margin", -1, "logit of the predicted class minus the best other"),
        ("entropy", 1, "entropy of the softmax"),
        ("gini", 1, "1 - sum of squared probabilities (DOCTOR, Granese et al. 2021)"),
        ("gen", 1, "generalised entropy of the top 10 probabilities (Liu et al. 2023)"),
        ("energy", -1, "log-sum-exp of the logits (Liu et al. 2020)"),
        ("max_logit", -1, "largest logit"),
        ("logit_norm", -1, "norm of the centred logits"),
        ("p_norm_2", -1, "largest centred logit over their 2-norm (Cattelan & Silva 2024)"),
        ("p_norm_4", -1, "largest centred logit over their 4-norm"),
        ("third", 1, "log probability of the third class"),
        (
            "mahalanobis",
            1,
            "log distance to the mean of the predicted class, whitened within classes (Lee et al. 2018)",
        ),
        ("nearest_class", 1, "log distance to the nearest class mean"),
        ("overall_distance", 1, "log distance to the mean of all rows"),
        ("relative_mahalanobis", 1, "distance to the predicted class minus distance to all rows (Ren et al. 2021)"),
        ("centroid_trust", 1, "log ratio of the distances to the predicted and the nearest other class mean"),
        ("centroid_vote", 1, "1 where the nearest class mean is not that of the predicted class"),
        ("nearest_distance", 1, "cosine distance to the nearest row (Sun et al. 2022)"),
        (
            "trust",
            1,
            "log ratio of the distances to the nearest row of the predicted and of any other class (Jiang 2018)",
        ),
        ("vote_against", 1, "share of the kernel vote of all rows that is not for the predicted class"),
        ("vote_second", 1, "share of the vote for the best other class by logit"),
        (
            "neighbour_errors",
            1,
            "log ratio of the distances to the nearest row and to the nearest on which the model was wrong",
        ),
        ("residual", 1, "log norm of the features outside the principal subspace"),
        ("vim", 1, "that norm minus the energy (Wang et al. 2022)"),
        ("nn_guide", -1, "similarity of the nearest row times the energy (Park et al. 2023)"),
        ("norm", -1, "log norm of the standardised features"),
    )
)


@dataclass(frozen=True, slots=True)
class Described:
    """Descriptors of U units.

    Attributes:
        descriptors: ``(U, K)`` float64, in the order of the task's table.
        vote_classes: ``(U, V)`` int64, the classes that the features vote for, most voted first; -1 where there are
            fewer.
        vote_shares: ``(U, V)`` float64, their shares of the vote.
    """

    descriptors: Float64
    vote_classes: Int64
    vote_shares: Float64


def describe(bank: Bank, vectors: NDArray[Any], logits: NDArray[Any], label: Int64) -> Described:
    """Descriptors of U classified units; the same bits for a unit whatever the batch it comes in.

    Args:
        bank: Reference statistics.
        vectors: ``(U, D)`` finite features, of the kind that the bank was built from.
        logits: ``(U, C)`` finite logits, C >= 2.
        label: ``(U,)`` predicted classes, 0..C-1.
    """

    def block(vectors: NDArray[Any], logits: NDArray[Any], label: Int64) -> tuple[NDArray[Any], ...]:
        scores = _LogitView(logits.astype(np.float64), label)
        columns = _logit_columns(scores)
        geometry, vote_classes, vote_shares = _geometry_columns(bank, vectors.astype(np.float32), scores)
        raw = np.stack([*columns, *geometry], axis=1)
        return raw * _SIGNS, vote_classes, vote_shares

    return Described(*in_blocks(block, vectors, logits, label))


def error_log_odds(logits: NDArray[Any], label: Int64) -> Float64:
    """``(U,)`` log((1 - p) / p) of the softmax probability p of the predicted class: the baseline of every comparison.

    Args:
        logits: ``(U, C)`` finite logits, C >= 2.
        label: ``(U,)`` predicted classes.
    """

    def block(logits: NDArray[Any], label: Int64) -> tuple[NDArray[Any], ...]:
        return (_LogitView(logits.astype(np.float64), label).log_odds,)

    return np.asarray(in_blocks(block, logits, label)[0])


_SIGNS = np.array([float(descriptor.sign) for descriptor in CLASS_DESCRIPTORS])
_RANGE = np.arange(4096)


class _LogitView:
    """Quantities of ``(U, C)`` logits that several descriptors share."""

    def __init__(self, logits: Float64, label: Int64) -> None:
        rows = _RANGE[: len(label)]
        self.rows, self.label, self.logits = rows, label, logits
        self.own = logits[rows, label]
        others = logits.copy()
        others[rows, label] = -np.inf
        self.second = others.argmax(axis=1)
        self.best_other = others[rows, self.second]
        shifted = np.exp(others - self.best_other[:, None])
        rest = self.best_other + np.log(shifted.sum(axis=1))
        self.log_odds: Float64 = rest - self.own
        self.energy = np.logaddexp(rest, self.own)
        self.probabilities = np.exp(logits - self.energy[:, None])


def _logit_columns(view: _LogitView) -> list[Float64]:
    p, logits = view.probabilities, view.logits
    top = _largest(p, min(10, p.shape[1]))
    centred = logits - logits.mean(axis=1, keepdims=True)
    squares = centred * centred
    norm = np.sqrt(squares.sum(axis=1))
    peak = centred.max(axis=1)
    return [
        view.log_odds,
        p[view.rows, view.label] - p[view.rows, view.second],
        view.own - view.best_other,
        (p * (view.energy[:, None] - logits)).sum(axis=1),
        1.0 - (p * p).sum(axis=1),
        ((top * (1.0 - top) + 1e-30) ** 0.1).sum(axis=1),
        view.energy,
        np.maximum(view.own, view.best_other),
        norm,
        peak / (norm + 1e-12),
        peak / (np.sqrt(np.sqrt((squares * squares).sum(axis=1))) + 1e-12),
        np.log(top[:, min(2, top.shape[1] - 1)] + 1e-12),
    ]


def _largest(values: Float64, count: int) -> Float64:
    """The ``count`` largest values of each row, largest first."""
    if values.shape[1] > 4 * count:
        values = np.partition(values, values.shape[1] - count, axis=1)[:, -count:]
    return np.ascontiguousarray(np.sort(values, axis=1)[:, ::-1][:, :count])


def _geometry_columns(bank: Bank, vectors: NDArray[Any], view: _LogitView) -> tuple[list[Any], Int64, Float64]:
    standard = (vectors - bank.mean) * bank.scale
    size = np.einsum("ij,ij->i", standard, standard, dtype=np.float64)
    feature_step, projection_step, unwhiten_step, overall_step = bank.steps
    grid = to_grid(standard, feature_step, int(np.log2(RANGE / feature_step)))
    point = to_grid((grid @ bank.projection) * (feature_step * projection_step), POINT_STEP)
    own, near, other, nearest_is_own = _class_distances(bank, point, view)
    overall = _squared_length((point @ bank.overall) * (overall_step * POINT_STEP))
    residual = _residual(bank, point, size, unwhiten_step * POINT_STEP)
    votes = _Votes(bank, point, view)
    log_own = np.log(own + TINY)
    columns = [
        log_own,
        np.log(near + TINY),
        np.log(overall + TINY),
        own - overall,
        log_own - np.log(other + TINY),
        1.0 - nearest_is_own,
        1.0 - votes.nearest,
        votes.trust,
        1.0 - votes.own,
        votes.second,
        votes.errors,
        np.log(residual + TINY),
        residual - view.energy,
        votes.nearest * view.energy,
        0.5 * np.log(size + TINY),
    ]
    return columns, votes.classes, votes.shares


def _squared_length(vectors: Float64) -> Float64:
    return np.asarray(np.einsum("ij,ij->i", vectors, vectors))


def _class_distances(bank: Bank, point: Float64, view: _LogitView) -> tuple[Float64, Float64, Float64, Float64]:
    """Squared distances to the predicted, the nearest and the nearest other class; whether the nearest is predicted."""
    lengths = _squared_length(point)[:, None] + _squared_length(bank.means)
    squared = (lengths - 2.0 * (point @ bank.means.T)) * POINT_STEP**2
    squared[:, ~bank.known] = FAR
    own = squared[view.rows, view.label]
    squared[view.rows, view.label] = FAR
    other = squared.min(axis=1)
    return own, np.minimum(own, other), other, (own <= other).astype(np.float64)


def _residual(bank: Bank, point: Float64, size: Float64, step: float) -> Float64:
    if not bank.truncated:
        return np.zeros(len(point))
    return np.sqrt(np.maximum(size - _squared_length((point @ bank.unwhiten) * step), 0.0))


class _Votes:
    """What the neighbouring rows say about a point: the nearest row of each class, and a kernel vote over all rows."""

    def __init__(self, bank: Bank, point: Float64, view: _LogitView) -> None:
        similarity = bank.rows @ to_unit_grid(point).T  # (rows, U): reductions then run over whole vectors
        wrong = _cosine(similarity[bank.wrong].max(axis=0, initial=-(UNIT_STEP**-2)))
        top = _by_class(similarity, bank).max(axis=1)
        best = _cosine(top.T)
        self.nearest: Float64 = best.max(axis=1)
        kernel = np.subtract(similarity, top.max(axis=0), out=similarity)
        kernel *= np.float32(UNIT_STEP**2 / TEMPERATURE)
        np.exp(kernel, out=kernel)
        mass = np.ascontiguousarray(_by_class(kernel, bank).sum(axis=1).T).astype(np.float64)
        share = mass / mass.sum(axis=1, keepdims=True)
        slot, is_known = _slots(bank, view.label)
        same = np.where(is_known, best[view.rows, slot], -1.0)
        self.own = np.where(is_known, share[view.rows, slot], 0.0)
        second, is_second_known = _slots(bank, view.second)
        self.second = np.where(is_second_known, share[view.rows, second], 0.0)
        self.classes, self.shares = _top_votes(share, bank.classes)
        best[view.rows, slot] = np.where(is_known, -1.0, best[view.rows, slot])
        self.trust = np.log(1.0 - same + TINY) - np.log(1.0 - best.max(axis=1) + TINY)
        self.errors = np.log(1.0 - self.nearest + TINY) - np.log(1.0 - wrong + TINY)


def _by_class(values: NDArray[np.float32], bank: Bank) -> NDArray[np.float32]:
    return values.reshape(len(bank.classes), -1, values.shape[1])


def _cosine(products: NDArray[np.float32]) -> Float64:
    """Products of grid vectors as cosines; rounding to the grid may leave them a little above 1."""
    return np.minimum(np.ascontiguousarray(products).astype(np.float64) * UNIT_STEP**2, 1.0)


def _slots(bank: Bank, wanted: Int64) -> tuple[Int64, NDArray[np.bool_]]:
    """Position of each wanted class among the classes of the bank, and whether it is there."""
    slot = np.searchsorted(bank.classes, wanted).clip(max=len(bank.classes) - 1)
    return slot, bank.classes[slot] == wanted


def _top_votes(share: Float64, classes: Int64) -> tuple[Int64, Float64]:
    count = min(N_VOTES, share.shape[1])
    rows = _RANGE[: len(share), None]
    order = np.argpartition(-share, count - 1, axis=1)[:, :count]
    order = np.take_along_axis(order, np.argsort(-share[rows, order], axis=1, kind="stable"), axis=1)
    top_classes = np.full((len(share), N_VOTES), -1, dtype=np.int64)
    top_shares = np.zeros((len(share), N_VOTES))
    top_classes[:, :count], top_shares[:, :count] = classes[order], share[rows, order]
    return top_classes, top_shares
