"""The trained heads, Venn-Abers and conformal scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, polygamma
from sklearn.isotonic import IsotonicRegression

from benchmarks.error_detection import metrics
from benchmarks.error_detection.baselines import BASELINES, Geometry, Rows, learned, logits, network, validity
from benchmarks.error_detection.scores import make_folds, score_baselines
from benchmarks.error_detection.traces import Split


@pytest.fixture(scope="module")
def rows(pair):
    return Rows(Geometry(pair.train, pair.weight, pair.bias), pair.val)


def test_the_trigamma_is_that_of_scipy():
    x = np.geomspace(1e-4, 1e5, 300)
    np.testing.assert_allclose(learned.trigamma(x), polygamma(1, x), rtol=1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_the_dirichlet_gradient_is_that_of_torch(weight):
    rng = np.random.default_rng(0)
    output, labels = rng.normal(size=(7, 4)), rng.integers(0, 4, 7)
    tensor = torch.tensor(output, requires_grad=True)
    alpha = tensor.exp()
    posterior = torch.distributions.Dirichlet(alpha)
    likelihood = torch.digamma(alpha[np.arange(7), labels]) - torch.digamma(alpha.sum(dim=1))
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Dirichlet(torch.ones_like(alpha)))
    (weight * divergence - likelihood).sum().backward()
    np.testing.assert_allclose(
        learned.dirichlet_gradient(weight)(output, labels), tensor.grad.numpy(), rtol=1e-7, atol=1e-9
    )


def test_the_network_gradient_is_that_of_torch():
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(9, 5)), rng.normal(size=(9, 3))
    net = network._start(5, 3, rng)
    found = network.backward(net, inputs, targets, lambda out, wanted: 2 * (out - wanted))
    parameters = [torch.tensor(p, requires_grad=True) for p in net.parameters]
    hidden = torch.relu(torch.tensor(inputs) @ parameters[0] + parameters[1])
    loss = ((hidden @ parameters[2] + parameters[3] - torch.tensor(targets)) ** 2).sum() / 9
    loss = loss + network.WEIGHT_DECAY / 2 * ((parameters[0] ** 2).sum() + (parameters[2] ** 2).sum())
    loss.backward()
    for mine, theirs in zip(found, parameters, strict=True):
        np.testing.assert_allclose(mine, theirs.grad.numpy(), rtol=1e-6, atol=1e-9)


def test_training_is_repeatable_and_learns():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(600, 4))
    targets = (inputs[:, :1] * inputs[:, 1:2] > 0).astype(float)
    nets = [network.train_network(inputs, targets, 1, lambda o, t: expit(o) - t, seed=1) for _ in range(2)]
    assert np.array_equal(nets[0](inputs), nets[1](inputs))
    assert (((nets[0](inputs) > 0) == targets).mean()) > 0.9


@pytest.mark.parametrize("measure", learned.UNCERTAINTIES)
def test_uncertainties_are_those_of_the_dirichlet(measure):
    rng = np.random.default_rng(0)
    alpha = rng.gamma(2.0, size=(3, 4)) + 0.2
    part = Split(np.zeros((3, 1), np.float32), alpha.astype(np.float32), np.zeros(3, int))
    draws = np.stack([rng.dirichlet(a, 200_000) for a in alpha])
    mean = draws.mean(axis=1)
    entropy_of_mean = -(mean * np.log(mean)).sum(axis=1)
    expected_entropy = -(draws * np.log(np.maximum(draws, 1e-300))).sum(axis=2).mean(axis=1)
    expected = {
        "doubt": np.log((1 - mean[np.arange(3), part.predicted]) / mean[np.arange(3), part.predicted]),
        "entropy": entropy_of_mean,
        "mutual information": entropy_of_mean - expected_entropy,
        "differential entropy": torch.distributions.Dirichlet(torch.tensor(alpha)).entropy().numpy(),
    }[measure]
    np.testing.assert_allclose(learned.UNCERTAINTIES[measure](alpha, part), expected, atol=0.02)


@pytest.mark.parametrize("name", ["confidnet", "dirichlet"])
def test_heads_rank_errors_of_new_rows(pair, rows, name):
    test = pair.reported["test"]
    assert metrics.auroc(BASELINES[name].fit(rows)(test), test.errors) > 0.65


def test_heads_are_selected_by_scores_they_did_not_fit(pair):
    """In-sample val scores of a trained head look better than they are; cross-fitted ones do not."""
    part = pair.val.take(np.arange(120))
    wrong = np.random.default_rng(0).random(120) < 0.5
    noise = part.relabel(np.where(wrong, (part.predicted + 1) % 5, part.predicted))
    rows = Rows(Geometry(pair.train, pair.weight, pair.bias), noise)
    in_sample = metrics.auroc(BASELINES["confidnet"].fit(rows)(noise), noise.errors)
    found = score_baselines(pair, rows.geometry, noise, ("confidnet",))["confidnet"]
    assert in_sample > 0.65
    assert found.val_auroc < 0.6


def test_folds_spread_errors_evenly_and_shrink_with_them():
    errors = np.r_[np.ones(12, int), np.zeros(88, int)]
    folds = make_folds(errors)
    counts = np.bincount(folds[errors == 1])
    assert len(counts) == 5
    assert set(counts) <= {2, 3}
    assert set(make_folds(np.r_[np.ones(3, int), np.zeros(50, int)])) == {0, 1, 2}


def test_venn_abers_is_two_isotonic_fits_per_row(pair):
    val = pair.val.take(np.arange(80))
    known, queries = logits.msp(val), logits.msp(pair.val.take(np.r_[np.arange(100, 125), 3]))
    low, high = validity.venn_abers_bounds(*validity._equal_mass(known, val.errors), queries)
    for i, query in enumerate(queries):
        for label, found in ((0, low), (1, high)):
            fit = IsotonicRegression().fit(np.r_[known, query], np.r_[val.errors, label])
            assert found[i] == pytest.approx(fit.predict([query])[0], abs=1e-9)


def test_venn_abers_is_calibrated_and_keeps_the_ranking(pair):
    scored = score_baselines(pair, Geometry(pair.train, pair.weight, pair.bias), pair.val, ("venn_abers", "msp"))
    test = pair.reported["test"]
    proba = scored["venn_abers"].proba["test"]
    assert metrics.ece(proba, test.errors) < metrics.ece_null(proba) + 0.03
    by_msp = proba[np.argsort(logits.msp(test))]
    assert (np.diff(by_msp) > -1e-6).all()


def test_many_rows_are_merged_before_venn_abers():
    rng = np.random.default_rng(0)
    score = rng.normal(size=5000)
    values, rates, counts = validity._equal_mass(score, (rng.random(5000) < expit(score)).astype(int))
    assert len(values) == validity.MOST_GROUPS
    assert counts.sum() == 5000
    assert (np.diff(values) > 0).all()
    assert np.corrcoef(values, rates)[0, 1] > 0.8


def test_conformal_p_values_are_shares_of_stranger_rows(rows, pair):
    known = np.sort(validity._against(pair.val, pair.val.labels))
    strange = known[[10, 200, 390]]
    expected = [np.log((known >= s).sum() / 401) for s in strange]
    np.testing.assert_allclose(validity._log_p_value(strange, known), expected)


def test_conformal_p_values_of_true_labels_are_uniform(rows, pair):
    known = np.sort(validity._against(pair.val, pair.val.labels))
    test = pair.reported["test"]
    p_values = np.exp(validity._log_p_value(validity._against(test, test.labels), known))
    for level in (0.1, 0.3, 0.7):
        assert (p_values <= level).mean() == pytest.approx(level, abs=0.08)


def test_conformal_ranks_errors(rows, pair):
    test = pair.reported["test"]
    assert metrics.auroc(BASELINES["conformal"].fit(rows)(test), test.errors) > 0.65
