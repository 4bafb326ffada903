"""Free candidates: which stand for an object that no returned box stands for."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.analysis.boxes import PredictedBoxes
from ml_debugger.analysis.frame_context import MOST_CANDIDATES, frame_context
from ml_debugger.columns import FRAME_CONTEXT


def boxes(index, x, score):
    """Squares of 10 pixels with their left side at x."""
    x = np.array(x, dtype=np.float32).reshape(-1)
    box = np.stack([x, np.zeros_like(x), x + 10, np.full_like(x, 10)], axis=1)
    labels = np.zeros(len(x), dtype=np.int64)
    return PredictedBoxes(np.array(index, dtype=np.int64).reshape(-1), box, labels, np.array(score, np.float64))


def named(row):
    return dict(zip(FRAME_CONTEXT, row.tolist(), strict=True))


def test_a_candidate_on_a_returned_box_or_on_a_better_candidate_is_not_free():
    kept = boxes([0], [0], [0.9])
    candidates = boxes([0] * 5, [0, 1, 50, 51, 90], [0.9, 0.6, 0.25, 0.2, 0.12])
    row = named(frame_context(kept, candidates, np.array([True]), 0.3)[0])
    assert row == {
        "n_free_05": 2,
        "n_free_10": 2,
        "n_free_20": 1,
        "n_free_threshold": 0,
        "free_score_max": 0.25,
        "free_score_sum": pytest.approx(0.37),
        "n_kept": 1,
        "kept_score_mean": pytest.approx(0.9),
    }


def test_images_are_apart():
    kept = boxes([0, 2], [0, 0], [0.8, 0.6])
    candidates = boxes([1, 2], [0, 0], [0.5, 0.4])
    rows = frame_context(kept, candidates, np.array([True, True, True]), 0.3)
    assert rows[:, FRAME_CONTEXT.index("n_free_threshold")].tolist() == [0, 1, 0]
    assert rows[:, FRAME_CONTEXT.index("n_kept")].tolist() == [1, 0, 1]


def test_what_is_not_known_is_nan():
    rows = frame_context(boxes([0], [0], [0.8]), boxes([], [], []), np.array([False, True]), 0.3)
    assert np.isnan(rows[0, :-2]).all()
    assert rows[0, -2:] == pytest.approx([1, 0.8])
    assert rows[1, :-1].tolist() == [0] * 7
    assert np.isnan(rows[1, -1])


def test_no_image_has_a_shape():
    assert frame_context(boxes([], [], []), boxes([], [], []), np.empty(0, bool), 0.3).shape == (0, len(FRAME_CONTEXT))


def test_only_the_best_candidates_count():
    n = MOST_CANDIDATES + 50
    rows = frame_context(boxes([], [], []), boxes([0] * n, 20.0 * np.arange(n), np.full(n, 0.5)), np.array([True]), 0.3)
    assert rows[0, 0] == MOST_CANDIDATES
