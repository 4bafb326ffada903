"""Further pairs: traced by our own tracer, read back from its store."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPClassifier

from benchmarks.error_detection import makers, traces
from benchmarks.error_detection.makers import images, tables
from benchmarks.error_detection.makers.tracing import trace
from benchmarks.error_detection.traces import load_pair


def test_splits_are_what_the_model_says_in_the_order_of_the_inputs():
    torch.manual_seed(0)
    hidden, head = torch.nn.Linear(6, 5), torch.nn.Linear(5, 3)
    model = torch.nn.Sequential(hidden, torch.nn.ReLU(), head).eval()
    inputs, labels = torch.randn(300, 6), np.arange(300) % 3
    found = trace(model, {"train": (inputs, labels), "shift": (2 * inputs[:40], labels[:40])})
    assert set(found) == {"train", "shift"}
    with torch.no_grad():
        expected = torch.relu(hidden(inputs)).numpy(), model(inputs).numpy(), model(2 * inputs[:40]).numpy()
    np.testing.assert_allclose(found["train"].features, expected[0], atol=1e-6)
    np.testing.assert_allclose(found["train"].logits, expected[1], atol=1e-6)
    np.testing.assert_allclose(found["shift"].logits, expected[2], atol=1e-6)
    assert np.array_equal(found["train"].labels, labels)


def test_a_traced_pair_is_made_once(tmp_path, monkeypatch):
    calls = []

    def make(data):
        calls.append(data)
        rng = np.random.default_rng(0)
        rows = (rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 3, 50))
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)).eval()
        return trace(model, {name: (torch.from_numpy(rows[0]), rows[1]) for name in ("train", "val", "test", "shift")})

    monkeypatch.setitem(makers.MAKERS, "toy", make)
    paths = [makers.make_pairs(tmp_path, tmp_path / "data", ("toy",)) for _ in range(2)]
    assert paths[0] == paths[1] == [tmp_path / "toy.npz"]
    assert calls == [tmp_path / "data"]
    pair = load_pair(paths[0][0])
    assert pair.source == "traced"
    np.testing.assert_allclose(pair.train.features @ pair.weight.T + pair.bias, pair.train.logits, atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_an_mlp_shows_its_hidden_layer_and_its_own_probabilities(n_classes):
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(200, 6)), np.arange(200) % n_classes
    model = MLPClassifier((7,), random_state=0)
    for _ in range(5):
        model.partial_fit(inputs, labels, classes=np.unique(labels))
    logits, hidden = tables.show_hidden(model)(inputs)
    assert hidden.shape == (200, 7)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(shifted / shifted.sum(axis=1, keepdims=True), model.predict_proba(inputs), atol=1e-5)


def test_the_resnet_has_the_published_size():
    for n_blocks, millions in ((3, 0.27), (5, 0.46)):
        model = images.ResNet(n_blocks)
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
        with torch.no_grad():
            assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_corruption_changes_every_image_and_repeats():
    rng = np.random.default_rng(0)
    pictures = rng.random((30, 16, 16)).astype(np.float32)
    changed = images.corrupt(pictures, seed=3)
    assert np.array_equal(changed, images.corrupt(pictures, seed=3))
    assert (np.abs(changed - pictures).max(axis=(1, 2)) > 0.05).all()
    assert 0 <= changed.min()
    assert changed.max() <= 1


def test_half_of_the_words_go():
    text = ["w " * 1000]
    assert len(tables.drop_words(text, seed=0)[0].split()) == pytest.approx(500, abs=60)


@pytest.mark.data
@pytest.mark.slow
def test_the_public_resnet_scores_as_documented_on_jpeg_copies():
    try:
        data = traces.data_folder()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    found = images.make_resnet20(data)
    assert found["test"].errors.mean() == pytest.approx(0.19, abs=0.02)
    assert found["shift"].errors.mean() > found["test"].errors.mean() + 0.1
