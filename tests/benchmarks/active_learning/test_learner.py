from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.active_learning.data import digits
from benchmarks.active_learning.learner import NETWORKS, forward, train


def test_the_recipe_learns_and_repeats_itself():
    source = digits()
    models = [train("digits_cnn", source.inputs[:200], source.labels[:200], 10, seed=0) for _ in range(2)]
    first, second = (forward(model, source.test_inputs) for model in models)
    assert np.array_equal(first.proba, second.proba)
    assert (first.proba.argmax(axis=1) == source.test_labels).mean() > 0.85
    assert first.features.shape == (500, 64)
    assert np.allclose(first.proba.sum(axis=1), 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_enter_a_last_linear_layer(name):
    shape = {"digits_cnn": (1, 8, 8), "cifar_cnn": (3, 16, 16), "mlp": (1, 14, 14)}.get(name, (12,))
    model = NETWORKS[name].build(shape, 7).eval()
    outputs = forward(model, np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32), size=2)
    assert isinstance(model[-1], torch.nn.Linear)
    assert outputs.features.shape == (5, model[-1].in_features)
    assert outputs.proba.shape == (5, 7)
