"""A probe that reads features as a kernel machine does: ridge regression of the classes on similarities to landmarks.

The similarity is a power of the cosine of *lifted* vectors (a, c) / |(a, c)|: the direction plus a bounded length, of
the principal components and of the whitened space together. A kernel of distances goes to zero far away from the
data, and with it everything that the probe knows; this one does not, which is why it holds under shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.exact import UNIT_STEP, grid_step, to_grid
from ml_debugger.estimation.probes.choices import Choices
from ml_debugger.estimation.probes.sample import Sample, error_loss, fit_temperature

__all__ = ["MAX_LANDMARKS", "KernelProbe", "fit_kernel"]

MAX_LANDMARKS = 768
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)
N_FOLDS = 8
SQUARINGS = 2  # a similarity is ((1 + cosine) / 2) ** 4
BITS = 20  # of a similarity
CHUNK = 4096
JITTER = 1e-5

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class KernelProbe:
    """A fitted probe.

    Attributes:
        landmarks: ``(M, 2P + 2)`` float32 integers: lifted unit vectors.
        lifts: ``(2,)`` the constants that lift components and whitened space; lengths well below them matter, lengths
            beyond them hardly.
        shares: ``(2,)`` of the two spaces in the lifted vector.
        weights: ``(M, C)`` float64 integers.
        step: ``()`` what a product of integers is worth.
    """

    landmarks: Float32
    lifts: Float64
    shares: Float64
    weights: Float64
    step: Float64

    def similarities(
        self, components: Float64, points: Float64, masked: NDArray[Any] | None = None
    ) -> tuple[Float32, Float64]:
        """``(U, M)`` similarities, and ``(U,)`` 1 - the greatest cosine.

        Args:
            components: ``(U, P)`` principal components.
            points: ``(U, P)`` placed rows.
            masked: ``(U, M)`` landmarks that do not count for the distance: the unit itself and its copies.
        """
        similar = lifted(components, points, self.lifts, self.shares) @ self._targets
        nearest = (similar if masked is None else np.where(masked, np.float32(0.0), similar)).max(axis=1)
        for _ in range(SQUARINGS):
            np.multiply(similar, similar, out=similar)
        return similar, np.maximum(2.0 - 2.0 * nearest.astype(np.float64), 0.0)

    @cached_property
    def _targets(self) -> Float32:
        """``(2P + 3, M)``: a lifted unit vector with a 1 behind times this is (1 + cosine) / 2, exactly."""
        rows = self.landmarks * np.float32(UNIT_STEP**2 / 2.0)
        return np.ascontiguousarray(np.column_stack([rows, np.full(len(rows), 0.5, dtype=np.float32)]).T)

    def scores(self, similarities: Float32, choices: Choices) -> Float64:
        """``(U, T)`` class scores."""
        grid = similarities * np.float32(2.0**BITS)
        np.rint(grid, out=grid)
        scores = choices.product(grid.astype(np.float64), self._by_class)
        scores *= float(self.step)
        return scores

    @cached_property
    def _by_class(self) -> Float64:
        return np.ascontiguousarray(self.weights.T)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The fields by name, for saving."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> KernelProbe:
        """The probe whose fields these are."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def lifted(components: Float64, points: Float64, lifts: Float64, shares: Float64) -> Float32:
    """``(U, 2P + 3)`` float32: both vectors with a constant behind, together a unit vector in grid steps, and a 1."""
    n_rows, width = points.shape
    spaces = np.empty((2, n_rows, width))
    spaces[0], spaces[1] = components, points
    lengths = np.einsum("kij,kij->ki", spaces, spaces)
    lengths += (lifts * lifts)[:, None]
    factors = np.sqrt(shares)[:, None] / (np.sqrt(lengths, out=lengths) * UNIT_STEP)
    spaces *= factors[:, :, None]
    np.rint(spaces, out=spaces)
    factors *= lifts[:, None]
    np.rint(factors, out=factors)
    both = np.ones((n_rows, 2 * width + 3), dtype=np.float32)
    both[:, :width], both[:, width] = spaces[0], factors[0]
    both[:, width + 1 : -2], both[:, -2] = spaces[1], factors[1]
    return both


def place_landmarks(components: Float64, points: Float64) -> KernelProbe:
    """A probe that knows its landmarks but no class yet."""
    lifts, sharpness = [], []
    for vectors in (components, points):
        squares = (vectors**2).sum(axis=1)
        lift = float(np.sqrt(np.median(squares))) or 1.0
        unit = np.column_stack([vectors, np.full(len(vectors), lift)])[:800] / np.sqrt(squares + lift**2)[:800, None]
        apart = float(np.median(2.0 - 2.0 * unit[::2] @ unit[1::2].T)) if len(unit) > 1 else 1.0
        lifts.append(lift)
        sharpness.append(1.0 / max(apart, 1e-3))
    shares = np.array(sharpness) / sum(sharpness)
    return KernelProbe(
        landmarks=lifted(components, points, np.array(lifts), shares)[:, :-1],
        lifts=np.array(lifts),
        shares=shares,
        weights=np.zeros((len(points), 0)),
        step=np.array(1.0),
    )


