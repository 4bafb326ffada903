"""What follows from the train features alone: spaces, class means, distances; computed once, shared by methods."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.error_detection.traces import Split

__all__ = ["SPACES", "ClassDistances", "Geometry"]

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

SPACES = ("raw", "unit", "whitened")
"""Feature spaces that distance methods may choose from on val: as they are; of unit length; whitened within classes and
then of unit length."""
N_COMPONENTS = 48
RIDGE = 1e-2
KEPT_RESULTS = 24  # per geometry; each is at most (N, 100) float32
MOST_NEIGHBOURS = 100


class Geometry:
    """The train rows' geometry.

    Args:
        train: Bank rows, ``features`` ``(N, D)``.
        weight: ``(C, D)`` of the last layer.
        bias: ``(C,)``.
    """

    def __init__(self, train: Split, weight: FloatArray, bias: FloatArray) -> None:
        self.train = train
        self.weight = weight.astype(np.float64)
        self.bias = bias.astype(np.float64)
        self._results: OrderedDict[Any, Any] = OrderedDict()

    @cached_property
    def _whitening(self) -> tuple[FloatArray, FloatArray]:
        """Centre ``(D,)`` and map ``(D, d)``: standardise, keep the leading components, whiten within classes."""
        features = self.train.features.astype(np.float64)
        centre, scale = features.mean(axis=0), features.std(axis=0)
        scale = np.where(scale > 1e-6 * max(scale.max(), 1e-12), scale, np.inf)
        _, _, axes = np.linalg.svd((features - centre) / scale, full_matrices=False)
        components = (axes[:N_COMPONENTS] / scale).T
        projected = (features - centre) @ components
        within = projected - class_means(projected, self.train.labels, self.train.logits.shape[1])[self.train.labels]
        return centre, components @ _inverse_root(np.cov(within.T, ddof=1).reshape(components.shape[1], -1))

    def embed(self, split: Split, space: str) -> FloatArray:
        """Features in one of ``SPACES``, float32."""
        if space == "raw":
            return split.features
        embedded = self.whiten(split) if space == "whitened" else split.features
        norms = np.linalg.norm(embedded, axis=1, keepdims=True)
        return (embedded / np.maximum(norms, 1e-12)).astype(np.float32)

    def whiten(self, split: Split) -> FloatArray:
        """``(N, d)`` whitened within classes: squared distances there are Mahalanobis distances."""
        centre, mapping = self._whitening
        return (split.features - centre) @ mapping

    def remembered(self, key: Any, compute: Callable[[], Any]) -> Any:
        """The result of ``compute``, kept under ``key`` while recent."""
        if key not in self._results:
            self._results[key] = compute()
            while len(self._results) > KEPT_RESULTS:
                self._results.popitem(last=False)
        return self._results[key]

    def class_distances(self, split: Split) -> ClassDistances:
        """Squared Mahalanobis distances to class means and to the mean of all rows (Lee 2018, Ren 2021)."""
        return self.remembered(("mahalanobis", split), lambda: self._class_distances(split))

    def _class_distances(self, split: Split) -> ClassDistances:
        means, background, background_map = self._centres
        embedded = self.whiten(split)
        to_classes = _squared_distances(embedded, means)
        to_all = (((embedded - background) @ background_map) ** 2).sum(axis=1)
        return ClassDistances(to_classes, to_all, split.predicted)

    @cached_property
    def _centres(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        bank = self.whiten(self.train)
        means = class_means(bank, self.train.labels, self.train.logits.shape[1])
        return means, bank.mean(axis=0), _inverse_root(np.cov(bank.T).reshape(bank.shape[1], -1))

    def nearest(self, split: Split, space: str) -> tuple[FloatArray, IntArray]:
        """Distances to the nearest train rows, ascending, ``(N, k)``, and their positions; k = up to 100."""
        return self.remembered(("nearest", space, split), lambda: self._nearest(split, space))

    def _nearest(self, split: Split, space: str) -> tuple[FloatArray, IntArray]:
        bank = self.embed(self.train, space)
        distances = _squared_distances(self.embed(split, space), bank)
        k = min(MOST_NEIGHBOURS, len(bank))
        near = np.argpartition(distances, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(distances, near, axis=1)
        order = np.argsort(values, axis=1, kind="stable")
        return np.sqrt(np.take_along_axis(values, order, axis=1)), np.take_along_axis(near, order, axis=1)

    def nearest_of_class(self, split: Split, space: str, kept: float) -> FloatArray:
        """``(N, C)`` distance to the nearest train row of each class; infinite for a class without rows.

        Of each class only the share ``kept`` of rows with the densest neighbourhood counts (Jiang et al. 2018).
        """
        return self.remembered(("of class", space, kept, split), lambda: self._nearest_of_class(split, space, kept))

    def _nearest_of_class(self, split: Split, space: str, kept: float) -> FloatArray:
        queries, found = self.embed(split, space), np.full(split.logits.shape, np.inf)
        for label in np.unique(self.train.labels):
            bank = self._dense_rows(int(label), space, kept)
            found[:, label] = np.sqrt(_squared_distances(queries, bank).min(axis=1))
        return found

    def _dense_rows(self, label: int, space: str, kept: float) -> FloatArray:
        rows = self.embed(self.train, space)[self.train.labels == label]
        k = min(10, len(rows) - 1)
        if kept == 1 or k < 1:
            return rows
        radius = np.partition(_squared_distances(rows, rows), k, axis=1)[:, k]
        return rows[radius <= np.quantile(radius, kept)]


class ClassDistances:
    """Squared Mahalanobis distances of one split.

    Attributes:
        to_classes: ``(N, C)``, to each class mean.
        to_all: ``(N,)``, to the mean of all rows under their own covariance.
        to_predicted: ``(N,)``, of ``to_classes``.
        to_other: ``(N,)``, the nearest class that was not predicted.
    """

    def __init__(self, to_classes: FloatArray, to_all: FloatArray, predicted: IntArray) -> None:
        rows = np.arange(len(predicted))
        self.to_classes = to_classes
        self.to_all = to_all
        self.to_predicted = to_classes[rows, predicted]
        others = to_classes.copy()
        others[rows, predicted] = np.inf
        self.to_other = others.min(axis=1)


def class_means(features: FloatArray, labels: IntArray, n_classes: int) -> FloatArray:
    """``(C, D)``; the overall mean for a class without rows."""
    means = np.tile(features.mean(axis=0), (n_classes, 1))
    for label in np.unique(labels):
        means[label] = features[labels == label].mean(axis=0)
    return means


def _inverse_root(covariance: FloatArray) -> FloatArray:
    """``(d, d)`` L with ``L L' = (S + ridge)^-1``."""
    ridge = RIDGE * np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh(covariance + ridge * np.eye(len(covariance)))
    return vectors / np.sqrt(np.maximum(values, 1e-12))


def _squared_distances(left: FloatArray, right: FloatArray) -> FloatArray:
    """``(N, M)`` squared Euclidean distances, never below zero."""
    products = left @ right.T
    products *= -2
    products += (left**2).sum(axis=1)[:, None]
    products += (right**2).sum(axis=1)[None]
    return np.maximum(products, 0, out=products)
