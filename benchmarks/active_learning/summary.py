"""From accuracies to verdicts: area under the budget curve, and paired differences over seeds with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.active_learning.rivals import CONTROL

__all__ = ["Gain", "Table", "area", "budget_gain", "gain", "overall_gain", "setting_gain", "tabulate"]

FloatArray = NDArray[np.floating]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Table:
    """Accuracies ``(S seeds, B budgets)`` by setting and strategy; ``budgets`` by setting, the start first.

    Where a strategy has several draws per seed, their mean.
    """

    accuracy: Mapping[tuple[str, str], FloatArray]
    budgets: Mapping[str, tuple[int, ...]]

    @property
    def settings(self) -> tuple[str, ...]:
        """Settings in the order measured."""
        return tuple(self.budgets)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Strategies in the order measured."""
        return tuple(dict.fromkeys(strategy for _, strategy in self.accuracy))


@dataclass(frozen=True)
class Gain:
    """A mean difference over seeds with its 95 % interval (Student's t); one seed has no interval."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> int:
        """1 when the interval is above zero, -1 below, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def tabulate(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows of ``measure_setting`` as arrays; every strategy must have the same seeds and budgets in a setting."""
    cells: dict[tuple[str, str], dict[tuple[int, int], list[float]]] = {}
    for row in rows:
        cell = cells.setdefault((row["setting"], row["strategy"]), {})
        cell.setdefault((row["seed"], row["n_labels"]), []).append(row["accuracy"])
    budgets: dict[str, tuple[int, ...]] = {}
    accuracy = {}
    for (setting, strategy), cell in cells.items():
        seeds, sizes = (sorted(set(axis)) for axis in zip(*cell, strict=True))
        accuracy[setting, strategy] = np.array([[np.mean(cell[seed, size]) for size in sizes] for seed in seeds])
        if budgets.setdefault(setting, tuple(sizes)) != tuple(sizes):
            raise ValueError(f"{setting}: {strategy} was measured at {sizes}, others at {budgets[setting]}")
    return Table(accuracy, budgets)


def area(table: Table, setting: str, strategy: str) -> FloatArray:
    """``(S,)`` mean accuracy over the budget axis in powers of two: the area under the curve, scaled to 0..1."""
    steps = np.log2(table.budgets[setting])
    curves = table.accuracy[setting, strategy]
    return np.trapezoid(curves, steps, axis=1) / (steps[-1] - steps[0])


def gain(differences: FloatArray) -> Gain:
    """Mean of ``(S,)`` paired differences and its interval."""
    mean = float(differences.mean())
    if len(differences) < 2:
        return Gain(mean, float("nan"), float("nan"))
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1) * stats.sem(differences)
    return Gain(mean, mean - float(reach), mean + float(reach))


def setting_gain(table: Table, setting: str, strategy: str, against: str = CONTROL) -> Gain:
    """Difference of areas in one setting, paired by seed."""
    return gain(area(table, setting, strategy) - area(table, setting, against))


def overall_gain(table: Table, strategy: str, against: str = CONTROL, settings: Iterable[str] | None = None) -> Gain:
    """Mean over settings of the difference of areas, paired by seed; the interval holds for these settings."""
    chosen = table.settings if settings is None else tuple(settings)
    return gain(
        np.mean([area(table, name, strategy) - area(table, name, against) for name in chosen], axis=0)
    )  # fmt: skip


def budget_gain(table: Table, strategy: str, position: int, against: str = CONTROL) -> Gain:
    """The same for the accuracy at one budget; position 0 is the start, where all are alike."""
    pairs = [(table.accuracy[name, strategy], table.accuracy[name, against]) for name in table.settings]
    return gain(np.mean([ours[:, position] - theirs[:, position] for ours, theirs in pairs], axis=0))
