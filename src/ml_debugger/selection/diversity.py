"""Spreading picks over feature space: seeding of k-means, covering by balls, exact duplicates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["cover", "distinct_rows", "gradient_spread", "reduce_width", "represent", "spread"]

FloatArray = NDArray[np.floating]
IndexArray = NDArray[np.int64]

_REDUCED_WIDTH = 48
_OVERSAMPLING = 8
_BLOCK_ROWS = 1024
# Neighbours that make a point typical, as in TypiClust.
_TYPICAL = 20
# Rounds of k-means: on real pools the picks hardly change after these.
_ROUNDS = 8
# Points that one ball may hold at most: keeps the neighbour lists small.
_LARGEST_BALL = 400


def distinct_rows(features: FloatArray) -> IndexArray:
    """Positions of the first of each set of bitwise equal rows of ``(N, D)``, ascending."""
    if not features.size:
        return np.arange(min(1, len(features)))
    rows = np.ascontiguousarray(features)
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    return np.sort(np.unique(keys, return_index=True)[1]).astype(np.int64)


def reduce_width(features: FloatArray, width: int = _REDUCED_WIDTH) -> FloatArray:
    """``(N, min(D, width))`` principal components of ``(N, D)`` features.

    Randomised range finder: Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 2011.
    """
    if not len(features):
        return features
    x = features - features.mean(axis=0)
    sketch = width + _OVERSAMPLING
    if x.shape[1] <= width or len(x) <= sketch:
        plain: FloatArray = x
        return plain
    basis, _ = np.linalg.qr(x @ np.random.default_rng(0).standard_normal((x.shape[1], sketch)).astype(x.dtype))
    left, values, _ = np.linalg.svd(basis.T @ x, full_matrices=False)
    reduced: FloatArray = (basis @ left[:, :width]) * values[:width]
    return reduced


def unit_rows(x: FloatArray) -> FloatArray:
    """Rows scaled to length one; rows of zeros stay."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    scaled: FloatArray = x / np.where(length > 0, length, 1)
    return scaled


def spread(x: FloatArray, n: int, rng: np.random.Generator) -> IndexArray:
    """``(min(n, N),)`` positions of rows of ``(N, K)`` far from each other: the seeding of k-means++.

    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007. The first is the longest row.
    """
    return _seed_means(np.einsum("ij,ij->i", x, x), lambda row: x @ x[row], n, rng)


def gradient_spread(residual: FloatArray, features: FloatArray, n: int, rng: np.random.Generator) -> IndexArray:
    """``spread`` over the outer products of ``(N, C)`` residuals and ``(N, D)`` features, which are never formed.

    The inner product of two outer products is the product of the inner products.
    """
    squares = np.einsum("ij,ij->i", residual, residual) * np.einsum("ij,ij->i", features, features)
    return _seed_means(squares, lambda row: (residual @ residual[row]) * (features @ features[row]), n, rng)


def _seed_means(
    squares: FloatArray,
    inner: Callable[[int], FloatArray],
    n: int,
    rng: np.random.Generator,
    weight: FloatArray | None = None,
) -> IndexArray:
    """k-means++ seeding given squared lengths ``(N,)`` and a row of inner products at a time.

    The first is the longest row; with weights ``(N,)`` it is the heaviest, and the others are drawn by weight too.
    """
    n = min(n, len(squares))
    picked = np.empty(n, np.int64)
    free = np.ones(len(squares), np.bool_)
    nearest = np.full(len(squares), np.inf)
    chosen = int((squares if weight is None else weight).argmax()) if n else 0
    for position in range(n):
        picked[position] = chosen
        free[chosen] = False
        distance = squares + squares[chosen] - 2 * inner(chosen)
        nearest = np.where(free, np.minimum(nearest, np.maximum(distance, 0)), 0)
        chosen = _draw(nearest if weight is None else nearest * weight, free, rng)
    return picked


def _draw(weights: FloatArray, free: NDArray[np.bool_], rng: np.random.Generator) -> int:
    """A position drawn by weight; the first free one when no weight is left."""
    running = np.cumsum(weights, dtype=np.float64)
    total = running[-1]
    if total <= 0:
        return int(free.argmax())
    point = min(rng.random() * total, np.nextafter(total, 0))
    return int(np.searchsorted(running, point, side="right"))


def represent(x: FloatArray, weight: FloatArray, n: int, rng: np.random.Generator) -> IndexArray:
    """``(min(n, N),)`` positions, one per cluster of ``(N, K)`` rows of some weight: the row nearest its centre.

    Weighted k-means with n clusters, seeded by k-means++: Zhdanov, "Diverse mini-batch active learning", 2019. Heavy
    clusters come first; where clusters are empty, the heaviest rows that are left fill up.
    """
    n = min(n, len(x))
    if n == 0:
        return np.empty(0, np.int64)
    centres = x[_seed_means(np.einsum("ij,ij->i", x, x), lambda row: x @ x[row], n, rng, weight)]
    for _ in range(_ROUNDS):
        owner, _ = _nearest_centre(x, centres)
        members = sparse.csr_array((weight, (owner, np.arange(len(x)))), shape=(n, len(x)))
        mass = np.asarray(members.sum(axis=1)).ravel()
        held = mass > 0
        centres[held] = (members @ x)[held] / mass[held, None]
    owner, squares = _nearest_centre(x, centres)
    mass = np.bincount(owner, weight, minlength=n)
    order = np.lexsort((squares, owner, -mass[owner]))
    picked = order[np.r_[True, np.diff(owner[order]) != 0]]
    heaviest = np.argsort(-weight, kind="stable")
    rest = heaviest[~np.isin(heaviest, picked)]
    return np.concatenate([picked, rest[: n - len(picked)]])


