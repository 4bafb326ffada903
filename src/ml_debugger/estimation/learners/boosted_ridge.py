"""The ridge, corrected by small trees where the rows suffice to learn what no line can say.

Gradient boosting (Friedman, 2001) with Newton leaves, started from the ridge's log-odds: with no tree it is the ridge.
How many trees are kept is chosen on the same folds as the strength of the ridge, none among the choices. Rows and
columns are drawn anew for each tree (Friedman, 2002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.blocks import BLOCK
from ml_debugger.estimation.learners import signed_ridge
from ml_debugger.estimation.learners.design import Arrays, Design, Float64, Int64, Learner
from ml_debugger.estimation.numbers import log_loss, sigmoid

__all__ = ["LEARNER"]

FEWEST: Final = 100  # errors, and right rows, below which trees follow noise
DEPTH: Final = 3
MOST_TREES: Final = 240
STEP: Final = 10  # numbers of trees are tried in steps
PATIENCE: Final = 5  # so many steps without gain, and no more are tried
RATE: Final = 0.1
SHRINKAGE: Final = 5.0
LEAST_WEIGHT: Final = 3.0  # of the rows in a leaf: p (1 - p) each
BINS: Final = 32
ROWS: Final = 0.5
COLUMNS: Final = 0.4

_INNER: Final = 2**DEPTH - 1


@dataclass(frozen=True, slots=True)
class _Trees:
    """T complete trees of `DEPTH` levels; node n sends what is above its threshold to 2n + 2, the rest to 2n + 1.

    Attributes:
        column: ``(T, 2**DEPTH - 1)`` int64 column of each inner node.
        threshold: ``(T, 2**DEPTH - 1)``; infinite where nothing is told apart.
        leaf: ``(T, 2**DEPTH)`` log-odds.
    """

    column: Int64
    threshold: Float64
    leaf: Float64

    def parts(self, table: Float64) -> Float64:
        """``(U, T)`` what each tree adds for each row."""
        flat, width = np.ascontiguousarray(table).ravel(), table.shape[1]
        row, tree = width * np.arange(len(table))[:, None], _INNER * np.arange(len(self.column))
        node = np.zeros((len(table), len(self.column)), dtype=np.int64)
        for _ in range(DEPTH):
            at = tree + node
            above = flat.take(row + self.column.take(at)) > self.threshold.take(at)
            node = 2 * node + 1 + above
        leaf = (_INNER + 1) * np.arange(len(self.column))
        return np.asarray(self.leaf.take(leaf + node - _INNER))


def fit(design: Design, target: NDArray[Any], folds: Int64) -> tuple[Arrays, Float64]:
    """Arrays and out-of-fold log-odds; the number of trees is the one with the lowest out-of-fold log loss."""
    wrong = np.asarray(target, dtype=np.float64)
    arrays, start = signed_ridge.fit(design, target, folds)
    trees, out_of_fold = _no_trees(), start
    if min(wrong.sum(), len(wrong) - wrong.sum()) >= FEWEST:
        table = design.table()
        count, out_of_fold = _chosen(table, wrong, folds, start)
        if count:
            trees = _Grower(table, wrong, start, np.ones(len(wrong), dtype=bool)).grow(count)
    return {**arrays, "column": trees.column, "threshold": trees.threshold, "leaf": trees.leaf}, out_of_fold


def log_odds(arrays: Mapping[str, NDArray[Any]], design: Design) -> Float64:
    """``(U,)`` uncalibrated log-odds."""
    table = design.table()
    ready = arrays if "test" in arrays else prepare(arrays)
    return np.asarray(signed_ridge.log_odds_of(arrays, table) + _sums(ready, table))


def prepare(arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays, and which tests the trees make: each of them once, by column.

    ``tested`` are the columns that have a test; ``first`` says where their tests begin, and where the last ones end, in
    ``above``, their thresholds; ``test (2**DEPTH - 1, T)`` is which of these each inner node makes.
    """
    nodes = np.stack([arrays["column"].T.ravel(), arrays["threshold"].T.ravel()], axis=1)
    tests, test = np.unique(nodes, axis=0, return_inverse=True)
    tested, first = np.unique(tests[:, 0].astype(np.int64), return_index=True)
    return {
        **arrays,
        "tested": tested,
        "first": np.append(first, len(tests)),
        "above": tests[:, 1],
        "test": test.reshape(_INNER, -1),
    }


