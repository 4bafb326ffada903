"""Where the features of labelled rows live: the space in which distances are taken, and a sample of rows by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.exact import UNIT_STEP, grid_step, round_to_grid, to_grid, to_length, to_unit_grid

__all__ = ["MAX_COMPONENTS", "MAX_ROWS", "POINT_STEP", "Bank", "build_bank", "with_rows"]

MAX_COMPONENTS = 48
MAX_ROWS = 2048
EXACT_WIDTH = 2048  # wider features get a randomised PCA: the exact one needs a D x D matrix
SHRINKAGE = 0.05
CHUNK = 8192
RANGE = 64.0  # standard deviations; features beyond are cut
POINT_STEP = 2.0**-10  # grid of the whitened space, whose unit is the spread within a class
# A row of standardised features and an axis are rounded to integers. Their lengths stay below these, so that by
# Cauchy-Schwarz no partial sum of their product exceeds the 2**24 up to which float32 holds every integer.
ROW_LENGTH = 2.0**13
AXIS_LENGTH = 2.0**11
PADDING = 16  # lines of votes are as long as a multiple of this: processors like that
LONGEST = 8.0  # times the length that a row has on average; longer rows are shortened

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Bank:
    """Standardisation, PCA, within-class whitening, and a sample of rows by class.

    Factors of products are integers on a grid, see :mod:`~ml_debugger.estimation.exact`.

    Attributes:
        mean: ``(D,)`` float32 feature means.
        scale: ``(D,)`` float32, 1 / standard deviation; 0 for constant features, which are thus left out.
        axes: ``(D, P)`` float32 integers, directions of the whitened space among the standardised features; P <= 48.
        lengths: ``(P,)`` float64, of those directions.
        unwhiten: ``(P, P)`` float64 integers, from the whitened space to the principal components.
        unwhiten_step: ``()`` its grid step.
        classes: ``(S,)`` int64, those that have a row.
        starts: ``(S,)`` int64, where their rows begin.
        rows: ``(R, P)`` float32 integers: unit vectors of the whitened space, class by class; R <= 2,048.
        is_held: ``(R,)`` bool, which of them are held-out rows: labelled, but nothing that the network learned from.
    """

    mean: Float32
    scale: Float32
    axes: Float32
    lengths: Float64
    unwhiten: Float64
    unwhiten_step: Float64
    classes: Int64
    starts: Int64
    rows: Float32
    is_held: NDArray[np.bool_]

    @property
    def width(self) -> int:
        """D, the width of the vectors that the bank was built from."""
        return len(self.mean)

    @cached_property
    def projection(self) -> Float64:
        """``(D, P)`` from standardised features to the whitened space."""
        return np.asarray(self.axes * self.lengths)

    @cached_property
    def ends(self) -> Int64:
        """``(S,)`` where the rows of each class end."""
        return np.append(self.starts[1:], len(self.rows))

    @cached_property
    def voters(self) -> Float32:
        """``(P + 1, W)``: a unit vector in grid steps with a 1 behind times this is (1 + cosine) / 2, exactly.

        Row r is in column r + 1. The first column and the last ones are zero: no vote, but no class begins or ends at
        the edge of a line of votes.
        """
        count, width = self.rows.shape
        voters = np.zeros((width + 1, -(-(count + 2) // PADDING) * PADDING), dtype=np.float32)
        np.multiply(self.rows.T, np.float32(UNIT_STEP**2 / 2.0), out=voters[:-1, 1 : count + 1])
        voters[-1, 1 : count + 1] = 0.5
        return voters

    @cached_property
    def _steps(self) -> Float32:
        """``(D,)`` factors that take centred features to grid steps."""
        return np.asarray(self.scale / self._row_step, dtype=np.float32)

    @cached_property
    def spans(self) -> Int64:
        """``(L + 1, 3)``: where a line of votes begins, and where each class up to the greatest begins and ends in it.

        A class without rows spans nothing but a zero; so does the last line, which is for all greater classes.
        """
        voters = self.voters.shape[1]
        spans = np.tile(np.array([0, voters - 1, voters - 1]), (int(self.classes.max(initial=0)) + 2, 1))
        spans[self.classes, 1], spans[self.classes, 2] = self.starts + 1, self.ends + 1
        return spans

    @property
    def _row_step(self) -> float:
        return LONGEST * float(np.sqrt(self.width)) / ROW_LENGTH

    @cached_property
    def _to_points(self) -> Float64:
        return np.asarray(self.lengths * (self._row_step / POINT_STEP))

    @cached_property
    def _limit(self) -> float:
        return ROW_LENGTH - 0.5 * float(np.sqrt(self.width))

    @cached_property
    def _to_components(self) -> float:
        return float(self.unwhiten_step) * POINT_STEP

    def place(self, vectors: NDArray[Any]) -> Float64:
        """``(B, P)`` integers, the whitened space in steps of ``POINT_STEP``, of ``(B, D)`` finite vectors.

        Rows beyond ``LONGEST`` times the usual length keep their direction and get that length.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            steps = vectors - self.mean
            steps *= self._steps
            self._shorten(steps, vectors)
        np.rint(steps, out=steps)
        return round_to_grid((steps @ self.axes) * self._to_points)

    def _shorten(self, steps: Float32, vectors: NDArray[Any]) -> None:
        flat = steps.reshape(-1)
        if np.vdot(flat, flat) <= 0.9 * self._limit**2:  # all rows together are not too long for one
            return
        beyond = ~(np.einsum("ij,ij->i", steps, steps) <= self._limit**2)
        if beyond.any():
            exact = (vectors[beyond].astype(np.float64) - self.mean) * self._steps
            steps[beyond] = to_length(exact, self._limit)

    def to_components(self, points: Float64) -> Float64:
        """``(B, P)`` principal components of placed rows."""
        components = points @ self.unwhiten
        components *= self._to_components
        return np.asarray(components)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The fields by name, for saving."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Bank:
        """The bank whose fields these are."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def build_bank(vectors: NDArray[Any], truth: Int64, *, seed: int = 0) -> Bank:
    """The space that N labelled rows span, with a sample of them.

    Args:
        vectors: ``(N, D)`` finite features (or logits where the model shows no features); N >= 1.
        truth: ``(N,)`` annotated classes.
        seed: For the sample of rows and, above 2048 features, the randomised PCA (Halko et al. 2011).
    """
    mean, scale = _standardisation(vectors)
    components = _principal_axes(vectors, mean, scale, seed)
    reduced = _project(vectors, mean, scale, components)
    whiten, unwhiten = _whitening(reduced, truth)
    projection = components @ whiten
    length = np.maximum(np.linalg.norm(projection, axis=0), 1e-12)
    axes = to_length(projection.T, AXIS_LENGTH - 0.5 * np.sqrt(len(mean))).T
    step = grid_step(float(np.abs(unwhiten).max()))
    bank = Bank(
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        axes=np.ascontiguousarray(axes),
        lengths=length / np.maximum(np.linalg.norm(axes, axis=0), 1.0),
        unwhiten=to_grid(unwhiten, step),
        unwhiten_step=np.array(step),
        classes=np.zeros(0, dtype=np.int64),
        starts=np.zeros(0, dtype=np.int64),
        rows=np.zeros((0, len(unwhiten)), dtype=np.float32),
        is_held=np.zeros(0, dtype=bool),
    )
    kept = np.random.default_rng(seed).permutation(len(truth))[:MAX_ROWS]
    return with_rows(bank, bank.place(vectors[kept]), truth[kept], np.zeros(len(kept), dtype=bool))[0]


def with_rows(bank: Bank, points: Float64, truth: Int64, is_held: NDArray[np.bool_]) -> tuple[Bank, Int64]:
    """The bank with R other rows, and the order that they have in it."""
    order = np.argsort(truth, kind="stable").astype(np.int64)
    classes, starts = np.unique(truth[order], return_index=True)
    rows = to_unit_grid(points[order])
    classes, starts = classes.astype(np.int64), starts.astype(np.int64)
    return replace(bank, classes=classes, starts=starts, rows=rows, is_held=is_held[order]), order


def _chunks(n_rows: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, n_rows)) for start in range(0, n_rows, CHUNK)]


def _standardisation(vectors: NDArray[Any]) -> tuple[Float64, Float64]:
    total = np.zeros(vectors.shape[1])
    for part in _chunks(len(vectors)):
        total += vectors[part].astype(np.float64).sum(axis=0)
    mean = total / len(vectors)
    squares = np.zeros_like(mean)
    for part in _chunks(len(vectors)):
        squares += ((vectors[part].astype(np.float64) - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / len(vectors))
    varies = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return mean, np.where(varies, 1.0 / np.where(varies, deviation, 1.0), 0.0)


def _standardised(vectors: NDArray[Any], mean: Float64, scale: Float64) -> Float64:
    return np.asarray(np.clip((vectors - mean) * scale, -RANGE, RANGE))


def _project(vectors: NDArray[Any], mean: Float64, scale: Float64, axes: Float64) -> Float64:
    return np.concatenate([_standardised(vectors[part], mean, scale) @ axes for part in _chunks(len(vectors))])


def _principal_axes(vectors: NDArray[Any], mean: Float64, scale: Float64, seed: int) -> Float64:
    """``(D, P)`` orthonormal axes of greatest variance."""
    width = vectors.shape[1]
    if width <= EXACT_WIDTH:
        variances, axes = np.linalg.eigh(_covariance(vectors, mean, scale, None))
    else:
        basis = _randomised_range(vectors, mean, scale, seed)
        variances, inner = np.linalg.eigh(_covariance(vectors, mean, scale, basis))
        axes = basis @ inner
    variances, axes = variances[::-1], axes[:, ::-1]
    rank = int((variances > 1e-6 * variances[0]).sum()) if variances[0] > 0 else 0
    return np.asarray(axes[:, : max(1, min(MAX_COMPONENTS, rank))])


def _covariance(vectors: NDArray[Any], mean: Float64, scale: Float64, basis: Float64 | None) -> Float64:
    """Covariance of the standardised rows, within the columns of ``basis`` where given."""
    width = vectors.shape[1] if basis is None else basis.shape[1]
    total = np.zeros((width, width))
    for part in _chunks(len(vectors)):
        rows = _standardised(vectors[part], mean, scale)
        rows = rows if basis is None else rows @ basis
        total += rows.T @ rows
    return np.asarray(total / len(vectors))


def _randomised_range(vectors: NDArray[Any], mean: Float64, scale: Float64, seed: int) -> Float64:
    basis = np.random.default_rng(seed).standard_normal((vectors.shape[1], MAX_COMPONENTS + 16))
    for _ in range(3):
        total = np.zeros_like(basis)
        for part in _chunks(len(vectors)):
            rows = _standardised(vectors[part], mean, scale)
            total += rows.T @ (rows @ basis)
        basis = np.linalg.qr(total)[0]
    return basis


def _whitening(reduced: Float64, truth: Int64) -> tuple[Float64, Float64]:
    """Map to the space in which classes have unit covariance, and back."""
    _, member, counts = np.unique(truth, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(member, column, len(counts)) for column in reduced.T], axis=1)
    residuals = reduced - (sums / counts[:, None])[member]
    everything, within = (rows.T @ rows / len(rows) for rows in (reduced, residuals))
    if np.trace(within) <= 1e-8 * np.trace(everything):  # one row per class: no spread to learn from
        within = everything
    return _roots(within)


def _roots(covariance: Float64) -> tuple[Float64, Float64]:
    """Symmetric inverse square root and square root of a covariance shrunk towards the sphere."""
    level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    values, vectors = np.linalg.eigh(covariance + SHRINKAGE * level * np.eye(len(covariance)))
    roots = np.sqrt(np.maximum(values, 1e-12 * level))
    return (vectors / roots) @ vectors.T, (vectors * roots) @ vectors.T
