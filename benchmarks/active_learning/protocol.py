"""The rounds: train, measure on the test set, let a strategy pick, add its labels; one line per budget reached."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.active_learning import product
from benchmarks.active_learning.data import Problem
from benchmarks.active_learning.learner import forward, train
from benchmarks.active_learning.rivals import CONTROL, RIVALS
from benchmarks.active_learning.settings import SETTINGS, Setting

__all__ = ["CONTROL_DRAWS", "measure_setting"]

IntArray = NDArray[np.int64]

# Random is cheap: its accuracy is the mean of this many draws per seed, so that it adds less noise to differences.
CONTROL_DRAWS = 3
START = "start"


@dataclass(frozen=True)
class _Round:
    """A trained model with what is labelled so far; ``key`` names it among the rounds of this seed."""

    model: Any
    labelled: IntArray
    pool: IntArray
    key: str
    seed: int


class _Picker:
    """Picks by name. The scored pool of the first round is shared by all our strategies: they start alike."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._scored: dict[str, Any] = {}

    def pick(self, strategy: str, step: _Round, n: int) -> IntArray:
        """``(n,)`` rows of the pool to label."""
        if strategy in RIVALS:
            pool, labelled = (forward(step.model, self._problem.inputs[rows]) for rows in (step.pool, step.labelled))
            return step.pool[RIVALS[strategy](pool, labelled, n, np.random.default_rng(step.seed))]
        if step.key not in self._scored:
            scored = product.score_pool(step.model, self._problem, step.labelled, step.pool, version=step.key)
            self._scored = {key: value for key, value in self._scored.items() if key == START} | {step.key: scored}
        picked = self._scored[step.key].query(n, strategy, seed=step.seed)
        if len(set(picked)) != n:
            raise RuntimeError(f"{strategy} picked {len(set(picked))} of {n} inputs")
        return np.array(picked, np.int64)


def measure_setting(name: str, seed: int, strategies: Iterable[str]) -> list[dict[str, Any]]:
    """Rows ``setting, strategy, seed, draw, n_labels, accuracy, seconds``, one per budget and arm."""
    setting = SETTINGS[name]
    problem = setting.problem(seed)
    rows = []
    with product.workspace():
        picker = _Picker(problem)
        start = _trained(setting, problem, problem.start, START, seed)
        for strategy in strategies:
            for draw in range(CONTROL_DRAWS if strategy == CONTROL else 1):
                arm = {"setting": name, "strategy": strategy, "seed": seed, "draw": draw}
                rows += [{**arm, **row} for row in _one_arm(setting, picker, start, problem, (strategy, seed, draw))]
    return rows


def _one_arm(
    setting: Setting, picker: _Picker, start: _Round, problem: Problem, arm: tuple[str, int, int]
) -> Iterator[dict[str, Any]]:
    strategy, seed, draw = arm
    step, seconds = start, 0.0
    yield {"n_labels": len(step.labelled), **_accuracy(step, problem), "seconds": 0.0}
    for number, budget in enumerate(setting.budgets):
        asked = _Round(step.model, step.labelled, step.pool, step.key, seed=1000 * seed + 10 * draw + number)
        began = time.perf_counter()
        picked = picker.pick(strategy, asked, budget - len(step.labelled))
        seconds = time.perf_counter() - began
        labelled = np.concatenate([step.labelled, picked])
        step = _trained(setting, problem, labelled, f"{strategy}-{budget}", seed)
        yield {"n_labels": budget, **_accuracy(step, problem), "seconds": seconds}


def _trained(setting: Setting, problem: Problem, labelled: IntArray, key: str, seed: int) -> _Round:
    model = train(setting.network, problem.inputs[labelled], problem.labels[labelled], problem.n_classes, seed)
    return _Round(model, labelled, np.setdiff1d(problem.pool, labelled), key, seed)


def _accuracy(step: _Round, problem: Problem) -> dict[str, float]:
    """On the test set, which nothing else ever sees."""
    predicted = forward(step.model, problem.test_inputs).proba.argmax(axis=1)
    return {"accuracy": float((predicted == problem.test_labels).mean())}
