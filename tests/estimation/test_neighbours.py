"""The neighbours' vote against a plain formula."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.estimation.bank import build_bank
from ml_debugger.estimation.exact import UNIT_STEP
from ml_debugger.estimation.neighbours import look, top_votes


def example(n_rows: int = 400, n_classes: int = 5):
    random = np.random.default_rng(0)
    truth = random.integers(0, n_classes, n_rows)
    vectors = (
        3 * np.random.default_rng(1).normal(size=(n_classes, 6))[truth] + random.normal(size=(n_rows, 6))
    ).astype(np.float32)
    bank = build_bank(vectors[:300], truth[:300])
    return bank, bank.place(vectors[300:]), truth[300:], bank.place(vectors[:300])


def weights(bank, points) -> np.ndarray:
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    cosine = unit @ (bank.rows * UNIT_STEP).T
    return ((1 + cosine) / 2) ** 16


def test_votes_are_the_formula() -> None:
    bank, points, label, _ = example()
    weight = weights(bank, points)
    of_row = np.repeat(bank.classes, bank.ends - bank.starts)
    share = np.stack([weight[:, of_row == c].sum(axis=1) for c in range(5)], axis=1) / weight.sum(axis=1)[:, None]
    found = look(bank, points, label)
    np.testing.assert_allclose(found.against, 1 - share[np.arange(100), label], atol=0.02)
    near = weight**2 @ (of_row[:, None] == np.arange(5)) / (weight**2).sum(axis=1)[:, None]
    np.testing.assert_allclose(found.against_near, 1 - near[np.arange(100), label], atol=0.02)
    classes, shares = top_votes(bank, points)
    np.testing.assert_allclose(shares[:, 0], share.max(axis=1), atol=0.02)
    assert (np.diff(shares, axis=1) <= 0).all()
    assert (classes[:, 0] == share.argmax(axis=1)).mean() > 0.97


def test_distance_is_to_the_nearest_row() -> None:
    bank, points, label, own = example()
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    expected = 1 - (unit @ (bank.rows * UNIT_STEP).T).max(axis=1)
    np.testing.assert_allclose(look(bank, points, label).distance, expected, atol=2e-3)
    assert look(bank, own[:5], label[:5]).distance.max() < 1e-3


def test_hidden_rows_do_not_speak() -> None:
    bank, _, label, own = example()
    unit = own[:1] / np.linalg.norm(own[:1])
    itself = (unit @ (bank.rows * UNIT_STEP).T) > 0.9999
    seen, hidden = look(bank, own[:1], label[:1]), look(bank, own[:1], label[:1], itself)
    assert seen.distance[0] < 1e-3 < hidden.distance[0]
    assert top_votes(bank, own[:1], itself)[1][0, 0] <= 1


def test_a_class_without_rows_gets_no_vote() -> None:
    bank, points, _, _ = example()
    assert (look(bank, points, np.full(100, 7)).against == 1).all()
    assert (look(bank, points, np.full(100, 0)).against >= 0).all()


@pytest.mark.parametrize("n_classes", [1, 2])
def test_fewer_classes_than_places(n_classes: int) -> None:
    bank, points, label, _ = example(n_classes=n_classes)
    classes, shares = top_votes(bank, points)
    assert (classes[:, n_classes:] == -1).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    if n_classes == 1:
        assert look(bank, points, label).against.max() < 1e-6


def test_the_predicted_class_may_be_the_first_the_last_or_unknown() -> None:
    bank, points, _, _ = example()
    assert bank.spans[bank.classes, 2].max() < bank.voters.shape[1]
    for label in (0, 4):
        of_class = bank.classes == label
        weight = weights(bank, points)
        rows = slice(int(bank.starts[of_class][0]), int(bank.ends[of_class][0]))
        expected = 1 - weight[:, rows].sum(axis=1) / weight.sum(axis=1)
        np.testing.assert_allclose(look(bank, points, np.full(100, label)).against, expected, atol=0.02)
    assert (look(bank, points, np.full(100, 10**6)).against_near == 1).all()


def test_a_class_between_others_without_rows() -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    bank = build_bank(vectors, np.repeat([1, 5], 30))
    points = bank.place(vectors)
    for label in (0, 3, 6):
        assert (look(bank, points, np.full(60, label)).against == 1).all()
    both = look(bank, points, np.full(60, 1)).against + look(bank, points, np.full(60, 5)).against
    np.testing.assert_allclose(both, 1, atol=1e-6)
