"""A probe anchored at the network: its own logits plus a linear correction, learned from held-out rows.

Multinomial logistic regression with the scaled logits as offset and a ridge on the correction, so that with little
evidence it is the network itself. A linear function of clipped features is the part of the estimator that holds best
under shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.bank import POINT_STEP, Bank
from ml_debugger.estimation.exact import grid_step, to_grid
from ml_debugger.estimation.probes.choices import ALL_CLASSES, Choices
from ml_debugger.estimation.probes.sample import Sample, error_loss, fit_temperature, likelihood

__all__ = ["AnchoredProbe", "fit_anchored"]

PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0)
FEW_PENALTIES = (1000.0, 100.0)  # with very many classes
OFFSET_PENALTY = 1e-2
WORK = 1_000_000  # rows times classes of one fit
FEWEST_ROWS, MOST_ROWS = 4000, 20_000
STEPS = 40

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class AnchoredProbe:
    """A fitted probe.

    Attributes:
        temperature: ``()`` factor of the logits.
        offsets: ``(C,)``.
        weights: ``(P, C)`` float64 integers, on placed rows.
        step: ``()`` what a product of integers is worth.
    """

    temperature: Float64
    offsets: Float64
    weights: Float64
    step: Float64

    def correction(self, points: Float64, choices: Choices) -> Float64:
        """``(U, T)`` to be added to the scaled logits."""
        offsets = self.offsets if choices.classes is None else self.offsets[choices.classes]
        correction = choices.product(points, self._by_class)
        correction *= float(self.step)
        correction += offsets
        return np.asarray(correction)

    @cached_property
    def _by_class(self) -> Float64:
        return np.ascontiguousarray(self.weights.T)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The fields by name, for saving."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> AnchoredProbe:
        """The probe whose fields these are."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def fit_anchored(bank: Bank, sample: Sample) -> tuple[AnchoredProbe, Float64, Float64]:
    """The probe, its out-of-fold scores ``(N, T)``, and the scaled logits ``(N, T)``.

    The penalty is the one whose out-of-fold scores tell errors best.
    """
    compared = sample.compared()
    temperature = fit_temperature(sample.logits[compared], sample.choices.find(sample.truth)[compared])
    scaled = sample.logits * temperature
    few = sample.n_classes > ALL_CLASSES
    folds = sample.folds(3 if few else 5)
    weights: dict[int, Float64] = {}
    best = np.inf, PENALTIES[0], scaled
    for penalty in FEW_PENALTIES if few else PENALTIES:
        scores = np.array(scaled)
        for fold in np.unique(folds):
            learning = sample.some(_most_rows(sample.n_classes), folds != fold)
            start = weights.get(int(fold))
            weights[int(fold)] = _fit(sample, scaled, learning, penalty, start)
            inside = folds == fold
            scores[inside] += _correct(sample, weights[int(fold)], inside)
        loss = error_loss(scores[compared], sample.choices.own[compared], sample.wrong[compared])
        if loss < best[0]:
            best = loss, penalty, scores
        elif loss > best[0] * 1.01:
            break
    _, penalty, scores = best
    final = _fit(sample, scaled, sample.some(_most_rows(sample.n_classes)), penalty, None)
    return _to_probe(bank, temperature, final), scores, scaled


def _most_rows(n_classes: int) -> int:
    return int(np.clip(WORK // n_classes, FEWEST_ROWS, MOST_ROWS))


def _with_one(components: Float64) -> Float64:
    return np.concatenate([np.ones((len(components), 1)), components], axis=1)


def _correct(sample: Sample, weights: Float64, chosen: NDArray[Any]) -> Float64:
    rows = _with_one(sample.components[chosen])
    return np.asarray(sample.choices.rows(chosen).take(rows @ weights))


def _fit(sample: Sample, scaled: Float64, learning: Int64, penalty: float, start: Float64 | None) -> Float64:
    """``(1 + P, C)`` offsets and weights, by L-BFGS in coordinates in which the curvature is about the identity."""
    from scipy.optimize import minimize
    from scipy.sparse import csr_array

    column = sample.choices.find(sample.truth)[learning]
    learning, column = learning[column >= 0], column[column >= 0]
    choices, offset = sample.choices.rows(learning), scaled[learning]
    rows, count = _with_one(sample.components[learning]), len(learning)
    size, n_classes = rows.shape[1], sample.n_classes
    ridge = np.full(size, penalty)
    ridge[0] = OFFSET_PENALTY
    curvature = rows.T @ rows / max(n_classes, 4) + np.diag(ridge)
    root = np.linalg.inv(np.linalg.cholesky(curvature).T)
    turned, positions = rows @ root, np.arange(count)
    edges = np.arange(0, offset.size + 1, offset.shape[1])

    def loss(flat: Float64) -> tuple[float, Float64]:
        point = flat.reshape(size, n_classes)
        weights = root @ point
        scores = choices.take(turned @ point)
        scores += offset
        logs, residual = likelihood(scores, column)
        value = -logs.sum() + 0.5 * (ridge[:, None] * weights**2).sum()
        residual[positions, column] -= 1.0
        if choices.classes is None:
            gradient = turned.T @ residual
        else:
            spread = csr_array((residual.ravel(), choices.classes.ravel(), edges), shape=(count, n_classes))
            gradient = np.asarray(spread.T @ turned).T
        return float(value), (gradient + root.T @ (ridge[:, None] * weights)).ravel()

    first = np.zeros((size, n_classes)) if start is None else np.linalg.solve(root, start)
    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "ftol": 1e-7})
    return np.asarray(root @ found.x.reshape(size, n_classes))


def _to_probe(bank: Bank, temperature: float, weights: Float64) -> AnchoredProbe:
    on_points = (bank.unwhiten * float(bank.unwhiten_step)) @ weights[1:]
    step = grid_step(float(np.abs(on_points).max(initial=0.0)))
    return AnchoredProbe(
        temperature=np.array(temperature),
        offsets=np.ascontiguousarray(weights[0]),
        weights=to_grid(on_points, step),
        step=np.array(step * POINT_STEP),
    )
