"""Descriptors: their orientation, the same bits in every batch, and odd data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.estimation import CLASS_DESCRIPTORS, describe, error_log_odds, vote
from ml_debugger.estimation.metrics import auroc
from ml_debugger.estimation.reference import Examples, fit_reference
from tests.helpers.labelled_runs import make_part, softmax

NAMES = [descriptor.name for descriptor in CLASS_DESCRIPTORS]


def examples(n_rows: int, seed: int, **options) -> Examples:
    part = make_part(n_rows, seed, **options)
    labels = np.asarray(part.labels)
    return Examples(part.features, part.logits, part.logits.argmax(axis=1), labels, np.arange(n_rows) + 10**6 * seed)


def example(n_rows: int = 200, **options):
    reference, _ = fit_reference(examples(n_rows, 1, **options), examples(n_rows, 2, **options))
    new = examples(n_rows, 3, **options)
    return reference, (new.vectors, new.logits, new.label), new.truth


def test_baseline_is_the_formula() -> None:
    _, (_, logits, label), _ = example()
    top = softmax(logits.astype(np.float64)).max(axis=1)
    np.testing.assert_allclose(error_log_odds(logits, label), np.log((1 - top) / top), rtol=1e-4, atol=1e-5)


def test_confident_rows_are_still_ranked() -> None:
    logits = np.array([[40.0, 0.0], [60.0, 0.0], [500.0, 0.0]], dtype=np.float32)
    odds = error_log_odds(logits, np.zeros(3, dtype=np.int64))
    assert odds.tolist() == [-40.0, -60.0, -500.0]


@pytest.mark.parametrize("name", NAMES)
def test_larger_means_more_likely_wrong(name: str) -> None:
    reference, new, truth = example(900)
    descriptors, baseline, _ = describe(reference, *new)
    assert auroc(descriptors[:, NAMES.index(name)], new[2] != truth) > 0.55
    np.testing.assert_array_equal(baseline, error_log_odds(*new[1:]))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_row_has_the_same_bits_in_every_batch(data) -> None:
    width, n_classes = data.draw(st.sampled_from([(3, 2), (70, 5), (130, 140)]))
    reference, new = SHAPES.get((width, n_classes)) or example(120, width=width, n_classes=n_classes)[:2]
    SHAPES[width, n_classes] = reference, new
    chosen = np.array(data.draw(st.lists(st.integers(0, 119), min_size=1, max_size=70)))
    for whole, some in zip(
        describe(reference, *new), describe(reference, *(part[chosen] for part in new)), strict=True
    ):
        np.testing.assert_array_equal(some, whole[chosen])
    for whole, some in zip(vote(reference, new[0]), vote(reference, new[0][chosen]), strict=True):
        np.testing.assert_array_equal(some, whole[chosen])


SHAPES: dict = {}


@pytest.mark.parametrize("n_classes", [2, 3, 1000])
def test_any_number_of_classes(n_classes: int) -> None:
    reference, new, _ = example(150, n_classes=n_classes)
    descriptors, _, outlying = describe(reference, *new)
    assert descriptors.shape == (150, len(NAMES))
    assert np.isfinite(descriptors).all()
    assert np.isfinite(outlying).all()
    assert vote(reference, new[0])[0].shape == (150, 3)


def test_far_features_stay_finite_and_look_far() -> None:
    reference, (vectors, logits, label), _ = example(300)
    usual = describe(reference, vectors, logits, label)[2]
    descriptors, _, outlying = describe(reference, vectors * np.float32(1e30), logits, label)
    assert np.isfinite(descriptors).all()
    assert np.median(outlying[:, 1]) > np.median(usual[:, 1])


def test_no_rows() -> None:
    reference, new, _ = example(60)
    assert describe(reference, *(part[:0] for part in new))[0].shape == (0, len(NAMES))


def test_names_are_unique_and_explained() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(descriptor.text for descriptor in CLASS_DESCRIPTORS)
