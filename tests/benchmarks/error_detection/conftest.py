from __future__ import annotations

import numpy as np
import pytest

from benchmarks.error_detection.traces import Pair, Split


def make_split(rng: np.random.Generator, n: int, means: np.ndarray, weight: np.ndarray, noise: float) -> Split:
    """Gaussian classes seen through a linear head that is wrong where classes overlap."""
    labels = rng.integers(0, len(means), n)
    features = (means[labels] + noise * rng.normal(size=(n, means.shape[1]))).astype(np.float32)
    return Split(features, (features @ weight.T).astype(np.float32), labels)


def make_pair(n_classes: int = 5, width: int = 12, seed: int = 0, n: int = 400, noise: float = 1.0) -> Pair:
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(n_classes, width))
    weight = means + 0.5 * rng.normal(size=means.shape)
    train, val, test, shift = (make_split(rng, n, means, weight, noise * (1 + (i == 3))) for i in range(4))
    return Pair("toy", train, val, {"test": test, "shift": shift}, weight, np.zeros(n_classes))


@pytest.fixture(scope="session")
def pair() -> Pair:
    return make_pair()


@pytest.fixture(scope="session")
def two_classes() -> Pair:
    return make_pair(n_classes=2, seed=3)