def _sums(arrays: Mapping[str, NDArray[Any]], table: Float64) -> Float64:
    """``(U,)`` sums over `_Trees.parts`, of prepared arrays.

    All tests are made first, since trees share them; which leaf a row comes to then follows from bits.
    """
    columns, above, test = np.ascontiguousarray(table.T), arrays["above"][:, None], arrays["test"]
    first = arrays["first"].tolist()
    passed = np.empty((len(above), len(table)), dtype=bool)
    for column, start, end in zip(arrays["tested"].tolist(), first, first[1:], strict=False):
        np.greater(columns[column], above[start:end], out=passed[start:end])
    bits = passed.view(np.uint8).take(test.ravel(), axis=0).reshape(*test.shape, len(table))
    path = list[NDArray[np.uint8]]()
    for depth in range(DEPTH):
        level = bits[2**depth - 1 : 2 ** (depth + 1) - 1]
        for went_right in path:  # of the nodes of a level, the half that the tests before lead to
            left, right = level[: len(level) // 2], level[len(level) // 2 :]
            level = left ^ (went_right & (left ^ right))
        path.append(level[0])
    leaf = path[0]
    for went_right in path[1:]:
        leaf = 2 * leaf + went_right
    place, leaf = (_INNER + 1) * np.arange(test.shape[1]), np.ascontiguousarray(leaf.T)
    some = range(0, len(leaf), BLOCK)  # at a time, so that what they add stays small
    sums = [arrays["leaf"].take(place + leaf[low : low + BLOCK]).sum(axis=1) for low in some]
    return np.concatenate([np.empty(0), *sums])


def _no_trees() -> _Trees:
    return _Trees(np.zeros((0, _INNER), dtype=np.int64), np.zeros((0, _INNER)), np.zeros((0, _INNER + 1)))


def _chosen(table: Float64, wrong: Float64, folds: Int64, start: Float64) -> tuple[int, Float64]:
    """How many trees, and the out-of-fold log-odds with so many; growing stops where more of them only do harm."""
    parts = [(folds == fold, _Grower(table, wrong, start, folds != fold)) for fold in np.unique(folds).tolist()]
    path, losses = [start], [float(log_loss(sigmoid(start), wrong).mean())]
    while len(losses) <= min(MOST_TREES // STEP, int(np.argmin(losses)) + PATIENCE):
        found = path[-1].copy()
        for inside, grower in parts:
            found[inside] += grower.grow(STEP).parts(table[inside]).sum(axis=1)
        path.append(found)
        losses.append(float(log_loss(sigmoid(found), wrong).mean()))
    best = int(np.argmin(losses))
    return best * STEP, path[best]


class _Grower:
    """Trees for some of the rows, one after the other."""

    def __init__(self, table: Float64, wrong: Float64, start: Float64, chosen: NDArray[np.bool_]) -> None:
        self._table, self._wrong, self._linear = table[chosen], wrong[chosen], start[chosen]
        self._usable, self._edges, self._binned = _binned(self._table)
        self._random = np.random.default_rng(0)

    def grow(self, count: int) -> _Trees:
        """So many more; none where no column tells rows apart."""
        if not len(self._usable):
            return _no_trees()
        grown = [self._next() for _ in range(count)]
        return _Trees(*(np.concatenate([getattr(one, name) for one in grown]) for name in _Trees.__slots__))

    def _next(self) -> _Trees:
        size, width = self._binned.shape
        rows = self._random.choice(size, max(1, round(ROWS * size)), replace=False)
        columns = self._random.choice(width, max(1, round(COLUMNS * width)), replace=False)
        share = sigmoid(self._linear[rows])
        slope, weight = self._wrong[rows] - share, share * (1.0 - share)
        column, cut, leaf = _tree(self._binned[np.ix_(rows, columns)], slope, weight)
        threshold = np.where(cut >= BINS, np.inf, self._edges[columns[column], np.minimum(cut, BINS - 2)])
        tree = _Trees(self._usable[columns[column]][None], threshold[None], RATE * leaf[None])
        self._linear += tree.parts(self._table)[:, 0]
        return tree


def _binned(table: Float64) -> tuple[Int64, Float64, NDArray[np.uint8]]:
    """Columns that differ (also from each other turned round), their cuts ``(K', BINS - 1)``, and each value's bin."""
    seen, usable = set[bytes](), []
    for number, column in enumerate(table.T):
        if column.min() < column.max() and column.tobytes() not in seen and (-column).tobytes() not in seen:
            usable.append(number)
            seen.add(column.tobytes())
    levels = np.arange(1, BINS) / BINS
    edges = np.stack([np.quantile(table[:, number], levels, method="lower") for number in usable] or [levels])
    binned = [np.searchsorted(cuts, table[:, number]) for cuts, number in zip(edges, usable, strict=False)]
    return np.array(usable, dtype=np.int64), edges, np.array(binned, dtype=np.uint8).T


def _tree(binned: NDArray[np.uint8], slope: Float64, weight: Float64) -> tuple[Int64, Int64, Float64]:
    """Column and greatest bin below of each inner node (`BINS` where it tells nothing apart), and leaves."""
    n_columns = binned.shape[1]
    column, cut = np.zeros(_INNER, dtype=np.int64), np.full(_INNER, BINS)
    node = np.zeros(len(binned), dtype=np.int64)
    place = binned + BINS * np.arange(n_columns)
    every = np.arange(len(binned))
    for level in range(DEPTH):
        first, size = 2**level - 1, 2**level
        shape = size, n_columns, BINS
        key = (place + ((node - first) * n_columns * BINS)[:, None]).ravel()
        sums = (np.repeat(values, n_columns) for values in (slope, weight))
        gained = _gains(*(np.bincount(key, values, minlength=np.prod(shape)).reshape(shape) for values in sums))
        best = gained.argmax(axis=1)
        found = gained[np.arange(size), best] > 0.0
        column[first : first + size] = best // (BINS - 1)
        cut[first : first + size] = np.where(found, best % (BINS - 1), BINS)
        node = 2 * node + 1 + (binned[every, column[node]] > cut[node])
    leaves = (np.bincount(node - _INNER, values, minlength=_INNER + 1) for values in (slope, weight))
    total, heavy = leaves
    return column, cut, total / (heavy + SHRINKAGE)


def _gains(slope: Float64, weight: Float64) -> Float64:
    """``(nodes, K * (BINS - 1))`` what splits gain, from sums ``(nodes, K, BINS)``; 0 where a side is too light."""
    below, light = np.cumsum(slope, axis=2)[:, :, :-1], np.cumsum(weight, axis=2)[:, :, :-1]
    total, heavy = slope.sum(axis=2, keepdims=True), weight.sum(axis=2, keepdims=True)
    above, rest = total - below, heavy - light
    gained = below**2 / (light + SHRINKAGE) + above**2 / (rest + SHRINKAGE) - total**2 / (heavy + SHRINKAGE)
    return np.where((light >= LEAST_WEIGHT) & (rest >= LEAST_WEIGHT), gained, 0.0).reshape(len(slope), -1)


LEARNER: Final = Learner(fit, log_odds, prepare)
