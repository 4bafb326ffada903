"""The reference: no held-out row has a part in what is said of it, and any mix of rows will do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml_debugger.estimation import CLASS_DESCRIPTORS
from ml_debugger.estimation.descriptors import describe
from ml_debugger.estimation.metrics import auroc
from ml_debugger.estimation.reference import Examples, Reference, fit_reference
from tests.estimation.test_descriptors import examples

PROBES = [0, 1, 2]


def part_of(whole: Examples, chosen: np.ndarray) -> Examples:
    return Examples(*(getattr(whole, name)[chosen] for name in ("vectors", "logits", "label", "truth", "groups")))


def none_of(whole: Examples) -> Examples:
    return part_of(whole, np.zeros(0, dtype=int))


def shuffled(whole: Examples) -> Examples:
    return replace(whole, truth=np.random.default_rng(0).permutation(whole.truth))


def test_probes_find_errors_and_generalise() -> None:
    known, held, new = examples(600, 1), examples(900, 2), examples(2000, 3)
    reference, described = fit_reference(known, held)
    fresh = describe(reference, new.vectors, new.logits, new.label)[0]
    for column in PROBES:
        own, other = (
            auroc(values[:, column], rows.label != rows.truth)
            for values, rows in ((described.descriptors, held), (fresh, new))
        )
        assert other > auroc(described.baseline, held.label != held.truth)
        assert abs(own - other) < 0.04


@pytest.mark.parametrize("with_known", [True, False])
def test_labels_of_chance_teach_nothing(with_known: bool) -> None:
    """Out of fold, probes and votes cannot repeat the labels that they were given."""
    held = shuffled(examples(600, 2))
    known = shuffled(examples(600, 1))
    _, described = fit_reference(known if with_known else none_of(known), held)
    wrong = held.label != held.truth
    for column in range(len(CLASS_DESCRIPTORS)):
        assert abs(auroc(described.descriptors[:, column], wrong) - 0.5) < 0.1


def test_copies_in_one_group_do_not_speak_for_each_other() -> None:
    """Every row three times with labels of chance: told apart only if a copy could see its own."""
    some = shuffled(examples(200, 2))
    held = part_of(some, np.repeat(np.arange(200), 3))
    _, described = fit_reference(none_of(some), held)
    wrong = held.label != held.truth
    assert described.outlying.min() > 0
    for column in range(len(CLASS_DESCRIPTORS)):
        assert abs(auroc(described.descriptors[:, column], wrong) - 0.5) < 0.15
    apart = replace(held, groups=np.arange(600))
    _, leaking = fit_reference(none_of(some), apart)
    assert auroc(leaking.descriptors[:, 3], wrong) > 0.8


@pytest.mark.parametrize(("n_known", "n_held"), [(0, 60), (30, 20), (700, 25), (5, 300)])
def test_few_rows_of_either_kind(n_known: int, n_held: int) -> None:
    reference, described = fit_reference(part_of(examples(800, 1), np.arange(n_known)), examples(n_held, 2))
    assert np.isfinite(described.descriptors).all()
    assert described.descriptors.shape == (n_held, len(CLASS_DESCRIPTORS))
    assert described.vote_classes.shape == (n_held, 3)
    new = examples(50, 3)
    assert np.isfinite(describe(reference, new.vectors, new.logits, new.label)[0]).all()


def test_classes_that_are_missing() -> None:
    known, held, new = examples(400, 1), examples(400, 2), examples(100, 3)
    few = [part_of(rows, rows.truth < 2) for rows in (known, held)]
    reference, _ = fit_reference(*few)
    described = describe(reference, new.vectors, new.logits, np.full(100, 3))[0]
    assert np.isfinite(described).all()
    assert (described[:, 3:5] == 1).all()


def test_one_class_and_no_error() -> None:
    held = examples(200, 2)
    right = part_of(held, np.flatnonzero((held.label == held.truth) & (held.truth == held.truth[0])))
    _, described = fit_reference(none_of(held), right)
    assert np.isfinite(described.descriptors).all()


def test_groups_across_rows_are_kept_in_one_fold() -> None:
    held = replace(examples(300, 2), groups=np.arange(300) // 50)
    _, described = fit_reference(examples(300, 1), held)
    assert np.isfinite(described.descriptors).all()


def test_arrays_bring_it_back() -> None:
    reference, _ = fit_reference(examples(200, 1), examples(200, 2))
    again = Reference.from_arrays(reference.to_arrays())
    new = examples(70, 3)
    for first, second in zip(
        describe(reference, new.vectors, new.logits, new.label),
        describe(again, new.vectors, new.logits, new.label),
        strict=True,
    ):
        np.testing.assert_array_equal(first, second)


def test_same_rows_same_arrays() -> None:
    first, second = (fit_reference(examples(200, 1), examples(200, 2), seed=3)[0].to_arrays() for _ in range(2))
    for path, array in first.items():
        np.testing.assert_array_equal(array, second[path])
