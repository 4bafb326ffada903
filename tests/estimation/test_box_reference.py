"""What is learned of boxes: error rates of classes and the space of features."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.estimation.box_reference import BoxExamples, BoxReference, fit_box_reference
from ml_debugger.estimation.metrics import auroc


def examples(count: int, seed: int = 0, width: int = 8) -> BoxExamples:
    """Class 1 errs more than its scores say; the first feature shows errors; classes live apart."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 3, count)
    baseline = random.normal(size=count)
    wrong = random.random(count) < 1 / (1 + np.exp(-(baseline + 2.0 * (label == 1) - 1)))
    vectors = random.normal(size=(count, width)).astype(np.float32)
    if width:
        vectors[:, 0] += 1.5 * wrong
        vectors[:, 1:4] += 4 * np.eye(3)[label]
    return BoxExamples(vectors, label, np.where(wrong, -1, label), wrong, baseline, np.arange(count) // 3)


def nothing(width: int = 8) -> BoxExamples:
    return examples(0, width=width)


def test_classes_that_err_more_than_their_scores_say() -> None:
    reference, described, _ = fit_box_reference(nothing(), examples(600))
    assert reference.classes.tolist() == [0, 1, 2]
    assert reference.excess[1] > 0.5 > reference.excess[0]
    held = examples(600)
    assert auroc(described[:, 0], held.is_error) > 0.6


def test_features_show_errors_out_of_fold() -> None:
    held = examples(600)
    reference, described, components = fit_box_reference(nothing(), held)
    assert components.shape == (600, 8)
    assert auroc(described[:, 2], held.is_error) > 0.7
    own, nearest = reference.distances(components, held.label)
    right = ~held.is_error
    assert (own < nearest)[right].mean() > 0.9


def test_noise_learns_nothing_out_of_fold() -> None:
    held = examples(400)
    random = np.random.default_rng(1)
    noise = BoxExamples(
        held.vectors, held.label, held.truth, random.permutation(held.is_error), held.baseline, held.groups
    )
    _, described, _ = fit_box_reference(nothing(), noise)
    assert abs(auroc(described[:, 2], noise.is_error) - 0.5) < 0.1


def test_known_boxes_place_classes_but_do_not_teach_errors() -> None:
    held, known = examples(60), examples(400, 1)
    with_known, _, _ = fit_box_reference(known, held)
    alone, _, _ = fit_box_reference(nothing(), held)
    np.testing.assert_array_equal(with_known.excess, alone.excess)
    assert not np.array_equal(with_known.centres, alone.centres)


def test_without_features() -> None:
    reference, described, components = fit_box_reference(nothing(0), examples(90, width=0))
    assert components.shape == (90, 0)
    assert (described[:, 1:] == 0).all()
    assert described[:, 0].any()
    assert reference.describe(components[:4], np.array([0, 1, 2, 9]))[3].tolist() == [0, 0, 0]


def test_saved_and_read() -> None:
    reference, _, components = fit_box_reference(nothing(), examples(120))
    again = BoxReference.from_arrays(reference.to_arrays())
    label = np.arange(120) % 4
    np.testing.assert_array_equal(again.describe(components, label), reference.describe(components, label))


def test_a_class_without_a_centre_is_as_far_as_the_nearest() -> None:
    reference, _, components = fit_box_reference(nothing(), examples(120))
    own, nearest = reference.distances(components[:5], np.full(5, 99))
    np.testing.assert_array_equal(own, nearest)


@pytest.mark.parametrize("width", [0, 5])
def test_no_box_to_describe(width: int) -> None:
    reference, _, _ = fit_box_reference(nothing(width), examples(60, width=width))
    empty = reference.place(np.zeros((0, width)))
    assert reference.describe(empty, np.zeros(0, np.int64)).shape == (0, 3)
