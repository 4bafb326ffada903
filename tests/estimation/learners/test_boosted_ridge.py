"""The ridge with trees: what no line can say, nothing where there is nothing, the same bits in every batch."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.estimation.fit import FitSettings, fit
from ml_debugger.estimation.learners import LEARNERS, Design
from ml_debugger.estimation.learners import boosted_ridge as module
from ml_debugger.estimation.metrics import auroc, brier
from ml_debugger.estimation.numbers import sigmoid
from tests.estimation.learners.test_signed_ridge import example

LEARNER, RIDGE = LEARNERS["boosted_ridge"], LEARNERS["signed_ridge"]


def crossed(n_rows: int = 2000, seed: int = 0) -> tuple[Design, np.ndarray]:
    """Errors where two descriptors have the same sign: no line finds them."""
    random = np.random.default_rng(seed)
    table = random.normal(size=(n_rows, 3))
    baseline = random.normal(-1, 1, n_rows)
    wrong = random.random(n_rows) < sigmoid(baseline + 3.0 * np.sign(table[:, 0] * table[:, 1]))
    return Design(np.concatenate([table, -table], axis=1), baseline), wrong.astype(float)


def folds(wrong: np.ndarray) -> np.ndarray:
    return np.arange(len(wrong)) % 5


def test_trees_find_what_no_line_can() -> None:
    design, wrong = crossed()
    arrays, out_of_fold = LEARNER.fit(design, wrong, folds(wrong))
    _, line = RIDGE.fit(design, wrong, folds(wrong))
    other, other_wrong = crossed(seed=1)
    fresh = LEARNER.log_odds(arrays, other)
    assert auroc(line, wrong) < 0.75
    for found, truth in ((out_of_fold, wrong), (fresh, other_wrong)):
        assert auroc(found, truth) > 0.88
    assert brier(sigmoid(fresh), other_wrong) == pytest.approx(brier(sigmoid(out_of_fold), wrong), abs=0.02)


def test_where_a_line_says_it_all_trees_add_next_to_nothing() -> None:
    design, wrong = example(3000)
    arrays, out_of_fold = LEARNER.fit(design, wrong, folds(wrong))
    _, line = RIDGE.fit(design, wrong, folds(wrong))
    assert brier(sigmoid(out_of_fold), wrong) <= brier(sigmoid(line), wrong) + 1e-3
    other, other_wrong = example(3000, seed=1)
    both = [learner.log_odds(found, other) for learner, found in ((LEARNER, arrays), (RIDGE, arrays))]
    gained = brier(sigmoid(both[1]), other_wrong) - brier(sigmoid(both[0]), other_wrong)
    assert abs(gained) < 5e-3


def test_with_few_errors_it_is_the_ridge() -> None:
    design, wrong = crossed(4 * module.FEWEST)
    few = np.flatnonzero(wrong)[: module.FEWEST - 1]
    wrong = np.zeros(len(wrong))
    wrong[few] = 1.0
    arrays, out_of_fold = LEARNER.fit(design, wrong, folds(wrong))
    theirs, line = RIDGE.fit(design, wrong, folds(wrong))
    np.testing.assert_array_equal(out_of_fold, line)
    assert arrays["leaf"].shape == (0, 8)
    np.testing.assert_array_equal(LEARNER.log_odds(arrays, design), RIDGE.log_odds(theirs, design))


def test_noise_grows_no_trees() -> None:
    random = np.random.default_rng(0)
    design = Design(random.normal(size=(1500, 5)), random.normal(size=1500))
    arrays, _ = LEARNER.fit(design, (random.random(1500) < 0.3).astype(float), np.arange(1500) % 5)
    assert len(arrays["leaf"]) <= module.STEP


def test_columns_that_do_not_vary() -> None:
    design = Design(np.zeros((600, 2)), np.zeros(600))
    arrays, out_of_fold = LEARNER.fit(design, (np.arange(600) % 2).astype(float), np.arange(600) // 2 % 5)
    assert np.isfinite(out_of_fold).all()
    assert np.isfinite(LEARNER.log_odds(arrays, design)).all()


def test_a_column_and_its_opposite_are_one() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, 50))
    usable, edges, binned = module._binned(np.stack([one, -one, other, one, np.ones(50)], axis=1))
    assert usable.tolist() == [0, 2]
    assert edges.shape == (2, module.BINS - 1)
    assert binned.shape == (50, 2)
    np.testing.assert_array_equal(binned[:, 0] > 3, one > edges[0, 3])  # as thresholds tell them apart later


def test_a_split_is_that_of_an_exhaustive_search() -> None:
    random = np.random.default_rng(1)
    binned = random.integers(0, 6, (80, 3)).astype(np.uint8)
    slope, weight = random.normal(size=80) + (binned[:, 1] > 2), np.full(80, 0.25)
    column, cut, leaf = module._tree(binned, slope, weight)

    def gain(number: int, limit: int) -> float:
        above = binned[:, number] > limit
        parts = [(slope[side].sum(), weight[side].sum()) for side in (above, ~above)]
        if min(heavy for _, heavy in parts) < module.LEAST_WEIGHT:
            return 0.0
        return sum(total**2 / (heavy + module.SHRINKAGE) for total, heavy in parts)

    best = max((gain(number, limit), -number, -limit) for number in range(3) for limit in range(5))
    assert (int(column[0]), int(cut[0])) == (-best[1], -best[2]) == (1, 2)
    assert leaf.shape == (8,)
    total, heavy = slope.sum(), weight.sum()
    assert abs(total / (heavy + module.SHRINKAGE)) < np.abs(leaf).max() * 8


def test_each_tree_learns_what_those_before_left() -> None:
    """A shift of all rows is taken up by a few dozen trees, and no more is added then."""
    design, wrong = crossed(1000)
    start = np.full(1000, -2.0)
    grower = module._Grower(design.table(), wrong, start, np.ones(1000, dtype=bool))
    losses, found = [], start.copy()
    for _ in range(6):
        found = found + grower.grow(30).parts(design.table()).sum(axis=1)
        losses.append(float(np.logaddexp(0, found).mean() - (wrong * found).mean()))
    np.testing.assert_allclose(found, grower._linear)
    assert losses == sorted(losses, reverse=True)
    assert sigmoid(found).mean() == pytest.approx(wrong.mean(), abs=0.02)


def test_a_row_has_the_same_bits_in_every_batch() -> None:
    design, wrong = crossed(800)
    arrays, _ = LEARNER.fit(design, wrong, folds(wrong))
    assert len(arrays["leaf"]) > 0
    whole = LEARNER.log_odds(arrays, design)
    for rows in (np.array([5]), np.arange(100, 164), np.arange(800)[::-1]):
        np.testing.assert_array_equal(LEARNER.log_odds(arrays, design.rows(rows)), whole[rows])
    assert LEARNER.log_odds(arrays, design.rows(np.arange(0))).shape == (0,)
    again, _ = LEARNER.fit(design, wrong, folds(wrong))
    np.testing.assert_array_equal(arrays["leaf"], again["leaf"])


def test_fits_between_gate_and_calibration() -> None:
    design, wrong = crossed(1200)
    found = fit(
        design.descriptors,
        {"error_proba": wrong},
        np.arange(1200),
        design.baseline,
        FitSettings(learners=("boosted_ridge",)),
    )
    assert found.targets["error_proba"]["learners"] == ["boosted_ridge"]
    assert brier(found.out_of_fold["error_proba"], wrong) < brier(found.baseline["error_proba"], wrong) - 0.05


def test_prepared_trees_add_up_to_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    column, threshold = rng.integers(0, 5, (60, 7)), rng.choice([-1.0, 0.0, 0.5, np.inf], (60, 7))
    arrays = {"column": column, "threshold": threshold, "leaf": rng.normal(size=(60, 8))}
    table = rng.choice([-2.0, -1.0, 0.0, 0.2, 0.5, 3.0], (96, 5))
    expected = module._Trees(**arrays).parts(table).sum(axis=1)
    np.testing.assert_array_equal(module._sums(module.prepare(arrays), table), expected)
