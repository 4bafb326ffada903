"""Where images and frozen features come from, and how a seed splits them into start, pool, val and test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.error_detection.traces import data_folder

__all__ = ["SOURCES", "Problem", "Source", "duplicated", "long_tail", "split"]

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """Labelled data: ``inputs (N, ...)`` and ``labels (N,)`` to choose from, the same for the test set."""

    inputs: FloatArray
    labels: IntArray
    test_inputs: FloatArray
    test_labels: IntArray


@dataclass(frozen=True)
class Problem:
    """One seed's task. ``start`` is labelled, ``pool`` is not, ``val`` only evaluated on (positions in ``inputs``)."""

    inputs: FloatArray
    labels: IntArray
    start: IntArray
    pool: IntArray
    val: IntArray
    test_inputs: FloatArray
    test_labels: IntArray

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(max(self.labels.max(), self.test_labels.max())) + 1


@lru_cache(maxsize=1)
def digits() -> Source:
    """scikit-learn's 1,797 digits of 8 x 8; 500 of them are the test set."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, None]
    order = np.random.default_rng(7).permutation(len(images))
    rest, test = order[500:], order[:500]
    labels = bunch.target.astype(np.int64)
    return Source(images[rest], labels[rest], images[test], labels[test])


@lru_cache(maxsize=1)
def mnist() -> Source:
    """12,000 training and 3,000 test images of MNIST, averaged to 14 x 14."""
    with np.load(data_folder() / "mnist" / "mnist.npz") as stored:
        arrays = dict(stored)
    rng = np.random.default_rng(7)
    parts = []
    for name, size in (("train", 12_000), ("test", 3_000)):
        rows = rng.permutation(len(arrays[f"y_{name}"]))[:size]
        small = arrays[f"x_{name}"][rows].reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5)) / 255
        parts.append(small.astype(np.float32))
        parts.append(arrays[f"y_{name}"][rows].astype(np.int64))
    return Source(*parts)


@lru_cache(maxsize=1)
def cifar_images() -> Source:
    """The 8,000 CIFAR-10 images at hand, averaged to 16 x 16; 2,000 of them are the test set."""
    with np.load(data_folder() / "cifar10" / "cifar10_jpg_subset.npz") as stored:
        images = np.concatenate([stored["x_test"], stored["x_train"]])
        labels = np.concatenate([stored["y_test"], stored["y_train"]]).astype(np.int64)
    small = images.reshape(-1, 16, 2, 16, 2, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2) / 127.5 - 1
    small = np.ascontiguousarray(small, dtype=np.float32)
    order = np.random.default_rng(7).permutation(len(small))
    rest, test = order[2000:], order[:2000]
    return Source(small[rest], labels[rest], small[test], labels[test])


@lru_cache(maxsize=1)
def features(name: str) -> Source:
    """Last features of a traced network (a development pair): its val rows to choose from, its test rows to test."""
    with np.load(data_folder() / "error_pairs" / f"{name}.npz") as stored:
        parts = [stored[key] for key in ("val_f", "val_y", "test_f", "test_y")]
    mean, scale = parts[0].astype(np.float32).mean(axis=0), parts[0].astype(np.float32).std(axis=0) + 1e-3
    x, test_x = ((part.astype(np.float32) - mean) / scale for part in parts[::2])
    y, test_y = (part.astype(np.int64) for part in parts[1::2])
    return Source(x, y, test_x, test_y)


SOURCES = {
    "digits": digits,
    "mnist": mnist,
    "cifar_images": cifar_images,
    "cifar_features": lambda: features("cifar10_resnet20"),
    "fashion_features": lambda: features("fashion_cnn_lsmix"),
    "glyph36_features": lambda: features("g36_cnn"),
    "shape_features": lambda: features("shape_cnn_ls"),
    "table_features": lambda: features("tab_mlp"),
}


def split(source: Source, sizes: tuple[int, int, int], seed: int) -> Problem:
    """Disjoint random parts of sizes start, pool and val; the test set is the same for every seed."""
    order = np.random.default_rng(seed).permutation(len(source.labels))
    if sum(sizes) > len(order):
        raise ValueError(f"sizes: expected at most {len(order)} in all, got {sizes}")
    start, pool, val = np.split(order[: sum(sizes)], np.cumsum(sizes)[:-1])
    return Problem(source.inputs, source.labels, start, pool, val, source.test_inputs, source.test_labels)


def duplicated(problem: Problem, copies: int, noise: float, seed: int) -> Problem:
    """The pool again with every image ``copies`` times: one as it is, one bitwise equal, the others with noise.

    The pool keeps its size: it is thinned to the originals first.
    """
    rng = np.random.default_rng(seed)
    originals = problem.pool[: len(problem.pool) // copies]
    spread = problem.inputs.std()
    blocks = [problem.inputs]
    for number in range(1, copies):
        sigma = 0.0 if number == 1 else noise * spread
        copy = problem.inputs[originals] + sigma * rng.standard_normal(problem.inputs[originals].shape)
        blocks.append(copy.astype(np.float32))
    inputs = np.concatenate(blocks)
    labels = np.concatenate([problem.labels, *[problem.labels[originals]] * (copies - 1)])
    pool = np.concatenate([originals, np.arange(len(problem.labels), len(labels))])
    return Problem(
        inputs, labels, problem.start, pool, problem.val, problem.test_inputs, problem.test_labels
    )  # fmt: skip


def long_tail(problem: Problem, ratio: float, seed: int) -> Problem:
    """Start, pool and val with class sizes that fall geometrically to 1 / ratio; the test set stays balanced.

    Which classes are rare changes with the seed.
    """
    rng = np.random.default_rng(seed)
    n_classes = problem.n_classes
    keep = (ratio ** (-np.arange(n_classes) / (n_classes - 1)))[rng.permutation(n_classes)]

    def thinned(rows: IntArray) -> IntArray:
        return rows[rng.random(len(rows)) < keep[problem.labels[rows]]]

    parts = (thinned(rows) for rows in (problem.start, problem.pool, problem.val))
    return Problem(problem.inputs, problem.labels, *parts, problem.test_inputs, problem.test_labels)
