"""Reference statistics: what they are, and that odd data do not break them."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.estimation import bank as module
from ml_debugger.estimation.bank import MAX_ROWS, POINT_STEP, Bank, build_bank
from ml_debugger.estimation.exact import UNIT_STEP


def data(n_rows: int = 600, width: int = 10, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.integers(0, n_classes, n_rows)
    centres = 4 * random.normal(size=(n_classes, width))
    return (centres[truth] + random.normal(size=(n_rows, width)) * np.linspace(0.5, 3, width)).astype(np.float32), truth


def points(bank: Bank, vectors: np.ndarray) -> np.ndarray:
    """Rows in the whitened space, in plain float64."""
    return ((vectors.astype(np.float64) - bank.mean) * bank.scale) @ bank.projection * bank.steps[1]


def test_classes_are_whitened_and_their_means_found() -> None:
    vectors, truth = data(6000)
    bank = build_bank(vectors, truth, np.zeros(len(truth), dtype=bool), 3)
    placed = points(bank, vectors)
    means = np.stack([placed[truth == c].mean(axis=0) for c in range(3)])
    np.testing.assert_allclose(bank.means * POINT_STEP, means, atol=0.01)
    within = np.cov((placed - means[truth]).T)
    assert np.abs(within - np.eye(len(within))).max() < 0.1  # shrunk a little towards the sphere


def test_back_and_on_from_the_whitened_space() -> None:
    vectors, truth = data()
    bank = build_bank(vectors, truth, np.zeros(len(truth), dtype=bool), 3)
    placed = points(bank, vectors)
    standard = (vectors - bank.mean) * bank.scale
    np.testing.assert_allclose(
        ((placed @ bank.unwhiten * bank.steps[2]) ** 2).sum(axis=1), (standard**2).sum(axis=1), rtol=1e-3
    )
    overall = placed @ bank.overall * bank.steps[3]
    assert np.abs(np.cov(overall.T) - np.eye(overall.shape[1])).max() < 0.1
    assert not bank.truncated


def test_rows_are_unit_vectors_equally_many_of_each_class() -> None:
    vectors, truth = data(5000, n_classes=7)
    wrong = np.random.default_rng(1).random(5000) < 0.2
    bank = build_bank(vectors, truth, wrong, 7)
    assert bank.classes.tolist() == list(range(7))
    assert len(bank.rows) == 7 * (MAX_ROWS // 7)
    np.testing.assert_allclose(np.linalg.norm(bank.rows * UNIT_STEP, axis=1), 1, atol=0.01)
    assert 0.1 < len(bank.wrong) / len(bank.rows) < 0.3


def test_wide_features_are_reduced_and_say_so() -> None:
    vectors, truth = data(400, width=100)
    bank = build_bank(vectors, truth, np.zeros(400, dtype=bool), 3)
    assert bank.projection.shape == (100, 48)
    assert bank.truncated


def test_very_wide_features_take_the_randomised_way(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, truth = data(300, width=120)
    exact = build_bank(vectors, truth, np.zeros(300, dtype=bool), 3)
    monkeypatch.setattr(module, "EXACT_WIDTH", 64)
    found = build_bank(vectors, truth, np.zeros(300, dtype=bool), 3)
    exact_distances, distances = (((points(b, vectors)) ** 2).sum(axis=1) for b in (exact, found))
    assert found.projection.shape == exact.projection.shape
    assert np.corrcoef(exact_distances, distances)[0, 1] > 0.9


def test_fewer_bits_where_very_many_features_are_summed() -> None:
    assert module._feature_bits(8192) == 20
    assert module._feature_bits(32768) == 18


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((30, 4), dtype=np.float32),
        np.zeros((30, 1), dtype=np.float32),
        np.eye(30, 50, dtype=np.float32),
        np.full((30, 3), 1e30, dtype=np.float32) * np.arange(1, 31, dtype=np.float32)[:, None],
    ],
    ids=["constant", "zero", "fewer rows than features", "huge"],
)
def test_odd_features(vectors: np.ndarray) -> None:
    truth = np.arange(30) % 3
    bank = build_bank(vectors, truth, np.zeros(30, dtype=bool), 5)
    assert all(np.isfinite(array).all() for array in bank.to_arrays().values())
    assert bank.known.tolist() == [True, True, True, False, False]


def test_one_row_per_class_has_no_spread_within() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    bank = build_bank(vectors, np.arange(5), np.zeros(5, dtype=bool), 5)
    assert np.isfinite(bank.projection).all()
    assert len(bank.rows) == 5


def test_a_single_row() -> None:
    bank = build_bank(np.ones((1, 3), dtype=np.float32), np.array([1]), np.array([False]), 2)
    assert bank.classes.tolist() == [1]
    assert bank.width == 3


def test_same_rows_same_bank_and_fields_survive() -> None:
    vectors, truth = data()
    first, second = (build_bank(vectors, truth, np.zeros(600, dtype=bool), 3, seed=4) for _ in range(2))
    again = Bank.from_arrays(first.to_arrays())
    for name, array in first.to_arrays().items():
        np.testing.assert_array_equal(array, second.to_arrays()[name])
        np.testing.assert_array_equal(array, again.to_arrays()[name])
