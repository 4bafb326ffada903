"""Reference statistics of the labelled rows that a model was trained on: where its features live, class by class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.exact import BITS, grid_step, to_grid, to_unit_grid

__all__ = ["MAX_COMPONENTS", "MAX_ROWS", "Bank", "build_bank"]

MAX_COMPONENTS = 48
MAX_ROWS = 2048
EXACT_WIDTH = 2048  # wider features get a randomised PCA: the exact one needs a D x D matrix
SHRINKAGE = 1e-2
CHUNK = 8192
RANGE = 64.0  # standard deviations; features beyond are cut
POINT_STEP = 2.0**-10  # grid of the whitened space, whose unit is the spread within a class
HEAD_ROOM = 13  # 2**13 terms fit beside two factors of BITS bits

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bank:
    """Standardisation, PCA, within-class whitening, class means, and a sample of rows by class.

    Factors of products are integers on a grid, see :mod:`~ml_debugger.estimation.exact`.

    Attributes:
        mean: ``(D,)`` float32 feature means.
        scale: ``(D,)`` float32, 1 / standard deviation; 0 for constant features, which are thus left out.
        projection: ``(D, P)`` float64 integers, from standardised features to the whitened space; P <= 48.
        steps: ``(4,)`` grid steps of standardised features, projection, ``unwhiten`` and ``overall``.
        unwhiten: ``(P, P)`` float64 integers, back from the whitened to the PCA space.
        overall: ``(P, P)`` float64 integers, from the whitened space to the one where all rows together have unit
            covariance.
        means: ``(C, P)`` float64 integers, class means in the whitened space; zeros for classes without a row.
        known: ``(C,)`` bool, which classes have a row.
        classes: ``(S,)`` int64, those classes.
        rows: ``(S * M, P)`` float32 integers: unit vectors, M for each class; S * M <= 2048 unless S is larger.
        wrong: positions in ``rows`` on which the model was wrong.
        truncated: ``()`` bool, whether PCA left variance out, so that the residual says something.
    """

    mean: Float32
    scale: Float32
    projection: Float64
    steps: Float64
    unwhiten: Float64
    overall: Float64
    means: Float64
    known: NDArray[np.bool_]
    classes: Int64
    rows: Float32
    wrong: Int64
    truncated: NDArray[np.bool_]

    @property
    def width(self) -> int:
        """D, the width of the vectors that the bank was built from."""
        return len(self.mean)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The fields by name, for saving."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Bank:
        """The bank whose fields these are."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def build_bank(
    vectors: NDArray[Any], truth: Int64, is_error: NDArray[np.bool_], n_classes: int, *, seed: int = 0
) -> Bank:
    """Reference statistics of N labelled rows.

    Args:
        vectors: ``(N, D)`` finite features (or logits where the model shows no features); N >= 1.
        truth: ``(N,)`` annotated classes, 0..C-1.
        is_error: ``(N,)`` whether the model was wrong on the row.
        n_classes: C.
        seed: For the sample of rows and, above 2048 features, the randomised PCA (Halko et al. 2011).
    """
    mean, scale = _standardisation(vectors)
    axes, truncated = _principal_axes(vectors, mean, scale, seed)
    reduced = _project(vectors, mean, scale, axes)
    centres = _class_means(reduced, truth, n_classes)
    whiten, unwhiten, overall = _whitening(reduced, reduced - centres[truth])
    kept = _sample_by_class(truth, seed)
    factors = [axes @ whiten, unwhiten, overall]
    bits = _feature_bits(vectors.shape[1])
    steps = [grid_step(RANGE, bits), *(grid_step(float(np.abs(factor).max())) for factor in factors)]
    projection, unwhiten, overall = (to_grid(factor, step) for factor, step in zip(factors, steps[1:], strict=True))
    known = np.zeros(n_classes, dtype=bool)
    known[truth] = True
    return Bank(
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        projection=np.ascontiguousarray(projection),
        steps=np.array(steps),
        unwhiten=unwhiten,
        overall=overall,
        means=to_grid(centres @ whiten, POINT_STEP),
        known=known,
        classes=np.unique(truth).astype(np.int64),
        rows=to_unit_grid(reduced[kept] @ whiten),
        wrong=np.flatnonzero(is_error[kept]).astype(np.int64),
        truncated=np.array(truncated),
    )


def _feature_bits(width: int) -> int:
    """Bits for features: a few less than ``BITS`` where more than 2**13 of them are summed."""
    return BITS - max(0, int(np.ceil(np.log2(width))) - HEAD_ROOM)


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


def _principal_axes(vectors: NDArray[Any], mean: Float64, scale: Float64, seed: int) -> tuple[Float64, bool]:
    """``(D, P)`` orthonormal axes of greatest variance, and whether they leave variance out."""
    width = vectors.shape[1]
    if width <= EXACT_WIDTH:
        variances, axes = np.linalg.eigh(_covariance(vectors, mean, scale, None))
    else:
        basis = _randomised_range(vectors, mean, scale, seed)
        variances, inner = np.linalg.eigh(_covariance(vectors, mean, scale, basis))
        axes = basis @ inner
    variances, axes = variances[::-1], axes[:, ::-1]
    rank = int((variances > 1e-8 * variances[0]).sum()) if variances[0] > 0 else 0
    n_kept = max(1, min(MAX_COMPONENTS, rank))
    return axes[:, :n_kept], rank > n_kept


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


def _class_means(reduced: Float64, truth: Int64, n_classes: int) -> Float64:
    counts = np.bincount(truth, minlength=n_classes)
    sums = np.stack([np.bincount(truth, column, n_classes) for column in reduced.T], axis=1)
    return np.asarray(sums / np.maximum(counts, 1)[:, None])


def _whitening(reduced: Float64, residuals: Float64) -> tuple[Float64, Float64, Float64]:
    """Maps to the within-class whitened space, back from it, and on to the space whitened over all rows."""
    everything = reduced.T @ reduced / len(reduced)
    within = residuals.T @ residuals / len(residuals)
    if np.trace(within) <= 1e-8 * np.trace(everything):  # one row per class: no spread to learn from
        within = everything
    whiten, unwhiten = _roots(within)
    return whiten, unwhiten, unwhiten @ _roots(everything)[0]


def _roots(covariance: Float64) -> tuple[Float64, Float64]:
    """Symmetric inverse square root and square root of a covariance shrunk towards the sphere."""
    level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    values, vectors = np.linalg.eigh(covariance + SHRINKAGE * level * np.eye(len(covariance)))
    roots = np.sqrt(np.maximum(values, 1e-12 * level))
    return (vectors / roots) @ vectors.T, (vectors * roots) @ vectors.T


def _sample_by_class(truth: Int64, seed: int) -> Int64:
    """Positions of equally many rows of each class, class by class; a class with fewer repeats some."""
    order = np.random.default_rng(seed).permutation(len(truth))
    order = order[np.argsort(truth[order], kind="stable")]
    _, starts, counts = np.unique(truth[order], return_index=True, return_counts=True)
    per_class = min(max(1, MAX_ROWS // len(starts)), int(counts.max()))
    slots = np.arange(per_class)
    return order[(starts[:, None] + slots % counts[:, None]).reshape(-1)].astype(np.int64)
