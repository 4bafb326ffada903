"""Published scores that read the features of the last layer's input against the train rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from benchmarks.error_detection.baselines import logits
from benchmarks.error_detection.baselines.geometry import SPACES
from benchmarks.error_detection.baselines.method import Rows, Score, best_of
from benchmarks.error_detection.traces import Split

__all__ = [
    "fit_centroid_trust",
    "fit_knn_distance",
    "fit_mahalanobis",
    "fit_nnguide",
    "fit_relative_mahalanobis",
    "fit_sirc",
    "fit_trust_score",
    "fit_vim",
]

FloatArray = NDArray[np.floating]
SMALL = 1e-9


def fit_trust_score(rows: Rows) -> Score:
    """Trust Score: distance to the predicted class over that to the nearest other (Jiang et al., NeurIPS 2018).

    As a logarithm. The feature space and the density filter (none, or a tenth of each class left out) are tuned.
    """

    def make(setting: tuple[str, float]) -> Score:
        return lambda split: _log_ratio(rows.geometry.nearest_of_class(split, *setting), split)

    return best_of(rows, list(itertools.product(SPACES, (1.0, 0.9))), make, "trust_score")


def fit_centroid_trust(rows: Rows) -> Score:
    """The Trust Score with class means in place of rows: log ratio of Mahalanobis distances."""

    def score(split: Split) -> FloatArray:
        found = rows.geometry.class_distances(split)
        return np.log(found.to_predicted + SMALL) - np.log(found.to_other + SMALL)

    return score


def fit_mahalanobis(rows: Rows) -> Score:
    """Mahalanobis distance to the nearest (Lee et al., NeurIPS 2018) or the predicted class mean, tuned."""

    def make(to: str) -> Score:
        return lambda split: np.log(_to_class(rows, split, to) + SMALL)

    return best_of(rows, ("nearest", "predicted"), make, "mahalanobis")


def fit_relative_mahalanobis(rows: Rows) -> Score:
    """The same minus the distance to the mean of all rows (Ren et al., 2021)."""

    def make(to: str) -> Score:
        return lambda split: _to_class(rows, split, to) - rows.geometry.class_distances(split).to_all

    return best_of(rows, ("nearest", "predicted"), make, "relative_mahalanobis")


def fit_knn_distance(rows: Rows) -> Score:
    """Distance of the unit-length features to the k-th nearest train row (Sun et al., ICML 2022), k tuned."""
    ks = sorted({min(k, len(rows.train)) for k in (1, 5, 10, 20, 50, 100)})
    return best_of(
        rows,
        ks,
        lambda k: lambda split: rows.geometry.nearest(split, "unit")[0][:, k - 1].astype(np.float64),
        "knn_distance",
    )


def fit_vim(rows: Rows) -> Score:
    """Virtual-logit matching: scaled residual off the principal space minus the energy (Wang et al., CVPR 2022)."""
    origin, residual_axes = _residual_space(rows)
    residual = partial(_residual_norm, origin=origin, axes=residual_axes)
    scale = rows.train.wide.max(axis=1).mean() / max(residual(rows.train).mean(), SMALL)
    return lambda split: scale * residual(split) - logsumexp(split.wide, axis=1)


def fit_nnguide(rows: Rows) -> Score:
    """Energy guided by the mean similarity to confident train rows (Park et al., ICCV 2023); k and the share tuned."""
    confidence = logsumexp(rows.train.wide, axis=1)
    bank = rows.geometry.embed(rows.train, "unit") * confidence[:, None].astype(np.float32)

    def guided(split: Split, share: float, k: int) -> FloatArray:
        kept = rows.geometry.remembered(("nnguide bank", share), lambda: _sample(len(bank), share, rows.seed))
        top = rows.geometry.remembered(
            ("nnguide", share, split), lambda: _largest(rows.geometry.embed(split, "unit") @ bank[kept].T, 100)
        )
        return -top[:, :k].mean(axis=1) * logsumexp(split.wide, axis=1)

    settings = [(share, k) for share in (1.0, 0.1) for k in (1, 10, 50, 100)]
    return best_of(rows, settings, lambda setting: lambda split: guided(split, *setting), "nnguide")


def fit_sirc(rows: Rows) -> Score:
    """SIRC: a softmax score multiplied up where a feature score is unusual (Xia & Bouganis, ACCV 2022).

    ``-(S1max - S1)(1 + exp(-b (S2 - a)))`` with a = mean - 3 deviations and b = 1 / deviation of S2 on train rows. The
    softmax score S1 (MSP, DOCTOR, entropy) and the feature score S2 (L1 norm, residual) are chosen on val.
    """
    origin, axes = _residual_space(rows)
    seconds: dict[str, Score] = {
        "l1_norm": lambda split: np.abs(split.features).sum(axis=1).astype(np.float64),
        "residual": lambda split: -_residual_norm(split, origin, axes),
    }
    firsts: dict[str, Callable[[Split], FloatArray]] = {
        # log(1 - p), log(g) and log(entropy), all as log(S1max - S1), from the log-odds forms.
        "msp": lambda split: -np.logaddexp(0, -logits.msp(split)),
        "doctor": logits.gini,
        "entropy": lambda split: -np.logaddexp(0, -logits.entropy(split)),
    }

    def make(setting: tuple[str, str]) -> Score:
        first, second = firsts[setting[0]], seconds[setting[1]]
        known = second(rows.train)
        deviation = max(known.std(), SMALL)
        low = known.mean() - 3 * deviation
        return lambda split: first(split) + np.logaddexp(0, np.minimum(-(second(split) - low) / deviation, 700))

    return best_of(rows, list(itertools.product(firsts, seconds)), make, "sirc")


def _to_class(rows: Rows, split: Split, to: str) -> FloatArray:
    found = rows.geometry.class_distances(split)
    return found.to_predicted if to == "predicted" else found.to_classes.min(axis=1)


def _log_ratio(to_class: FloatArray, split: Split) -> FloatArray:
    index = np.arange(len(split))
    own = to_class[index, split.predicted]
    others = to_class.copy()
    others[index, split.predicted] = np.inf
    # A predicted class that no train row has is as far as can be.
    far = 2 * np.max(to_class[np.isfinite(to_class)])
    return np.log(np.minimum(own, far) + SMALL) - np.log(np.minimum(others.min(axis=1), far) + SMALL)


def _residual_space(rows: Rows) -> tuple[FloatArray, FloatArray]:
    """Origin ``(D,)`` where all logits vanish, and axes ``(D, R)`` off the principal space of the train rows.

    The principal space holds 1000 of 2048 or more axes, 512 of 768 or more, else half, as published.
    """
    geometry = rows.geometry
    origin = -np.linalg.pinv(geometry.weight) @ geometry.bias
    centred = rows.train.features - origin
    width = centred.shape[1]
    principal = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
    _, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    return origin, axes[:, : width - principal]


def _residual_norm(split: Split, origin: FloatArray, axes: FloatArray) -> FloatArray:
    return np.linalg.norm((split.features - origin) @ axes, axis=1)


def _sample(n: int, share: float, seed: int) -> NDArray[np.integer]:
    if share == 1:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, max(1, round(share * n)), replace=False))


def _largest(values: FloatArray, k: int) -> FloatArray:
    """``(N, k)`` largest of each row, descending."""
    k = min(k, values.shape[1])
    return -np.sort(np.partition(-values, k - 1, axis=1)[:, :k], axis=1).astype(np.float64)
