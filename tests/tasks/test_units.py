"""Matrices from list columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ml_debugger.errors import InputError
from ml_debugger.tasks.units import read_matrix

LISTS = pa.list_(pa.float32())


def table(values: list, chunks: int = 1) -> pa.Table:
    size = max(1, -(-len(values) // chunks))
    arrays = [pa.array(values[start : start + size], type=LISTS) for start in range(0, len(values), size)]
    return pa.table({"features": pa.chunked_array(arrays, type=LISTS)})


@pytest.mark.parametrize("chunks", [1, 2])
def test_null_rows_are_nan(chunks: int) -> None:
    found = read_matrix(table([[1.0, 2.0], None, [3.0, 4.0]], chunks), "features")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1, 2], [np.nan, np.nan], [3, 4]])


def test_slices_and_batches() -> None:
    rows = table([[1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(read_matrix(rows.slice(1), "features"), [[2], [3]])
    np.testing.assert_array_equal(read_matrix(rows.to_batches()[0], "features"), [[1], [2], [3]])


def test_values_under_null_rows_are_skipped() -> None:
    offsets, values = pa.array([0, 2, 4, 6], pa.int32()), pa.array(np.arange(6, dtype=np.float32))
    hidden = pa.ListArray.from_arrays(offsets, values, mask=pa.array([False, True, False]))
    found = read_matrix(pa.table({"features": hidden}), "features")
    np.testing.assert_array_equal(found, [[0, 1], [np.nan, np.nan], [4, 5]])


def test_no_vectors() -> None:
    assert read_matrix(table([None, None]), "features").shape == (2, 0)
    assert read_matrix(table([]), "features").shape == (0, 0)
    assert read_matrix(pa.table({"x": [1, 2]}), "features").shape == (2, 0)


def test_different_lengths() -> None:
    with pytest.raises(InputError, match=r"features: expected vectors of one length, got lengths \[1, 2\]"):
        read_matrix(table([[1.0], [1.0, 2.0]]), "features")
