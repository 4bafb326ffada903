"""Small numeric functions at their ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.estimation.numbers import finite_rows, log_loss, sigmoid


@settings(deadline=None)
@given(st.floats(-700, 700))
def test_sigmoid_is_the_inverse_of_log_odds(value: float) -> None:
    found = float(sigmoid(np.array([value]))[0])
    assert 0 <= found <= 1
    if abs(value) < 30:
        assert np.log(found / (1 - found)) == pytest.approx(value, abs=1e-2)


def test_log_loss_of_certainty_is_finite() -> None:
    loss = log_loss(np.array([0.0, 1.0, 0.25]), np.array([1.0, 1.0, 0.0]))
    assert loss[0] == pytest.approx(-np.log(1e-12))
    assert loss[1] < 1e-11
    assert loss[2] == pytest.approx(-np.log(0.75))


def test_rows_are_finite_where_all_their_numbers_are() -> None:
    values = np.ones((6, 3), dtype=np.float32)
    assert finite_rows(values).all()
    values[1, 2], values[2, 0], values[3, 1] = np.nan, np.inf, -np.inf
    values[4] = 1e30  # finite, though its square is not
    assert finite_rows(values).tolist() == [True, False, False, False, True, True]
    assert finite_rows(values[4:]).all()
    assert finite_rows(values[:0]).shape == (0,)
    assert finite_rows(values[:, :0]).all()
