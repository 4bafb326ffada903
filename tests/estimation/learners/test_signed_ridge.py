"""The signed ridge: against a general optimiser, its signs, its anchors, its cautious half."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from ml_debugger.estimation.learners import LEARNERS, Design, Layout
from ml_debugger.estimation.learners import signed_ridge as module
from ml_debugger.estimation.metrics import auroc
from ml_debugger.estimation.numbers import sigmoid

LEARNER = LEARNERS["signed_ridge"]


def example(n_rows: int = 900, seed: int = 0, use: float = 1.0, layout: Layout | None = None):
    random = np.random.default_rng(seed)
    descriptors = random.normal(size=(n_rows, 4))
    baseline = random.normal(-1, 1, n_rows)
    truth = baseline + use * (1.5 * descriptors[:, 1] + 0.5 * descriptors[:, 2]) - 0.5
    wrong = (random.random(n_rows) < sigmoid(truth)).astype(float)
    return Design(descriptors, baseline, layout or Layout()), wrong


@pytest.mark.parametrize("penalty", [1.0, 100.0])
def test_solution_is_that_of_a_general_optimiser(penalty: float) -> None:
    design, wrong = example(300)
    table, prior = design.table(), np.array([0.5, 0.0, 0.2, 0.0, 0.0])
    mine = module._solve(table, wrong, penalty, prior, None)

    def loss(point: np.ndarray) -> float:
        linear = point[0] + table @ point[1:]
        return float(
            (np.logaddexp(0, linear) - wrong * linear).sum() + 0.5 * penalty * ((point[1:] - prior) ** 2).sum()
        )

    bounds = [(None, None), *[(0, None)] * 5]
    best = minimize(loss, np.full(6, 0.1), method="SLSQP", bounds=bounds, options={"maxiter": 500, "ftol": 1e-12})
    assert loss(mine) <= best.fun + 1e-3
    np.testing.assert_allclose(mine, best.x, atol=2e-3)


def test_finds_what_the_baseline_misses() -> None:
    design, wrong = example()
    arrays, out_of_fold = LEARNER.fit(design, wrong, np.arange(len(wrong)) % 5)
    assert auroc(out_of_fold, wrong) > auroc(design.baseline, wrong) + 0.1
    other, other_wrong = example(seed=1)
    assert auroc(LEARNER.log_odds(arrays, other), other_wrong) > auroc(other.baseline, other_wrong) + 0.1
    assert arrays["weights"][1:].argmax() == 2  # 1 + position of the telling descriptor


def test_no_weight_is_negative() -> None:
    """A descriptor that is turned the wrong way round gets nothing, however well it would predict."""
    design, wrong = example()
    turned = Design(-design.descriptors, design.baseline)
    arrays, _ = LEARNER.fit(turned, wrong, np.arange(len(wrong)) % 5)
    assert (arrays["weights"][1:] >= 0).all()
    assert arrays["weights"][3] == 0


def test_falls_back_to_the_baseline_when_nothing_else_helps() -> None:
    design, wrong = example(use=0.0)
    arrays, _ = LEARNER.fit(design, wrong, np.arange(len(wrong)) % 5)
    assert np.corrcoef(LEARNER.log_odds(arrays, design), design.baseline)[0, 1] > 0.97


def test_shrinks_towards_its_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENALTIES", (1e7,))
    for layout, anchored in ((Layout(), [0]), (Layout(anchors=(1,)), [2]), (Layout(anchors=(1, 2)), [2, 3])):
        design, wrong = example(layout=layout)
        weights = LEARNER.fit(design, wrong, np.arange(len(wrong)) % 5)[0]["weights"][1:]
        assert np.flatnonzero(weights > 0.01 * weights.max()).tolist() == anchored


def test_the_cautious_part_uses_its_columns_only() -> None:
    layout = Layout(anchors=(1,), cautious=(2,), cautious_anchors=(2,))
    design, wrong = example(layout=layout)
    folds = np.arange(len(wrong)) % 5
    arrays, out_of_fold = LEARNER.fit(design, wrong, folds)
    alone, mine = LEARNER.fit(Design(design.descriptors, design.baseline, Layout(anchors=(1,))), wrong, folds)
    careful, careful_mine = LEARNER.fit(
        Design(design.descriptors[:, [2]], design.baseline, Layout(anchors=(0,))), wrong, folds
    )
    half = np.zeros(6)
    half[[0, 1, 4]] = careful["weights"]
    np.testing.assert_allclose(
        arrays["weights"], (1 - module.CAUTION) * alone["weights"] + module.CAUTION * half, atol=1e-8
    )
    np.testing.assert_allclose(out_of_fold, (1 - module.CAUTION) * mine + module.CAUTION * careful_mine, atol=1e-8)
    assert len(arrays["penalties"]) == 2


def test_a_fold_has_no_part_in_its_own_values() -> None:
    design, wrong = example(300)
    rows = design.table()
    inside = np.arange(300) % 3 == 1
    changed = np.where(inside, 1 - wrong, wrong)
    fits = [module._solve(rows[~inside], target[~inside], 10.0, np.zeros(5), None) for target in (wrong, changed)]
    np.testing.assert_array_equal(*fits)


def test_values_beyond_the_range_seen_are_cut() -> None:
    design, wrong = example(300)
    arrays, _ = LEARNER.fit(design, wrong, np.arange(300) % 3)
    far, farther = (Design(np.full((1, 4), size), np.array([size])) for size in (1e9, 1e12))
    assert LEARNER.log_odds(arrays, far) == LEARNER.log_odds(arrays, farther)


@pytest.mark.parametrize("descriptors", [np.ones((200, 3)), np.empty((200, 0))], ids=["constant", "none"])
def test_descriptors_that_say_nothing(descriptors: np.ndarray) -> None:
    random = np.random.default_rng(0)
    design = Design(descriptors, random.normal(size=200))
    arrays, out_of_fold = LEARNER.fit(design, (random.random(200) < 0.3).astype(float), np.arange(200) % 4)
    assert np.isfinite(out_of_fold).all()
    assert np.isfinite(arrays["weights"]).all()


def test_mixed_penalties_are_a_mean_that_ends_at_the_best_one(monkeypatch: pytest.MonkeyPatch) -> None:
    design, wrong = example(400)
    folds = np.arange(400) % 5
    best, alone = module.fit(design, wrong, folds)
    mixed = Design(design.descriptors, design.baseline, Layout(mixed=True))
    arrays, out_of_fold = module.fit(mixed, wrong, folds)
    assert (arrays["weights"][1:] >= 0).all()
    assert np.abs(out_of_fold - alone).max() > 1e-3
    np.testing.assert_allclose(out_of_fold, alone, atol=0.5)
    monkeypatch.setattr(module, "SPREAD", 1e-9)  # every penalty but the best weighs nothing
    arrays, out_of_fold = module.fit(mixed, wrong, folds)
    np.testing.assert_allclose(out_of_fold, alone)
    np.testing.assert_allclose(arrays["weights"], best["weights"])
    monkeypatch.setattr(module, "SPREAD", 1e9)  # all weigh the same
    monkeypatch.setattr(module, "_line", lambda values, wrong: (0.0, 1.0))
    arrays, out_of_fold = module.fit(mixed, wrong, folds)
    singles = []
    for penalty in module.PENALTIES:
        monkeypatch.setattr(module, "PENALTIES", (penalty,))
        singles.append(module.fit(design, wrong, folds))
    np.testing.assert_allclose(arrays["weights"], np.mean([one["weights"] for one, _ in singles], axis=0), atol=1e-3)
    np.testing.assert_allclose(out_of_fold, np.mean([one for _, one in singles], axis=0), atol=1e-3)
