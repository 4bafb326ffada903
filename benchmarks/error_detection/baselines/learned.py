"""Published scores that train a small network on the features of labelled rows the classifier was not fitted on."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, expit, gammaln, softmax

from benchmarks.error_detection.baselines.method import Rows, Score, best_of
from benchmarks.error_detection.baselines.network import Gradient, Network, train_network
from benchmarks.error_detection.traces import Split

__all__ = ["UNCERTAINTIES", "dirichlet_gradient", "fit_confidnet", "fit_dirichlet"]

FloatArray = NDArray[np.floating]

MOST_LOG_EVIDENCE = 10.0
KL_WEIGHTS = {"0.001": 1e-3, "0.1": 1e-1}


def fit_confidnet(rows: Rows) -> Score:
    """ConfidNet-like head: regresses the true-class probability from the features (Corbiere et al., NeurIPS 2019).

    The head only, with squared error as published; the authors also fine-tune a copy of the encoder, which traces do
    not allow. Learned from val rows: on train rows of a well-fitted network the true class is almost always near 1.
    """
    val = rows.val
    target = softmax(val.wide, axis=1)[np.arange(len(val)), val.labels][:, None]

    def gradient(output: FloatArray, wanted: FloatArray) -> FloatArray:
        right = expit(output)
        return 2 * (right - wanted) * right * (1 - right)

    network = train_network(_standard(rows, val), target, 1, gradient, rows.seed)
    # The head's logit of being right, turned round: a log-odds of being wrong.
    return lambda split: -network(_standard(rows, split))[:, 0]


def fit_dirichlet(rows: Rows) -> Score:
    """Dirichlet meta-model on the features (Shen et al., AAAI 2023).

    Class evidence from the features, trained by the expected log-likelihood minus a KL to the flat Dirichlet. The KL's
    weight, and which uncertainty of the Dirichlet ranks best, are tuned on half of the val rows with a model of the
    other half; then it is trained on all of them.
    """
    if "dirichlet" not in rows.notes:
        _tune_dirichlet(rows)
    weight, measure = rows.notes["dirichlet"].split(", ")
    network = _train_dirichlet(rows, rows.val, KL_WEIGHTS[weight])
    return _dirichlet_score(rows, network, measure)


def _tune_dirichlet(rows: Rows) -> None:
    order = np.random.default_rng(rows.seed).permutation(len(rows.val))
    fitting = rows.val.take(order[::2])
    judged = Rows(rows.geometry, rows.val.take(order[1::2]), rows.seed, rows.notes)
    trial = {name: _train_dirichlet(rows, fitting, weight) for name, weight in KL_WEIGHTS.items()}
    settings = [", ".join(setting) for setting in itertools.product(KL_WEIGHTS, UNCERTAINTIES)]

    def make(setting: str) -> Score:
        weight, measure = setting.split(", ")
        return _dirichlet_score(rows, trial[weight], measure)

    best_of(judged, settings, make, "dirichlet")


def dirichlet_gradient(weight: float) -> Gradient:
    """Gradient in the log-evidence of ``weight KL(Dir(a) || Dir(1)) - E log p_y``."""

    def gradient(output: FloatArray, labels: NDArray[np.integer]) -> FloatArray:
        alpha = _evidence(output)
        total = alpha.sum(axis=1, keepdims=True)
        at_alpha, at_total = trigamma(alpha), trigamma(total)
        own = np.arange(alpha.shape[1]) == labels[:, None]
        likelihood = np.where(own, at_alpha, 0) - at_total
        divergence = (alpha - 1) * at_alpha - (total - alpha.shape[1]) * at_total
        free = np.abs(output) < MOST_LOG_EVIDENCE
        return (weight * divergence - likelihood) * alpha * free

    return gradient


def predicted_class_doubt(alpha: FloatArray, split: Split) -> FloatArray:
    """Log-odds that the class the classifier predicted is not the one, under the Dirichlet's mean."""
    own = alpha[np.arange(len(alpha)), split.predicted]
    return np.log(np.maximum(alpha.sum(axis=1) - own, 1e-12)) - np.log(own)


def mean_entropy(alpha: FloatArray, split: Split) -> FloatArray:
    """Entropy of the Dirichlet's mean: the total uncertainty."""
    p = alpha / alpha.sum(axis=1, keepdims=True)
    return -(p * np.log(p)).sum(axis=1)


def mutual_information(alpha: FloatArray, split: Split) -> FloatArray:
    """Total minus expected entropy: the uncertainty that more data would remove."""
    total = alpha.sum(axis=1, keepdims=True)
    expected = -(alpha / total * (digamma(alpha + 1) - digamma(total + 1))).sum(axis=1)
    return mean_entropy(alpha, split) - expected


def differential_entropy(alpha: FloatArray, split: Split) -> FloatArray:
    """Differential entropy of the Dirichlet itself."""
    total = alpha.sum(axis=1)
    normaliser = gammaln(alpha).sum(axis=1) - gammaln(total)
    return normaliser + (total - alpha.shape[1]) * digamma(total) - ((alpha - 1) * digamma(alpha)).sum(axis=1)


UNCERTAINTIES: dict[str, Callable[[FloatArray, Split], FloatArray]] = {
    "doubt": predicted_class_doubt,
    "entropy": mean_entropy,
    "mutual information": mutual_information,
    "differential entropy": differential_entropy,
}


def _standard(rows: Rows, split: Split) -> FloatArray:
    """Features standardised by the train rows, kept within 5 deviations, ``(N, D)``."""
    known = rows.train.features
    mean, deviation = rows.geometry.remembered("moments", lambda: (known.mean(axis=0), known.std(axis=0)))
    return np.clip((split.features - mean) / np.maximum(deviation, 1e-6), -5, 5).astype(np.float64)


def _train_dirichlet(rows: Rows, split: Split, weight: float) -> Network:
    return train_network(_standard(rows, split), split.labels, rows.n_classes, dirichlet_gradient(weight), rows.seed)


def _dirichlet_score(rows: Rows, network: Network, measure: str) -> Score:
    return lambda split: UNCERTAINTIES[measure](_evidence(network(_standard(rows, split))), split)


def trigamma(values: FloatArray) -> FloatArray:
    """Derivative of digamma for positive values to 1e-9, ten times faster than ``scipy.special.polygamma``."""
    shifted = values + 6
    inverse = 1 / shifted
    square = inverse * inverse
    tail = inverse + square / 2 + inverse * square * (1 / 6 - square * (1 / 30 - square * (1 / 42 - square / 30)))
    return tail + sum(1 / (values + i) ** 2 for i in range(6))


def _evidence(output: FloatArray) -> FloatArray:
    return np.exp(np.clip(output, -MOST_LOG_EVIDENCE, MOST_LOG_EVIDENCE))
