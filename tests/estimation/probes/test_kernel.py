"""The kernel probe against plain formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml_debugger.estimation.metrics import auroc
from ml_debugger.estimation.probes import KernelProbe, error_odds, fit_kernel
from ml_debugger.estimation.probes.kernel import _Solver, lifted, place_landmarks


def fitted(make_sample, n_rows: int = 400, **options):
    _, sample = make_sample(n_rows, **options)
    start = place_landmarks(sample.components[:150], sample.points[:150])
    similar, _ = start.similarities(sample.components, sample.points)
    none = np.zeros((0, 150), dtype=np.float32), np.zeros(0, dtype=np.int64)
    probe, scores = fit_kernel(start, sample, similar, none, similar[:150])
    return sample, similar, probe, scores


def test_similarities_are_powers_of_cosines(make_sample) -> None:
    _, sample = make_sample(200)
    start = place_landmarks(sample.components[:50], sample.points[:50])
    lengths = [
        np.sqrt((v**2).sum(axis=1) + lift**2)
        for v, lift in zip((sample.components, sample.points), start.lifts, strict=True)
    ]
    cosine = np.zeros((200, 50))
    for vectors, lift, share, length in zip(
        (sample.components, sample.points), start.lifts, start.shares, lengths, strict=True
    ):
        cosine += share * (vectors @ vectors[:50].T + lift**2) / np.outer(length, length[:50])
    similar, apart = start.similarities(sample.components, sample.points)
    np.testing.assert_allclose(similar, ((1 + cosine) / 2) ** 4, atol=5e-3)
    np.testing.assert_allclose(apart, 1 - cosine.max(axis=1), atol=5e-3)
    hidden = np.arange(200)[:, None] == np.arange(50)
    assert start.similarities(sample.components, sample.points, hidden)[1][:50].min() > 0.001
    np.testing.assert_array_equal(start.similarities(sample.components, sample.points, hidden)[0], similar)


def test_products_are_exact(make_sample) -> None:
    _, sample = make_sample(60)
    start = place_landmarks(sample.components, sample.points)
    rows = lifted(sample.components, sample.points, start.lifts, start.shares)
    exact = rows.astype(np.float64) @ start._targets.astype(np.float64)
    np.testing.assert_array_equal(rows @ start._targets, exact)


def test_tells_errors_better_than_the_network(make_sample) -> None:
    sample, _, _, scores = fitted(make_sample, 600)
    own = sample.choices.own
    assert auroc(error_odds(scores, own), sample.wrong) > auroc(error_odds(sample.logits, own), sample.wrong) + 0.03


def test_ridge_regression_is_the_formula(make_sample) -> None:
    _, sample = make_sample(200)
    start = place_landmarks(sample.components[:30], sample.points[:30])
    similar, _ = start.similarities(sample.components, sample.points)
    folds = np.arange(200) % 4
    known = similar[:50], sample.truth[:50]
    solver = _Solver(similar, sample.truth, folds, sample.n_classes, known, similar[:30])
    inside = folds != 2
    one_hot = np.eye(sample.n_classes)
    prior = (np.bincount(sample.truth[inside], minlength=sample.n_classes) + 1.0) / (inside.sum() + sample.n_classes)
    phi = np.concatenate([similar[inside], np.sqrt(0.5) * known[0]]).astype(np.float64)
    target = np.concatenate([one_hot[sample.truth[inside]] - prior, np.sqrt(0.5) * (one_hot[known[1]] - prior)])
    expected = np.linalg.solve(phi.T @ phi + 3.0 * solver.own, phi.T @ target)
    np.testing.assert_allclose(solver.solve(0.5, 3.0, 2), expected, atol=1e-7)


def test_new_rows_are_scored_as_the_weights_say(make_sample) -> None:
    sample, similar, probe, _ = fitted(make_sample)
    again = KernelProbe.from_arrays(probe.to_arrays())
    expected = similar.astype(np.float64) @ (probe.weights * float(probe.step)) * 2.0**20
    np.testing.assert_allclose(probe.scores(similar, sample.choices), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(probe.scores(similar, sample.choices), again.scores(similar, sample.choices))


@pytest.mark.parametrize("options", [{"n_classes": 2}, {"n_classes": 150}, {"width": 1}], ids=str)
def test_any_shape(make_sample, options: dict) -> None:
    sample, similar, probe, scores = fitted(make_sample, 200, **options)
    assert scores.shape == sample.logits.shape
    assert np.isfinite(scores).all()
    assert np.isfinite(probe.scores(similar, sample.choices)).all()


def test_rows_without_spread() -> None:
    start = place_landmarks(np.zeros((1, 2)), np.zeros((1, 2)))
    similar, apart = start.similarities(np.zeros((3, 2)), np.zeros((3, 2)))
    np.testing.assert_allclose(similar, 1, atol=5e-3)
    np.testing.assert_allclose(apart, 0, atol=5e-3)


def test_rows_of_a_group_stay_together(make_sample) -> None:
    _, sample = make_sample(100)
    grouped = replace(sample, groups=np.arange(100) // 10)
    folds = grouped.folds(8)
    assert all(len(set(folds[start : start + 10].tolist())) == 1 for start in range(0, 100, 10))
