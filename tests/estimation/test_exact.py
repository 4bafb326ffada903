"""Products on a grid do not depend on the order of summation."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.estimation.exact import BITS, UNIT_STEP, grid_step, to_grid, to_unit_grid


def test_products_are_the_same_in_any_order() -> None:
    random = np.random.default_rng(0)
    left = to_grid(random.normal(size=(32, 8192)), grid_step(64))
    right = to_grid(random.normal(size=(8192, 16)), grid_step(5))
    order = random.permutation(8192)
    product = left @ right
    np.testing.assert_array_equal(product, left[:, order] @ right[order])
    np.testing.assert_array_equal(product[7], left[7] @ right)
    np.testing.assert_array_equal(product[3:4], left[3:4] @ right)
    expected = left.astype(np.int64).astype(object) @ right.astype(np.int64).astype(object)
    assert (product == expected.astype(np.float64)).all()


def test_unit_vectors_multiply_exactly_in_float32() -> None:
    random = np.random.default_rng(1)
    left, right = to_unit_grid(random.normal(size=(64, 48))), to_unit_grid(random.normal(size=(2000, 48)))
    exact = left.astype(np.int64) @ right.astype(np.int64).T
    np.testing.assert_array_equal((left @ right.T).astype(np.int64), exact)
    np.testing.assert_array_equal((right @ left.T).T.astype(np.int64), exact)


def test_the_grid_is_fine_and_cut_at_its_end() -> None:
    values = np.array([0.1234567, -3.0, 1e9])
    step = grid_step(4.0)
    assert step == 2.0 ** (2 - BITS)
    np.testing.assert_allclose(to_grid(values, step)[:2] * step, values[:2], atol=step / 2)
    assert to_grid(values, step)[2] == 2.0**BITS


def test_unit_grid_keeps_directions_and_zero() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(to_unit_grid(rows) * UNIT_STEP, [[0.6, 0.8], [0, 0]], atol=UNIT_STEP)


def test_a_zero_factor_has_a_step() -> None:
    assert grid_step(0.0) > 0
    assert to_grid(np.zeros(3), grid_step(0.0)).tolist() == pytest.approx([0.0] * 3)
