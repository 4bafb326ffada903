"""What is learned of boxes: error rates of classes and the space of features."""

from __future__ import annotations

from dataclasses import replace

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
    vectors, none = random.normal(size=(count, width)).astype(np.float32), np.zeros((count, 0))
    if width:
        vectors[:, 0] += 1.5 * wrong
        vectors[:, 1:4] += 4 * np.eye(3)[label]
    return BoxExamples(vectors, label, np.where(wrong, -1, label), wrong, baseline, np.arange(count) // 3, none)


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
    noise = replace(held, is_error=random.permutation(held.is_error))
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


def sized(count: int, seed: int = 0) -> BoxExamples:
    """Right boxes of a class have its size; wrong ones are 1 m longer."""
    plain = examples(count, seed, width=0)
    random = np.random.default_rng((5, seed))
    length = np.array([4.0, 1.0, 2.0])[plain.label] + 0.1 * random.normal(size=count) + plain.is_error
    return replace(plain, numbers=np.stack([length, random.normal(size=count)], axis=1))


def test_numbers_unlike_those_of_right_boxes_of_the_class() -> None:
    held = sized(600)
    reference, described, _ = fit_box_reference(sized(0), held)
    np.testing.assert_allclose(reference.typical[:, 0], [4, 1, 2], atol=0.05)
    np.testing.assert_allclose(reference.spread[:, 0], 0.1, atol=0.03)
    assert described.shape == (600, 3 + 3 * 2)
    apart, noise, above, _, below, _ = described[:, 3:].T
    assert auroc(above, held.is_error) > 0.99
    np.testing.assert_array_equal(above, -below)
    np.testing.assert_array_equal(apart, np.abs(above))
    assert apart.max() == 6.0  # however far
    assert abs(auroc(noise, held.is_error) - 0.5) < 0.06


def test_right_boxes_of_training_images_show_sizes_too() -> None:
    reference, _, _ = fit_box_reference(sized(400, 1), sized(6))
    assert reference.sized.tolist() == [0, 1, 2]
    np.testing.assert_allclose(reference.typical[:, 0], [4, 1, 2], atol=0.05)


def test_no_box_nor_its_image_has_a_part_in_its_own_size() -> None:
    """The one image of a class is judged as if nothing were known of the class."""
    held = sized(60)
    label = np.where(held.groups == 4, 7, held.label)
    _, described, _ = fit_box_reference(sized(0), replace(held, label=label, is_error=np.zeros(60, bool)))
    assert (described[label == 7, 3:] == 0).all()
    assert (described[label != 7, 3:] != 0).any()


def test_sizes_without_right_boxes_or_of_an_unknown_class() -> None:
    held = sized(40)
    _, described, _ = fit_box_reference(sized(0), replace(held, is_error=np.ones(40, bool)))
    assert (described[:, 3:] == 0).all()
    reference, _, _ = fit_box_reference(sized(0), held)
    unknown = reference.describe(np.zeros((1, 0)), np.array([9]), np.array([[3.0, 0.0]]))
    assert (unknown[:, 3:] == 0).all()
    alike = replace(held, numbers=np.full((40, 2), 3.0))
    _, described, _ = fit_box_reference(replace(sized(0), numbers=np.zeros((0, 2))), alike)
    assert (described[:, 3:] == 0).all()


def test_a_reference_stored_before_sizes_were_known_is_read() -> None:
    reference, _, components = fit_box_reference(nothing(), examples(120))
    stored = {
        name: array for name, array in reference.to_arrays().items() if name not in ("sized", "typical", "spread")
    }
    old = BoxReference.from_arrays(stored)
    label = examples(120).label
    np.testing.assert_array_equal(old.describe(components, label), reference.describe(components, label))
    with pytest.raises(KeyError):
        BoxReference.from_arrays({name: array for name, array in stored.items() if name != "probe"})
