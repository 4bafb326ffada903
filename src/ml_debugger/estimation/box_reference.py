"""What descriptors of a predicted box refer to: error rates of classes, and the space of the features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.calibration import calibrate, fit_calibrator
from ml_debugger.estimation.folds import grouped_folds
from ml_debugger.estimation.numbers import sigmoid

__all__ = ["LEARNED_DESCRIPTORS", "BoxExamples", "BoxReference", "fit_box_reference"]

LEARNED_DESCRIPTORS: Final = ("class_excess", "class_distance", "feature_probe")
N_COMPONENTS: Final = 16
N_FOLDS: Final = 10
CLASS_PRIOR: Final = 5.0  # a class with so much variance of errors keeps half of its excess
SPREAD_PRIOR: Final = 5.0  # a class with so many right boxes has half its own, half the common deviation
LEAST_SPREAD: Final = 1e-3
FARTHEST: Final = 6.0  # deviations from what is typical do not count for more
PROBE_PENALTY: Final = 30.0
LEAST_PER_CLASS: Final = 3
PROBE_STEPS: Final = 8

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Product = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class BoxExamples:
    """N labelled boxes.

    Attributes:
        vectors: ``(N, D)`` finite features; D = 0 where the model shows none.
        label: ``(N,)`` predicted classes.
        truth: ``(N,)`` annotated classes; -1 where the box belongs to nothing.
        is_error: ``(N,)``.
        baseline: ``(N,)`` log-odds of the score.
        groups: ``(N,)`` boxes that must not learn from each other.
        numbers: ``(N, G)`` of which each class has typical values, such as sizes in metres; G = 0 for none.
    """

    vectors: NDArray[Any]
    label: Int64
    truth: Int64
    is_error: Bool
    baseline: Float64
    groups: NDArray[Any]
    numbers: Float64

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, chosen: NDArray[Any]) -> BoxExamples:
        """Some of the boxes."""
        return BoxExamples(
            self.vectors[chosen],
            self.label[chosen],
            self.truth[chosen],
            self.is_error[chosen],
            self.baseline[chosen],
            self.groups[chosen],
            self.numbers[chosen],
        )


@dataclass(frozen=True, slots=True)
class BoxReference:
    """Learned from labelled boxes.

    Attributes:
        classes: ``(C',)`` predicted classes with an error rate of their own, ascending.
        excess: ``(C',)`` log-odds by which each errs more than its scores say, shrunk towards 0.
        mean: ``(D,)`` of the features.
        axes: ``(D, K)`` from standardised features to whitened principal components; K = 0 without features.
        known: ``(C'',)`` annotated classes that have a centre, ascending.
        centres: ``(C'', K)``.
        probe: ``(1 + K,)`` offset and weights from components to log-odds of an error beyond the score's.
        sized: ``(S,)`` predicted classes whose typical numbers are known, ascending.
        typical: ``(S, G)`` means of the numbers of right boxes.
        spread: ``(S, G)`` their standard deviations.
    """

    classes: Int64
    excess: Float64
    mean: Float64
    axes: Float64
    known: Int64
    centres: Float64
    probe: Float64
    sized: Int64
    typical: Float64
    spread: Float64

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, for saving."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> BoxReference:
        """The reference whose arrays these are; older ones know nothing of typical numbers."""
        nothing: Mapping[str, NDArray[Any]] = {
            "sized": np.zeros(0, np.int64),
            "typical": np.zeros((0, 0)),
            "spread": np.zeros((0, 0)),
        }
        both = {**nothing, **arrays}
        return cls(**{name: both[name] for name in cls.__slots__})

    def place(self, vectors: NDArray[Any], product: Product = np.matmul) -> Float64:
        """``(U, K)`` components of features; K = 0 without.

        Args:
            vectors: ``(U, D)``.
            product: How matrices are multiplied.
        """
        if self.axes.shape[1] == 0:
            return np.zeros((len(vectors), 0))
        return np.asarray(product(vectors.astype(np.float64) - self.mean, self.axes))

    def describe(
        self,
        components: Float64,
        label: Int64,
        numbers: Float64 | None = None,
        product: Product = np.matmul,
        apart: tuple[Float64, Float64] | None = None,
    ) -> Float64:
        """``(U, 3 + 3G)`` `LEARNED_DESCRIPTORS` of boxes with these components, predicted classes and numbers.

        Then of each number how far it is from what is typical of the class, how far above, and how far below.

        Args:
            components: ``(U, K)``.
            label: ``(U,)``.
            numbers: ``(U, G)``.
            product: How matrices are multiplied.
            apart: Their :meth:`distances`, where they are known.
        """
        own, nearest = self.distances(components, label) if apart is None else apart
        excess = _looked_up(self.classes, self.excess, label)
        learned = np.stack([excess, own - nearest, self.probe[0] + product(components, self.probe[1:])], axis=1)
        width = self.typical.shape[1]
        if numbers is None or not width:
            return learned
        above = np.zeros((len(label), width))
        if len(self.sized):
            place = np.searchsorted(self.sized, label).clip(max=len(self.sized) - 1)
            known = (self.sized[place] == label)[:, None]
            deviations = (numbers - self.typical[place]) / self.spread[place]
            above = np.where(known, np.clip(deviations, -FARTHEST, FARTHEST), 0.0)
        return np.concatenate([learned, np.abs(above), above, -above], axis=1)

    def distances(self, components: Float64, label: Int64) -> tuple[Float64, Float64]:
        """``(U,)`` distance to the centre of the predicted class, and to the nearest of another; 0 where unknown."""
        count = len(components)
        if len(self.known) < 2:
            return np.zeros(count), np.zeros(count)
        apart = np.sqrt(((components[:, None] - self.centres) ** 2).sum(axis=2))
        place = np.searchsorted(self.known, label).clip(max=len(self.known) - 1)
        has = self.known[place] == label
        rows = np.arange(count)
        own = apart[rows, place]
        apart[rows[has], place[has]] = np.inf
        nearest = apart.min(axis=1)
        return np.where(has, own, nearest), nearest


def fit_box_reference(known: BoxExamples, held: BoxExamples, *, seed: int = 0) -> tuple[BoxReference, Float64, Float64]:
    """Learn the reference, and describe the held-out boxes as if none of them, nor its group, had had a part in it.

    Args:
        known: Boxes that only show where features live, such as those of training images.
        held: Held-out boxes; at least one.
        seed: Of the folds.

    Returns:
        The reference, ``(N, 3 + 3G)`` out-of-fold descriptors as :meth:`BoxReference.describe` gives them, and
        ``(N, K)`` components of the held-out boxes.
    """
    mean, axes = _space(np.concatenate([known.vectors, held.vectors]))
    reference = _fit(known, held, mean, axes)
    components = reference.place(held.vectors)
    described = np.zeros((len(held), len(LEARNED_DESCRIPTORS) + 3 * held.numbers.shape[1]))
    for inside in _folds(held, seed):
        fresh = _fit(known, held.rows(~inside), mean, axes)
        described[inside] = fresh.describe(components[inside], held.label[inside], held.numbers[inside])
    return reference, described, components


def _folds(held: BoxExamples, seed: int) -> Iterator[Bool]:
    folds = grouped_folds(held.groups, N_FOLDS, strata=held.is_error, seed=seed)
    for fold in np.unique(folds).tolist():
        yield folds == fold


def _space(vectors: NDArray[Any]) -> tuple[Float64, Float64]:
    """Mean and whitening axes of the main components; labels have no part in them."""
    count, width = vectors.shape
    if width == 0 or count < 2:
        return np.zeros(width), np.zeros((width, 0))
    mean = vectors.mean(axis=0, dtype=np.float64)
    scale = vectors.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-9, 1.0 / np.maximum(scale, 1e-9), 0.0)
    centred = (vectors - mean) * scale
    spread, directions = np.linalg.eigh(centred.T @ centred / count)
    best = np.argsort(-spread)[:N_COMPONENTS]
    best = best[spread[best] > 1e-9 * max(float(spread.max()), 1e-300)]
    return mean, scale[:, None] * directions[:, best] / np.sqrt(spread[best])


def _fit(known: BoxExamples, held: BoxExamples, mean: Float64, axes: Float64) -> BoxReference:
    classes, excess = _class_excess(held)
    width, none = axes.shape[1], np.zeros(0, np.int64)
    sizes = _typical(known, held)
    empty = BoxReference(classes, excess, mean, axes, none, np.zeros((0, width)), np.zeros(1 + width), *sizes)
    if width == 0:
        return empty
    components = empty.place(np.concatenate([known.vectors, held.vectors]))
    truth = np.concatenate([known.truth, held.truth])
    names, centres = _centres(components, truth)
    probe = _fit_probe(components[len(known) :], held)
    return replace(empty, known=names, centres=centres, probe=probe)


def _typical(known: BoxExamples, held: BoxExamples) -> tuple[Int64, Float64, Float64]:
    """Classes, means and standard deviations of the numbers of right boxes, by predicted class."""
    numbers = np.concatenate([known.numbers, held.numbers])
    width = numbers.shape[1]
    label, wrong = (np.concatenate([getattr(one, name) for one in (known, held)]) for name in ("label", "is_error"))
    right = ~wrong
    classes, member, counts = np.unique(label[right], return_inverse=True, return_counts=True)
    if not width or not len(classes):
        return np.zeros(0, np.int64), np.zeros((0, width)), np.zeros((0, width))
    sums = np.stack([np.bincount(member, column) for column in numbers[right].T], axis=1)
    mean = sums / counts[:, None]
    squares = (numbers[right] - mean[member]) ** 2
    own = np.stack([np.bincount(member, column) for column in squares.T], axis=1)
    common = own.sum(axis=0) / counts.sum()
    variance = (own + SPREAD_PRIOR * common) / (counts[:, None] + SPREAD_PRIOR)
    enough = counts >= LEAST_PER_CLASS
    return classes[enough].astype(np.int64), mean[enough], np.sqrt(np.maximum(variance[enough], LEAST_SPREAD**2))


def _class_excess(held: BoxExamples) -> tuple[Int64, Float64]:
    """One Newton step of a shrunk offset per predicted class, on top of the calibrated score."""
    if not len(held):
        return np.zeros(0, np.int64), np.zeros(0)
    expected = calibrate(fit_calibrator(held.baseline, held.is_error), held.baseline)
    classes, member = np.unique(held.label, return_inverse=True)
    surplus = np.bincount(member, held.is_error - expected)
    variance = np.bincount(member, expected * (1.0 - expected))
    return classes.astype(np.int64), surplus / (variance + CLASS_PRIOR)


def _centres(components: Float64, truth: Int64) -> tuple[Int64, Float64]:
    belongs = truth >= 0
    names, member, counts = np.unique(truth[belongs], return_inverse=True, return_counts=True)
    centres = np.zeros((len(names), components.shape[1]))
    np.add.at(centres, member, components[belongs])
    enough = counts >= LEAST_PER_CLASS
    return names[enough].astype(np.int64), centres[enough] / counts[enough][:, None]


def _fit_probe(components: Float64, held: BoxExamples) -> Float64:
    """Ridge logistic regression on the components, with the calibrated score as its starting point."""
    table = np.concatenate([np.ones((len(components), 1)), components], axis=1)
    penalty = np.full(table.shape[1], PROBE_PENALTY)
    weights = np.zeros(table.shape[1])
    expected = calibrate(fit_calibrator(held.baseline, held.is_error), held.baseline)
    start = np.log(expected) - np.log1p(-expected)
    for _ in range(PROBE_STEPS):
        chance = sigmoid(start + table @ weights)
        slope = table.T @ (chance - held.is_error) + penalty * weights
        curve = (table.T * (chance * (1.0 - chance))) @ table + np.diag(penalty)
        weights -= np.linalg.solve(curve, slope)
    return np.asarray(weights)


def _looked_up(names: Int64, values: Float64, wanted: Int64) -> Float64:
    """Values by name; 0 for an unknown one."""
    if not len(names):
        return np.zeros(len(wanted))
    place = np.searchsorted(names, wanted).clip(max=len(names) - 1)
    return np.where(names[place] == wanted, values[place], 0.0)
