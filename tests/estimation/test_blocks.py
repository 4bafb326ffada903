"""Blocks of one size, whatever comes in."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from ml_debugger.estimation.blocks import BLOCK, by_blocks, in_blocks, one_blas_thread


@pytest.mark.parametrize("n_rows", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5])
def test_rows_come_back_in_order(n_rows: int) -> None:
    sizes = []

    def double(values: np.ndarray, more: np.ndarray) -> tuple[np.ndarray, ...]:
        sizes.append((len(values), len(more)))
        return values * 2, more.sum(axis=1)

    values = np.arange(n_rows, dtype=np.float64)
    more = np.arange(2.0 * n_rows).reshape(n_rows, 2)
    doubled, summed = in_blocks(double, values, more)
    assert set(sizes) == {(BLOCK, BLOCK)}
    np.testing.assert_array_equal(doubled, values * 2)
    np.testing.assert_array_equal(summed, more.sum(axis=1))


def test_products_stay_on_one_thread_and_the_users_threads_come_back() -> None:
    blas = ThreadpoolController().select(user_api="blas")
    with blas.limit(limits=2):
        before = [library["num_threads"] for library in blas.info()]
        with one_blas_thread():
            assert {library["num_threads"] for library in blas.info()} == {1}
        assert [library["num_threads"] for library in blas.info()] == before


def test_several_blocks_at_a_time_give_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    rows, matrix = rng.normal(size=(300, 40)), rng.normal(size=(40, 7))
    sizes = []

    def block(part: np.ndarray) -> tuple[np.ndarray, ...]:
        sizes.append(len(part))
        return by_blocks(part, matrix), by_blocks(part, matrix[:, 0])

    one_by_one = in_blocks(block, rows)
    assert set(sizes) == {BLOCK}
    sizes.clear()
    for found, expected in zip(in_blocks(block, rows, most=4), one_by_one, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert sizes == [4 * BLOCK, 4 * BLOCK, 2 * BLOCK]
