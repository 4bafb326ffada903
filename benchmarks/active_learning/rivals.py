"""The strategies ours are measured against, written here from their papers and independent of the product's code.

Each takes what the present model says of the pool and of the labelled inputs, and returns positions in the pool.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.active_learning.learner import Outputs

__all__ = ["CONTROL", "RIVALS", "badge_reference", "entropy", "k_centre", "margin", "random"]

IntArray = NDArray[np.int64]
Rival = Callable[[Outputs, Outputs, int, np.random.Generator], IntArray]

CONTROL = "random"


def random(pool: Outputs, labelled: Outputs, n: int, rng: np.random.Generator) -> IntArray:
    """Uniform: the control."""
    return rng.permutation(len(pool.proba))[:n]


def entropy(pool: Outputs, labelled: Outputs, n: int, rng: np.random.Generator) -> IntArray:
    """Highest entropy of the prediction first (Settles, "Active learning literature survey", 2009)."""
    score = -(pool.proba * np.log(np.maximum(pool.proba, 1e-300))).sum(axis=1)
    return np.argsort(-score, kind="stable")[:n]


def margin(pool: Outputs, labelled: Outputs, n: int, rng: np.random.Generator) -> IntArray:
    """Smallest gap between the two likeliest classes first (Scheffer et al., IDA 2001)."""
    ordered = np.sort(pool.proba, axis=1)
    return np.argsort(ordered[:, -1] - ordered[:, -2], kind="stable")[:n]


def k_centre(pool: Outputs, labelled: Outputs, n: int, rng: np.random.Generator) -> IntArray:
    """Each pick is the farthest from everything labelled or picked (core-set: Sener and Savarese, ICLR 2018)."""
    nearest = np.full(len(pool.features), np.inf)
    for row in labelled.features:
        np.minimum(nearest, ((pool.features - row) ** 2).sum(axis=1), out=nearest)
    picked = []
    for _ in range(n):
        picked.append(int(nearest.argmax()))
        np.minimum(nearest, ((pool.features - pool.features[picked[-1]]) ** 2).sum(axis=1), out=nearest)
        nearest[picked] = -np.inf
    return np.array(picked, np.int64)


def badge_reference(pool: Outputs, labelled: Outputs, n: int, rng: np.random.Generator) -> IntArray:
    """k-means++ over the gradients of the last layer, formed in full (BADGE: Ash et al., ICLR 2020).

    As the authors' code: the first centre is the longest gradient, each further one is drawn in proportion to its
    squared distance to the nearest centre.
    """
    residual = pool.proba.copy()
    residual[np.arange(len(residual)), residual.argmax(axis=1)] -= 1
    gradient = (residual[:, :, None] * pool.features[:, None, :]).reshape(len(residual), -1).astype(np.float32)
    picked = [int((gradient**2).sum(axis=1).argmax())]
    nearest = np.full(len(gradient), np.inf)
    squares = (gradient.astype(np.float64) ** 2).sum(axis=1)
    while len(picked) < n:
        row = picked[-1]
        distance = np.maximum(squares + squares[row] - 2 * (gradient @ gradient[row]), 0)
        nearest = np.minimum(nearest, distance)
        nearest[picked] = 0
        if nearest.sum() <= 0:
            free = np.setdiff1d(np.arange(len(gradient)), picked)
            return np.concatenate([picked, rng.permutation(free)[: n - len(picked)]]).astype(np.int64)
        picked.append(int(rng.choice(len(gradient), p=nearest / nearest.sum())))
    return np.array(picked, np.int64)


RIVALS: dict[str, Rival] = {
    CONTROL: random,
    "entropy": entropy,
    "margin": margin,
    "k_centre": k_centre,
    "badge_reference": badge_reference,
}
