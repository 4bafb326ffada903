"""The anchored ridge against an independent optimiser, and its fall-back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from ml_debugger.estimation.learners import LEARNERS, Design
from ml_debugger.estimation.learners import anchored_ridge as module
from ml_debugger.estimation.metrics import auroc
from ml_debugger.estimation.numbers import sigmoid


def example(n_rows: int = 900, seed: int = 0, use: float = 1.0) -> tuple[Design, np.ndarray]:
    random = np.random.default_rng(seed)
    descriptors = random.normal(size=(n_rows, 4))
    baseline = random.normal(-1, 1, n_rows)
    categories = random.integers(0, 6, n_rows)
    truth = baseline + use * (1.5 * descriptors[:, 1] + (categories == 2)) - 0.5
    return Design(descriptors, baseline, categories, 6), (random.random(n_rows) < sigmoid(truth)).astype(float)


@pytest.mark.parametrize("penalty", [1.0, 80.0])
def test_solution_is_that_of_a_general_optimiser(penalty: float) -> None:
    design, wrong = example(300)
    fitted = module._fit_path(design, wrong)[module.PENALTIES.index(penalty)]
    columns = module._transform(fitted, design)
    onehot = np.eye(6)[design.categories]
    ridge = np.concatenate([np.full(3, module.FREE), np.full(columns.shape[1] - 3 + 6, penalty)])
    everything = np.concatenate([columns, onehot], axis=1)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        linear = everything @ weights
        gradient = everything.T @ (sigmoid(linear) - wrong) + ridge * weights
        return float((np.logaddexp(0, linear) - wrong * linear).sum() + 0.5 * (ridge * weights**2).sum()), gradient

    best = minimize(loss, np.zeros(everything.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 5000})
    mine = np.concatenate([fitted["weights"], fitted["offsets"]])
    assert loss(mine)[0] <= best.fun + 1e-3


def test_finds_what_the_baseline_misses() -> None:
    design, wrong = example()
    folds = np.arange(len(wrong)) % 5
    arrays, out_of_fold = LEARNERS["anchored_ridge"].fit(design, wrong, folds)
    assert auroc(out_of_fold, wrong) > auroc(design.baseline, wrong) + 0.1
    other, other_wrong = example(seed=1)
    assert auroc(module.log_odds(arrays, other), other_wrong) > auroc(other.baseline, other_wrong) + 0.1
    assert int(arrays["anchor"]) == 2  # 1 + position of the telling descriptor
    assert arrays["offsets"].argmax() == 2


def test_falls_back_to_the_baseline_when_nothing_else_helps() -> None:
    design, wrong = example(use=0.0)
    arrays, _ = LEARNERS["anchored_ridge"].fit(design, wrong, np.arange(len(wrong)) % 5)
    assert float(arrays["penalty"]) >= 80
    correlation = np.corrcoef(module.log_odds(arrays, design), design.baseline)[0, 1]
    assert correlation > 0.97


def test_out_of_fold_values_do_not_see_their_own_fold() -> None:
    design, wrong = example(300)
    folds = np.arange(300) % 3
    changed = wrong.copy()
    changed[folds == 1] = 1 - changed[folds == 1]
    paths = [module._fit_path(design.rows(folds != 1), target[folds != 1])[0]["weights"] for target in (wrong, changed)]
    np.testing.assert_array_equal(*paths)


def test_values_beyond_the_range_seen_are_cut() -> None:
    design, wrong = example(300)
    arrays = module._fit_path(design, wrong)[-1]
    far = Design(np.full((1, 4), 1e9), np.array([1e9]), np.array([0]), 6)
    farther = Design(np.full((1, 4), 1e12), np.array([1e12]), np.array([0]), 6)
    assert module.log_odds(arrays, far) == module.log_odds(arrays, farther)


def test_constant_descriptors_and_thousands_of_categories() -> None:
    random = np.random.default_rng(0)
    design = Design(np.ones((400, 3)), random.normal(size=400), random.integers(0, 2000, 400), 2000)
    arrays, _ = LEARNERS["anchored_ridge"].fit(design, (random.random(400) < 0.3).astype(float), np.arange(400) % 4)
    assert np.isfinite(arrays["weights"]).all()
    assert arrays["offsets"].shape == (2000,)
    assert int(arrays["anchor"]) == 0


def test_no_descriptors_at_all() -> None:
    random = np.random.default_rng(0)
    design = Design(np.empty((200, 0)), random.normal(size=200), np.zeros(200, dtype=np.int64), 1)
    arrays, out_of_fold = LEARNERS["anchored_ridge"].fit(
        design, (random.random(200) < 0.3).astype(float), np.arange(200) % 4
    )
    assert np.isfinite(out_of_fold).all()
    assert int(arrays["anchor"]) == 0