def fit_kernel(
    start: KernelProbe, sample: Sample, similarities: Float32, known: tuple[Float32, Int64], own: Float32
) -> tuple[KernelProbe, Float64]:
    """The probe, and its out-of-fold scores ``(N, T)``.

    Penalty, and whether the rows that the network itself learned from count, are chosen by how well the out-of-fold
    scores tell errors.

    Args:
        start: With landmarks.
        sample: The held-out rows.
        similarities: ``(N, M)`` of them.
        known: ``(N', M)`` similarities and ``(N',)`` classes of the other rows; N' may be 0.
        own: ``(M, M)`` similarities of the landmarks.
    """
    folds = sample.folds(N_FOLDS)
    solver = _Solver(similarities, sample.truth, folds, sample.n_classes, known, own)
    compared = sample.compared()
    column = sample.choices.find(sample.truth)[compared]
    best = np.inf, 0.0, 1.0, 1.0
    for weight in (0.0, 1.0) if len(known[1]) else (0.0,):
        for penalty in PENALTIES:
            scores = _out_of_fold(solver, sample, similarities, compared, partial(solver.solve, weight, penalty))
            scale = fit_temperature(scores, column)
            loss = error_loss(scores * scale, sample.choices.own[compared], sample.wrong[compared])
            if loss < best[0]:
                best = loss, weight, penalty, scale
    _, weight, penalty, scale = best
    everything = np.arange(len(sample))
    scores = _out_of_fold(solver, sample, similarities, everything, partial(solver.solve, weight, penalty))
    coefficients = solver.solve(weight, penalty, None) * scale
    step = grid_step(float(np.abs(coefficients).max(initial=0.0)))
    fitted = replace(start, weights=to_grid(coefficients, step), step=np.array(step * 2.0**-BITS))
    return fitted, scores * scale


def _out_of_fold(solver: _Solver, sample: Sample, similarities: Float32, rows: Int64, solve: Any) -> Float64:
    result = np.empty((len(rows), sample.logits.shape[1]))
    for fold in solver.names:
        coefficients = solve(fold)
        inside = np.flatnonzero(solver.folds[rows] == fold)
        for part in np.array_split(inside, max(1, -(-len(inside) // CHUNK))):
            chosen = rows[part]
            result[part] = sample.choices.rows(chosen).take(similarities[chosen].astype(np.float64) @ coefficients)
    return result


class _Solver:
    """Ridge regression of centred one-hot classes from sums over rows, by fold, so that any fold can be left out."""

    def __init__(
        self,
        similarities: Float32,
        truth: Int64,
        folds: Int64,
        n_classes: int,
        known: tuple[Float32, Int64],
        own: Float32,
    ) -> None:
        self.folds, self.names = folds, np.unique(folds).tolist()
        # Rounding leaves the similarities of many landmarks in few dimensions a little off positive definite.
        self.own = (own.astype(np.float64) + own.T) / 2.0 + JITTER * len(own) * np.eye(len(own))
        self.known = _sums(*known, n_classes)
        self.parts = {fold: _sums(similarities[folds == fold], truth[folds == fold], n_classes) for fold in self.names}
        self.whole = [sum(part[position] for part in self.parts.values()) for position in range(3)]

    def solve(self, weight: float, penalty: float, without: int | None) -> Float64:
        """``(M, C)`` coefficients from all folds but one; ``weight``: of the rows that the network learned from."""
        from scipy.linalg import cho_factor, cho_solve

        gram, by_class, counts = (
            whole if without is None else whole - self.parts[without][position]
            for position, whole in enumerate(self.whole)
        )
        prior = (counts + 1.0) / (counts + 1.0).sum()
        target = by_class - np.outer(by_class.sum(axis=1), prior)
        left = gram + penalty * self.own
        if weight:
            left += weight * self.known[0]
            target += weight * (self.known[1] - np.outer(self.known[1].sum(axis=1), prior))
        return np.asarray(cho_solve(cho_factor(left, overwrite_a=True, check_finite=False), target, check_finite=False))


def _sums(similarities: Float32, truth: Int64, n_classes: int) -> list[Any]:
    """Gram matrix ``(M, M)``, sums by class ``(M, C)``, and rows by class ``(C,)``."""
    from scipy.sparse import csr_array

    width = similarities.shape[1]
    gram, by_class = np.zeros((width, width)), np.zeros((n_classes, width))
    for start in range(0, len(truth), CHUNK):
        part, classes = similarities[start : start + CHUNK].astype(np.float64), truth[start : start + CHUNK]
        gram += part.T @ part
        one_hot = csr_array(
            (np.ones(len(classes)), classes, np.arange(len(classes) + 1)), shape=(len(classes), n_classes)
        )
        by_class += one_hot.T @ part
    return [gram, by_class.T, np.bincount(truth, minlength=n_classes).astype(np.float64)]
