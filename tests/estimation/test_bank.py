"""The space of the features: what it is, that products are exact, and that odd data do not break it."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.estimation import bank as module
from ml_debugger.estimation.bank import MAX_ROWS, POINT_STEP, Bank, build_bank, with_rows
from ml_debugger.estimation.exact import UNIT_STEP


def data(n_rows: int = 600, width: int = 10, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.integers(0, n_classes, n_rows)
    centres = 4 * random.normal(size=(n_classes, width))
    return (centres[truth] + random.normal(size=(n_rows, width)) * np.linspace(0.5, 3, width)).astype(np.float32), truth


def standard(bank: Bank, vectors: np.ndarray) -> np.ndarray:
    return (vectors.astype(np.float64) - bank.mean) * bank.scale


@pytest.mark.parametrize("width", [2, 10, 300])
def test_rows_are_placed_where_the_projection_says(width: int) -> None:
    vectors, truth = data(width=width)
    bank = build_bank(vectors, truth)
    expected = standard(bank, vectors) @ bank.projection
    error = np.abs(bank.place(vectors) * POINT_STEP - expected)
    assert error.max() < 0.05 * expected.std()


def test_classes_are_whitened() -> None:
    vectors, truth = data(6000)
    bank = build_bank(vectors, truth)
    placed = bank.place(vectors) * POINT_STEP
    means = np.stack([placed[truth == c].mean(axis=0) for c in range(3)])
    within = np.cov((placed - means[truth]).T)
    assert np.abs(within - np.diag(np.diag(within))).max() < 0.1
    assert 0.3 < np.diag(within).min()
    assert np.diag(within).max() < 1.1  # shrunk towards the sphere


def test_components_keep_lengths() -> None:
    vectors, truth = data()
    bank = build_bank(vectors, truth)
    components = bank.to_components(bank.place(vectors))
    np.testing.assert_allclose((components**2).sum(axis=1), (standard(bank, vectors) ** 2).sum(axis=1), rtol=0.05)


def test_products_are_exact_and_do_not_depend_on_the_batch() -> None:
    vectors, truth = data(400, width=700)
    bank = build_bank(vectors, truth)
    whole = bank.place(vectors)
    np.testing.assert_array_equal(whole, np.concatenate([bank.place(vectors[row : row + 1]) for row in range(400)]))
    steps = np.rint((vectors - bank.mean) * bank._steps)
    exact = (steps.astype(np.int64) @ bank.axes.astype(np.int64)).astype(np.float64)
    np.testing.assert_array_equal(whole, np.rint(exact * bank._to_points))


def test_longest_rows_cannot_round_and_keep_their_direction() -> None:
    vectors, truth = data(400, width=600)
    bank = build_bank(vectors, truth)
    far = (bank.mean + (vectors[:20] - bank.mean) * np.float32(1e4)).astype(np.float32)
    lengths = np.linalg.norm(bank.axes, axis=0)
    assert lengths.max() * module.ROW_LENGTH <= 2.0**24
    placed, near = bank.place(far), bank.place(vectors[:20])
    cosine = (placed * near).sum(axis=1) / np.linalg.norm(placed, axis=1) / np.linalg.norm(near, axis=1)
    assert cosine.min() > 0.99
    assert (np.linalg.norm(placed, axis=1) > np.linalg.norm(near, axis=1)).all()
    assert np.isfinite(bank.place(np.full((1, 600), 3e38, dtype=np.float32))).all()


def test_rows_are_unit_vectors_by_class() -> None:
    vectors, truth = data(5000, n_classes=7)
    bank = build_bank(vectors, truth)
    assert bank.classes.tolist() == list(range(7))
    assert len(bank.rows) == MAX_ROWS
    assert bank.starts[0] == 0
    np.testing.assert_allclose(np.linalg.norm(bank.rows * UNIT_STEP, axis=1), 1, atol=0.01)


def test_other_rows_can_be_put_in() -> None:
    vectors, truth = data()
    bank = build_bank(vectors, truth)
    labels = np.array([4, 1, 4, 0])
    is_held = np.array([True, False, True, False])
    changed, order = with_rows(bank, bank.place(vectors[:4]), labels, is_held)
    assert changed.classes.tolist() == [0, 1, 4]
    assert changed.starts.tolist() == [0, 1, 2]
    assert labels[order].tolist() == [0, 1, 4, 4]
    assert changed.is_held.tolist() == [False, False, True, True]
    assert changed.width == bank.width


def test_wide_features_are_reduced() -> None:
    vectors, truth = data(400, width=100)
    assert build_bank(vectors, truth).axes.shape == (100, 48)


def test_very_wide_features_take_the_randomised_way(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, truth = data(300, width=120)
    exact = build_bank(vectors, truth)
    monkeypatch.setattr(module, "EXACT_WIDTH", 64)
    found = build_bank(vectors, truth)
    lengths = [np.linalg.norm(one.to_components(one.place(vectors)), axis=1) for one in (exact, found)]
    assert found.axes.shape == exact.axes.shape
    assert np.corrcoef(*lengths)[0, 1] > 0.9


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
    bank = build_bank(vectors, np.arange(30) % 3)
    assert all(np.isfinite(array).all() for array in bank.to_arrays().values())
    assert np.isfinite(bank.place(vectors)).all()


def test_one_row_per_class_has_no_spread_within() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    bank = build_bank(vectors, np.arange(5))
    assert np.isfinite(bank.projection).all()
    assert len(bank.rows) == 5


def test_a_single_row() -> None:
    bank = build_bank(np.ones((1, 3), dtype=np.float32), np.array([1]))
    assert bank.classes.tolist() == [1]
    assert bank.width == 3


def test_same_rows_same_bank_and_fields_survive() -> None:
    vectors, truth = data()
    first, second = (build_bank(vectors, truth, seed=4) for _ in range(2))
    again = Bank.from_arrays(first.to_arrays())
    for name, array in first.to_arrays().items():
        np.testing.assert_array_equal(array, second.to_arrays()[name])
        np.testing.assert_array_equal(array, again.to_arrays()[name])
