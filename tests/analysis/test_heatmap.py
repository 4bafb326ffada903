"""The heatmap loses no row and says where each is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.analysis.heatmap import heatmap
from ml_debugger.errors import InputError

rows = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), max_size=50)


@settings(deadline=None)
@given(rows, st.integers(1, 12))
def test_every_row_lies_in_its_cell(values: list[tuple[float, float, bool]], n_bins: int) -> None:
    score, proba, wrong = (
        np.array([row[i] for row in values], dtype=kind) for i, kind in ((0, float), (1, float), (2, bool))
    )
    table = heatmap(score, proba, wrong, n_bins).to_pylist()
    assert sum(row["count"] for row in table) == len(values)
    for cell in table:
        lows, highs = (cell["score_low"], cell["error_proba_low"]), (cell["score_high"], cell["error_proba_high"])
        inside = np.ones(len(values), dtype=bool)
        for axis, low, high in zip((score, proba), lows, highs, strict=True):
            bins = np.minimum((axis * n_bins).astype(int), n_bins - 1)
            inside &= bins == round(low * n_bins)
            assert high == pytest.approx(low + 1 / n_bins)
        assert cell["count"] == inside.sum()
        assert cell["n_errors"] == wrong[inside].sum()
        assert cell["error_rate"] == pytest.approx(wrong[inside].mean())


def test_rows_without_a_score_are_left_out() -> None:
    assert heatmap(np.array([np.nan, 0.5]), np.array([0.5, 0.5]), np.array([True, True]))["count"].to_pylist() == [1]


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="equal lengths"):
        heatmap(np.zeros(1), np.zeros(2), np.zeros(2, dtype=bool))
    with pytest.raises(InputError, match="n_bins"):
        heatmap(np.zeros(1), np.zeros(1), np.zeros(1, dtype=bool), 0)
