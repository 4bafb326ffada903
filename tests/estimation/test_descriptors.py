"""Descriptors against plain formulas, their orientation, and the same bits in every batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.estimation import CLASS_DESCRIPTORS, build_bank, describe, error_log_odds
from ml_debugger.estimation.metrics import auroc
from tests.helpers.labelled_runs import make_part, softmax

NAMES = [descriptor.name for descriptor in CLASS_DESCRIPTORS]


def column(described, name: str) -> np.ndarray:
    return described.descriptors[:, NAMES.index(name)]


def example(n_rows: int = 300, **options):
    part = make_part(n_rows, 1, **options)
    label = part.logits.argmax(axis=1)
    bank = build_bank(part.features, part.labels, label != part.labels, part.logits.shape[1])
    other = make_part(n_rows, 2, **options)
    return bank, other.features, other.logits, other.logits.argmax(axis=1), other.labels


def test_logit_descriptors_are_the_formulas() -> None:
    bank, features, logits, label, _ = example()
    described = describe(bank, features, logits, label)
    p = softmax(logits.astype(np.float64))
    top = np.sort(p, axis=1)[:, ::-1]
    z = np.sort(logits.astype(np.float64), axis=1)[:, ::-1]
    centred = logits - logits.mean(axis=1, keepdims=True)
    expected = {
        "msp": np.log((1 - top[:, 0]) / top[:, 0]),
        "margin": -(top[:, 0] - top[:, 1]),
        "logit_margin": -(z[:, 0] - z[:, 1]),
        "entropy": -(p * np.log(p)).sum(axis=1),
        "gini": 1 - (p**2).sum(axis=1),
        "gen": ((top * (1 - top)) ** 0.1).sum(axis=1),
        "energy": -np.log(np.exp(logits.astype(np.float64)).sum(axis=1)),
        "max_logit": -z[:, 0],
        "logit_norm": -np.linalg.norm(centred, axis=1),
        "p_norm_2": -centred.max(axis=1) / np.linalg.norm(centred, axis=1),
        "p_norm_4": -centred.max(axis=1) / (centred**4).sum(axis=1) ** 0.25,
        "third": np.log(top[:, 2]),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(column(described, name), values, rtol=2e-3, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(error_log_odds(logits, label), column(described, "msp"))


def test_distances_and_neighbours_are_the_formulas() -> None:
    bank, features, logits, label, _ = example()
    described = describe(bank, features, logits, label)
    point = ((features.astype(np.float64) - bank.mean) * bank.scale) @ bank.projection * bank.steps[1]
    squared = ((point[:, None] - bank.means[None] * 2.0**-10) ** 2).sum(axis=2)
    rows = np.arange(len(label))
    own = squared[rows, label]
    np.testing.assert_allclose(column(described, "mahalanobis"), np.log(own + 1e-3), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(
        column(described, "nearest_class"), np.log(squared.min(axis=1) + 1e-3), rtol=1e-2, atol=1e-2
    )
    np.testing.assert_array_equal(column(described, "centroid_vote"), (squared.argmin(axis=1) != label).astype(float))
    unit = point / np.linalg.norm(point, axis=1, keepdims=True)
    cosine = unit @ (bank.rows / 2.0**11).T
    np.testing.assert_allclose(column(described, "nearest_distance"), 1 - cosine.max(axis=1), atol=2e-3)
    kernel = np.exp((cosine - cosine.max(axis=1, keepdims=True)) / 0.05)
    mass = kernel.reshape(len(label), len(bank.classes), -1).sum(axis=2)
    share = mass / mass.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(column(described, "vote_against"), 1 - share[rows, label], atol=0.02)
    np.testing.assert_allclose(described.vote_shares[:, 0], share.max(axis=1), atol=0.02)
    assert (np.diff(described.vote_shares, axis=1) <= 0).all()


@pytest.mark.parametrize("name", ["msp", "entropy", "gini", "centroid_trust", "trust", "vote_against", "centroid_vote"])
def test_larger_means_more_likely_wrong(name: str) -> None:
    bank, features, logits, label, truth = example(2000)
    assert auroc(column(describe(bank, features, logits, label), name), label != truth) > 0.6


def test_confident_rows_are_still_ranked() -> None:
    logits = np.array([[40.0, 0.0], [60.0, 0.0], [500.0, 0.0]], dtype=np.float32)
    odds = error_log_odds(logits, np.zeros(3, dtype=np.int64))
    assert odds.tolist() == [-40.0, -60.0, -500.0]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_row_has_the_same_bits_in_every_batch(data) -> None:
    width, n_classes = data.draw(st.sampled_from([(3, 2), (70, 5), (130, 40)]))
    bank, features, logits, label, _ = example(120, width=width, n_classes=n_classes)
    whole = describe(bank, features, logits, label)
    chosen = np.array(data.draw(st.lists(st.integers(0, 119), min_size=1, max_size=70)))
    some = describe(bank, features[chosen], logits[chosen], label[chosen])
    np.testing.assert_array_equal(some.descriptors, whole.descriptors[chosen])
    np.testing.assert_array_equal(some.vote_classes, whole.vote_classes[chosen])
    np.testing.assert_array_equal(some.vote_shares, whole.vote_shares[chosen])


@pytest.mark.parametrize("n_classes", [2, 3, 1000])
def test_any_number_of_classes(n_classes: int) -> None:
    bank, features, logits, label, _ = example(150, n_classes=n_classes)
    described = describe(bank, features, logits, label)
    assert described.descriptors.shape == (150, len(NAMES))
    assert np.isfinite(described.descriptors).all()
    assert described.vote_classes.shape == (150, 3)


def test_classes_that_the_bank_has_never_seen_are_far() -> None:
    part = make_part(400, 1, n_classes=5)
    few = part.labels < 3
    bank = build_bank(part.features[few], part.labels[few], np.zeros(few.sum(), dtype=bool), 5)
    label = np.full(50, 4)
    described = describe(bank, part.features[:50], part.logits[:50], label)
    assert np.isfinite(described.descriptors).all()
    assert (column(described, "vote_against") == 1).all()
    assert (column(described, "centroid_vote") == 1).all()
    assert column(described, "mahalanobis").min() > column(described, "nearest_class").max()


def test_a_bank_of_one_class() -> None:
    part = make_part(200, 1)
    one = part.labels == 1
    bank = build_bank(part.features[one], part.labels[one], np.ones(one.sum(), dtype=bool), 4)
    described = describe(bank, part.features, part.logits, part.logits.argmax(axis=1))
    assert np.isfinite(described.descriptors).all()
    assert described.vote_classes[:, 0].tolist() == [1] * 200
    assert (described.vote_classes[:, 1:] == -1).all()


def test_far_features_stay_finite() -> None:
    bank, features, logits, label, _ = example(40)
    far = describe(bank, features * np.float32(1e30), logits, label)
    assert np.isfinite(far.descriptors).all()
    assert np.median(column(far, "nearest_class")) > np.median(
        column(describe(bank, features, logits, label), "nearest_class")
    )


def test_no_rows() -> None:
    bank, features, logits, label, _ = example(30)
    assert describe(bank, features[:0], logits[:0], label[:0]).descriptors.shape == (0, len(NAMES))


def test_names_are_unique_and_explained() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(descriptor.text and descriptor.sign in (-1, 1) for descriptor in CLASS_DESCRIPTORS)
