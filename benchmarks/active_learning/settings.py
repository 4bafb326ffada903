"""The settings: which source, which network, how many labels. Tuning settings are for choosing constants only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.active_learning.data import SOURCES, Problem, duplicated, long_tail, split

__all__ = ["SETTINGS", "Setting"]


@dataclass(frozen=True)
class Setting:
    """One line of the benchmark.

    Attributes:
        title: What it is, for the report.
        source: Name in ``SOURCES``.
        network: Name in ``learner.NETWORKS``.
        start: Labels at the beginning, drawn at random.
        budgets: Labels after each round of querying.
        pool: Inputs to choose from.
        val: Labelled inputs that are only evaluated on; our strategies learn their error model on them.
        change: Makes the pool redundant or long-tailed, given the problem and the seed.
        tuning: Whether it was used to choose a strategy's constants; such settings are left out of the default run.
    """

    title: str
    source: str
    network: str
    start: int
    budgets: tuple[int, ...]
    pool: int
    val: int
    change: Callable[[Problem, int], Problem] | None = None
    tuning: bool = False

    def problem(self, seed: int) -> Problem:
        """The data of one seed."""
        problem = split(SOURCES[self.source](), (self.start, self.pool, self.val), seed)
        if self.change is None:
            return problem
        changed = self.change(problem, seed)
        if len(changed.start) == self.start:
            return changed
        # A thinned start is filled up from the pool, which is thinned alike, so that budgets stay what they are.
        missing = self.start - len(changed.start)
        start = np.concatenate([changed.start, changed.pool[:missing]])
        return Problem(
            changed.inputs, changed.labels, start, changed.pool[missing:], changed.val, changed.test_inputs,
            changed.test_labels,
        )  # fmt: skip


def _copies(problem: Problem, seed: int) -> Problem:
    return duplicated(problem, copies=8, noise=0.15, seed=seed)


def _tail(problem: Problem, seed: int) -> Problem:
    return long_tail(problem, ratio=50, seed=seed)


SETTINGS = {
    "digits_cnn": Setting(
        "digits 8 x 8, small CNN trained whole", "digits", "digits_cnn", 40, (80, 160, 320), 900, 300
    ),
    "mnist_mlp": Setting("MNIST 14 x 14, MLP trained whole", "mnist", "mlp", 50, (100, 200, 400), 2500, 500),
    "cifar_frozen": Setting(
        "CIFAR-10, trained head on frozen ResNet-20 features", "cifar_features", "linear", 20, (40, 80, 160), 3000, 500
    ),
    "cifar_cnn": Setting(
        "CIFAR-10 at 16 x 16, small CNN trained whole", "cifar_images", "cifar_cnn", 250, (500, 1000, 2000), 4000, 500
    ),
    "mnist_redundant": Setting(
        "MNIST, MLP; every pool image 8 times: twice the same, six times with noise",
        "mnist", "mlp", 50, (100, 200, 400), 3200, 500, _copies,
    ),
    "mnist_tail": Setting(
        "MNIST, MLP; class sizes falling to 1/50 in start, pool and val, test balanced",
        "mnist", "mlp", 50, (100, 200, 400), 9000, 1800, _tail,
    ),
    "cifar_tail": Setting(
        "CIFAR-10, head on frozen features; class sizes falling to 1/50, test balanced",
        "cifar_features", "linear", 20, (40, 80, 160), 2600, 1300, _tail,
    ),
    "tune_fashion": Setting(
        "Fashion-MNIST features, head", "fashion_features", "linear", 20, (40, 80, 160), 2400, 500, tuning=True
    ),
    "tune_glyph36": Setting(
        "36 glyphs, features, head", "glyph36_features", "head", 72, (144, 288, 576), 2300, 500, tuning=True
    ),
    "tune_table": Setting(
        "20 tabular classes, features, head", "table_features", "head", 60, (120, 240, 480), 2300, 500, tuning=True
    ),
    "tune_shape_redundant": Setting(
        "shapes, features, head; every pool row 8 times", "shape_features", "head", 20, (40, 80, 160), 2400, 500,
        _copies, tuning=True,
    ),
    "tune_fashion_tail": Setting(
        "Fashion-MNIST features, head; class sizes falling to 1/50", "fashion_features", "linear", 20, (40, 80, 160),
        1800, 1100, _tail, tuning=True,
    ),
}  # fmt: skip
