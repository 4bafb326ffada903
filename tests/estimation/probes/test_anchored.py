"""The linear probe: starts at the network, learns from labels, says the same when saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from ml_debugger.estimation.metrics import auroc
from ml_debugger.estimation.probes import AnchoredProbe, error_odds, fit_anchored
from ml_debugger.estimation.probes import anchored as module
from ml_debugger.estimation.probes.sample import log_softmax


def test_tells_errors_better_than_the_network(make_sample) -> None:
    bank, sample = make_sample()
    _, scores, scaled = fit_anchored(bank, sample)
    own = sample.choices.own
    assert auroc(error_odds(scores, own), sample.wrong) > auroc(error_odds(scaled, own), sample.wrong) + 0.03


def test_fit_is_that_of_a_general_optimiser(make_sample) -> None:
    _, sample = make_sample(200, width=4, n_classes=3)
    found = module._fit(sample, sample.logits, np.arange(200), 30.0, None)
    rows = module._with_one(sample.components)

    def loss(flat: np.ndarray) -> float:
        weights = flat.reshape(found.shape)
        value = -log_softmax(sample.logits + rows @ weights)[np.arange(200), sample.truth].sum()
        return value + 0.5 * (module.OFFSET_PENALTY * (weights[0] ** 2).sum() + 30.0 * (weights[1:] ** 2).sum())

    best = minimize(loss, np.zeros(found.size), method="BFGS").fun
    assert loss(found.ravel()) <= best * 1.001


def test_new_rows_are_scored_as_the_weights_say(make_sample) -> None:
    bank, sample = make_sample(300)
    probe, _, _ = fit_anchored(bank, sample)
    again = AnchoredProbe.from_arrays(probe.to_arrays())
    points = sample.points[:40]
    weights = probe.weights * float(probe.step)
    choices = sample.choices.rows(np.arange(40))
    np.testing.assert_allclose(probe.correction(points, choices), points @ weights + probe.offsets, atol=1e-9)
    np.testing.assert_array_equal(probe.correction(points, choices), again.correction(points, choices))


@pytest.mark.parametrize("n_classes", [2, 150])
def test_few_and_many_classes(make_sample, n_classes: int) -> None:
    bank, sample = make_sample(200, n_classes=n_classes)
    probe, scores, _ = fit_anchored(bank, sample)
    assert scores.shape == sample.logits.shape
    assert np.isfinite(scores).all()
    assert np.isfinite(probe.correction(sample.points, sample.choices)).all()


def test_a_group_is_never_split(make_sample) -> None:
    bank, sample = make_sample(120)
    grouped = replace(sample, groups=np.arange(120) // 40)
    assert set(grouped.folds(5).tolist()) == {0, 1, 2}
    assert np.isfinite(fit_anchored(bank, grouped)[1]).all()


def test_large_tables_are_subsampled() -> None:
    assert module._most_rows(10) == module.MOST_ROWS
    assert module._most_rows(1000) == module.FEWEST_ROWS
