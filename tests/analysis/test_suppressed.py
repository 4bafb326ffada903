"""Statistics of suppressed candidates: by hand, against plain loops, and for nothing at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.analysis.boxes import PredictedBoxes
from ml_debugger.analysis.suppressed import LOWEST_SCORE, SUPPRESSED, Candidates, suppressed
from ml_debugger.columns import DETECTION_CONTEXT
from ml_debugger.errors import InputError
from tests.helpers.matching_reference import Predicted, slow_suppressed


def boxes(rows: list[tuple[float, ...]]) -> np.ndarray:
    return np.array(rows, dtype=float).reshape(-1, 4)


def kept(*rows: tuple[tuple[float, ...], int, float]) -> PredictedBoxes:
    return PredictedBoxes(
        np.zeros(len(rows), dtype=np.int64),
        boxes([row[0] for row in rows]),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=float),
    )


def candidates(*rows: tuple[tuple[float, ...], int, float]) -> Candidates:
    one = kept(*rows)
    return Candidates(one.input_index, one.box, one.label, one.score)


def named(found: np.ndarray, row: int = 0) -> dict[str, float]:
    return dict(zip(SUPPRESSED, found[row].tolist(), strict=True))


HERE = (0.0, 0.0, 10.0, 10.0)


def test_columns_are_those_after_the_size_of_the_image() -> None:
    assert DETECTION_CONTEXT == ("image_width", "image_height", *SUPPRESSED)


def test_statistics_by_hand() -> None:
    found = suppressed(
        kept((HERE, 1, 0.9)),
        candidates(
            (HERE, 1, 0.9),  # the kept box itself
            ((0, 0, 10, 8), 1, 0.5),
            ((2, 0, 10, 10), 1, 0.3),
            ((0, 0, 10, 9), 2, 0.4),
            ((0, 0, 10, 4), 1, 0.6),  # overlaps too little
            (HERE, 1, 0.005),  # noise
            (HERE, 2, 0.005),
        ),
    )
    assert found.shape == (1, 10)
    assert found.dtype == np.float32
    assert named(found) == pytest.approx(
        {
            "n_suppressed_same": 2,
            "suppressed_score_sum": 0.8,
            "suppressed_score_max": 0.5,
            "suppressed_score_mean": 0.4,
            "suppressed_score_std": 0.1,
            "suppressed_iou_mean": 0.8,
            "suppressed_iou_std": 0.0,
            "side_std": (1 + 0 + 0 + 1) / 4 / 10,
            "n_suppressed_other": 1,
            "suppressed_other_score_max": 0.4,
        },
        abs=1e-6,
    )


def test_a_candidate_belongs_to_the_best_kept_box_of_its_class() -> None:
    pair = kept(((0, 0, 10, 10), 1, 0.6), ((0, 5, 10, 15), 1, 0.8), ((0, 3, 10, 13), 2, 0.9))
    found = suppressed(pair, candidates(((0, 2, 10, 12), 1, 0.5)))
    assert found[:, SUPPRESSED.index("n_suppressed_same")].tolist() == [0, 1, 0]
    assert found[:, SUPPRESSED.index("n_suppressed_other")].tolist() == [0, 0, 1]


def test_without_the_kept_box_among_the_candidates_none_is_left_out() -> None:
    found = suppressed(kept((HERE, 1, 0.9)), candidates((HERE, 1, 0.8)))
    assert named(found)["n_suppressed_same"] == 1


def test_a_kept_box_that_was_cut_at_the_border_is_known_by_its_score() -> None:
    found = suppressed(kept(((0, 0, 10, 10), 1, 0.9)), candidates(((-3, 0, 10, 10), 1, 0.90001), (HERE, 1, 0.7)))
    assert named(found)["n_suppressed_same"] == 1
    assert named(found)["suppressed_score_max"] == pytest.approx(0.7)


def test_of_two_candidates_with_the_score_of_the_kept_box_the_nearer_is_the_box() -> None:
    found = suppressed(
        kept((HERE, 1, 0.9)), candidates(((0, 0, 10, 6), 1, 0.9), (HERE, 1, 0.9), ((0, 0, 10, 7), 1, 0.9))
    )
    assert named(found)["n_suppressed_same"] == 2
    assert named(found)["suppressed_iou_mean"] == pytest.approx(0.65)


def test_a_candidate_with_almost_the_score_of_the_kept_box_is_another() -> None:
    assert named(suppressed(kept((HERE, 1, 0.9)), candidates((HERE, 1, 0.8995))))["n_suppressed_same"] == 1


def test_noise_of_single_classes_does_not_count() -> None:
    scores = np.array([[0.005, 0.6, 0.3], [0.7, 0.005, 0.002]])
    pool = Candidates.of_class_scores(np.zeros(2, dtype=np.int64), boxes([HERE, HERE]), scores)
    found = suppressed(kept((HERE, 0, 0.9), (HERE, 1, 0.9)), pool)
    assert found[:, SUPPRESSED.index("n_suppressed_same")].tolist() == [1, 1]
    assert found[:, SUPPRESSED.index("suppressed_score_sum")] == pytest.approx([0.7, 0.6])
    assert found[:, SUPPRESSED.index("n_suppressed_other")].tolist() == [1, 2]
    assert named(suppressed(kept((HERE, 0, 0.9)), pool.rows(np.array([1]))))["n_suppressed_other"] == 0


def test_a_class_without_scores_has_no_candidates() -> None:
    scores = np.array([[0.2, 0.6]])
    pool = Candidates.of_class_scores(np.zeros(1, dtype=np.int64), boxes([HERE]), scores)
    found = suppressed(kept((HERE, 7, 0.9), (HERE, -1, 0.9)), pool)
    assert found[:, 0].tolist() == [0, 0]
    assert found[:, SUPPRESSED.index("suppressed_other_score_max")] == pytest.approx([0.6, 0.6])


def test_one_class_has_no_others() -> None:
    pool = Candidates.of_class_scores(np.zeros(1, dtype=np.int64), boxes([HERE]), np.array([[0.6]]))
    assert named(suppressed(kept((HERE, 0, 0.9)), pool))["n_suppressed_other"] == 0


def test_images_do_not_mix() -> None:
    one, other = kept((HERE, 1, 0.9)), candidates((HERE, 1, 0.5))
    elsewhere = Candidates(other.input_index + 1, other.box, other.label, other.score)
    assert named(suppressed(one, elsewhere))["n_suppressed_same"] == 0


@pytest.mark.parametrize(("n_kept", "n_candidates"), [(0, 0), (0, 2), (2, 0)])
def test_nothing_has_a_shape(n_kept: int, n_candidates: int) -> None:
    found = suppressed(kept(*[(HERE, 1, 0.9)] * n_kept), candidates(*[(HERE, 1, 0.5)] * n_candidates))
    assert found.shape == (n_kept, 10)
    if n_kept:
        row = named(found)
        assert (row["n_suppressed_same"], row["suppressed_score_sum"], row["suppressed_score_max"]) == (0, 0, 0)
        assert np.isnan([row["suppressed_score_mean"], row["suppressed_iou_std"], row["side_std"]]).all()


def test_a_kept_box_without_an_area_suppresses_nothing() -> None:
    found = suppressed(kept(((5, 5, 5, 9), 1, 0.9), ((np.nan,) * 4, 1, 0.9)), candidates((HERE, 1, 0.5)))
    assert found[:, 0].tolist() == [0, 0]
    assert np.isnan(found[:, SUPPRESSED.index("side_std")]).all()


@pytest.mark.parametrize("name", ["box", "label", "score", "class_scores"])
def test_lengths_that_differ_are_refused(name: str) -> None:
    given = {"input_index": np.zeros(2, dtype=np.int64), "box": np.zeros((2, 4)), "label": np.zeros(2, dtype=np.int64)}
    given |= {"score": np.zeros(2), "class_scores": np.zeros((2, 3))}
    given[name] = given[name][:1]
    with pytest.raises(InputError, match=name):
        Candidates(**given)


coordinate = st.integers(0, 12)
box = st.builds(lambda x, y, w, h: (x, y, x + w + 1, y + h + 1), coordinate, coordinate, coordinate, coordinate)
score = st.integers(0, 20).map(lambda n: n / 20)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(box, st.integers(0, 2), score.map(lambda s: s + 0.013)), max_size=4, unique_by=lambda row: row[2]
    ),
    st.lists(st.tuples(box, st.tuples(score, score, score)), max_size=7),
    st.sampled_from([0.3, 0.5, 0.7]),
    st.booleans(),
)
def test_agrees_with_plain_loops(rows, pool, threshold: float, only_best: bool) -> None:
    if only_best:  # one class per candidate: the others are unknown, as if their scores were 0
        pool = [(b, tuple(s if c == np.argmax(scores) else 0.0 for c, s in enumerate(scores))) for b, scores in pool]
    pool += [(b, tuple(s if c == label else 0.0 for c in range(3))) for b, label, s in rows[:2]]
    index = np.zeros(len(pool), dtype=np.int64)
    class_scores = np.array([scores for _, scores in pool]).reshape(-1, 3)
    given_boxes = boxes([b for b, _ in pool])
    if only_best:
        made = Candidates(index, given_boxes, class_scores.argmax(axis=1), class_scores.max(axis=1, initial=0.0))
    else:
        made = Candidates.of_class_scores(index, given_boxes, class_scores)
    found = suppressed(kept(*rows), made, threshold)
    expected = slow_suppressed([Predicted(*row) for row in rows], pool, threshold, LOWEST_SCORE)
    for row, wanted in enumerate(expected):
        assert named(found, row) == pytest.approx(wanted, abs=2e-5, nan_ok=True)