def _nearest_centre(x: FloatArray, centres: FloatArray) -> tuple[IndexArray, FloatArray]:
    """``(N,)`` which of the centres is nearest, and its squared distance."""
    owner, squares = np.empty(len(x), np.int64), np.empty(len(x))
    for start in range(0, len(x), _BLOCK_ROWS):
        block = _squared_distances(x[start : start + _BLOCK_ROWS], centres)
        owner[start : start + len(block)] = block.argmin(axis=1)
        squares[start : start + len(block)] = block.min(axis=1)
    return owner, squares


def cover(x: FloatArray, labelled: FloatArray, n: int) -> IndexArray:
    """``(min(n, N),)`` positions whose balls cover most of ``(N, K)`` beyond what labelled ``(R, K)`` rows cover.

    Greedy maximum coverage: Yehuda et al., "Active learning through a covering lens" (ProbCover), NeurIPS 2022; a
    ball that holds many points marks a typical one: Hacohen et al., "Active learning on a budget" (TypiClust), ICML
    2022. The radius is the median
    distance to the 20th neighbour (less when n is large); when all is covered it is halved.
    """
    n = min(n, len(x))
    picked = np.empty(0, np.int64)
    if n == 0:
        return picked
    size = int(np.clip(len(x) // n, 1, _TYPICAL))
    radius = _median_reach(x, size)
    to_labelled = _nearest(x, labelled)
    for scale in (1.0, 0.5, 0.25):
        balls = _balls(x, radius * scale)
        covered = to_labelled <= radius * scale
        for row in picked:
            covered[balls.indices[balls.indptr[row] : balls.indptr[row + 1]]] = True
        picked = np.concatenate([picked, _cover_greedily(balls, ~covered, n - len(picked))])
    rest = np.setdiff1d(np.arange(len(x)), picked)
    return np.concatenate([picked, rest[: n - len(picked)]])


def _cover_greedily(balls: sparse.csr_array, uncovered: NDArray[np.bool_], n: int) -> IndexArray:
    """Up to n positions, each with the most uncovered points in its ball; stops when everything is covered."""
    gain = balls @ uncovered.astype(np.int64)
    picked: list[int] = []
    while len(picked) < n and gain.max() > 0:
        row = int(gain.argmax())
        picked.append(row)
        ball = balls.indices[balls.indptr[row] : balls.indptr[row + 1]]
        newly = ball[uncovered[ball]]
        uncovered[newly] = False
        gain -= np.asarray(balls[newly].sum(axis=0), dtype=np.int64).ravel()
    return np.array(picked, np.int64)


def _squared_distances(x: FloatArray, others: FloatArray) -> FloatArray:
    squares = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", others, others) - 2 * (x @ others.T)
    clipped: FloatArray = np.maximum(squares, 0)
    return clipped


def _nearest(x: FloatArray, others: FloatArray) -> FloatArray:
    """``(N,)`` distance to the nearest of the others; infinite where there are none."""
    nearest = np.full(len(x), np.inf)
    for start in range(0, len(x) if len(others) else 0, _BLOCK_ROWS):
        block = _squared_distances(x[start : start + _BLOCK_ROWS], others)
        nearest[start : start + _BLOCK_ROWS] = np.sqrt(block.min(axis=1))
    return nearest


def _median_reach(x: FloatArray, size: int) -> float:
    """Median distance to the ``size``-th neighbour, over evenly spaced rows."""
    probes = x[np.linspace(0, len(x) - 1, min(len(x), _BLOCK_ROWS)).astype(np.int64)]
    position = min(size, len(x) - 1)
    return float(np.sqrt(np.median(np.partition(_squared_distances(probes, x), position, axis=1)[:, position])))


def _balls(x: FloatArray, radius: float) -> sparse.csr_array:
    """``(N, N)`` sparse and symmetric: which points lie within the radius of which; every point within its own.

    Where a ball is crowded only the nearest count, so that memory stays in proportion to N.
    """
    pieces = []
    for start in range(0, len(x), _BLOCK_ROWS):
        squares = _squared_distances(x[start : start + _BLOCK_ROWS], x)
        rows = np.arange(len(squares))
        squares[rows, rows + start] = 0
        near = squares <= radius**2
        crowded = np.flatnonzero(near.sum(axis=1) > _LARGEST_BALL)
        if len(crowded):
            reach = np.partition(squares[crowded], _LARGEST_BALL, axis=1)[:, _LARGEST_BALL]
            near[crowded] = squares[crowded] < reach[:, None]
            near[crowded, crowded + start] = True
        pieces.append(sparse.csr_array(near, dtype=np.int32))
    balls = sparse.csr_array(sparse.vstack(pieces, format="csr"))
    return sparse.csr_array(balls.maximum(balls.T))
