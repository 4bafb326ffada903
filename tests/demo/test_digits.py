"""The demo's data and model."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.demo.digits import N_TEST, N_TRAIN, N_VAL, batches, load_digits, predict, train


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_images_are_small_and_scaled(digits):
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.images.dtype == np.float32
    assert (digits.images.min(), digits.images.max()) == (0, 1)
    assert set(digits.labels) == set(range(10))


def test_splits_cover_everything_once_and_depend_on_the_seed(digits):
    split = digits.split(0)
    assert {name: len(ids) for name, ids in split.items()} == {
        "train": N_TRAIN,
        "val": N_VAL,
        "test": N_TEST,
        "pool": 1797 - N_TRAIN - N_VAL - N_TEST,
    }
    assert sorted(number for ids in split.values() for number in ids) == list(range(1797))
    assert all(type(number) is int for number in split["train"])
    assert split == digits.split(0)
    assert split != digits.split(1)


def test_a_model_short_of_labels_learns_but_errs(digits):
    split = digits.split(0)
    model = train(digits, split["train"], seed=0)
    label, confidence = predict(model, digits, split["pool"])
    assert 0.6 < (label == digits.labels[split["pool"]]).mean() < 0.97
    assert ((confidence > 0.1) & (confidence <= 1)).all()
    again, _ = predict(train(digits, split["train"], seed=0), digits, split["pool"])
    assert (again == label).mean() > 0.99


def test_batches_keep_order_and_lose_nothing():
    assert list(batches([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
    assert list(batches([])) == []
