from __future__ import annotations

import inspect
import math
from dataclasses import replace

import numpy as np
import pytest

from ml_debugger.columns import HOTSPOTS, ZONES
from ml_debugger.errors import ConfigError
from ml_debugger.estimation.bank import build_bank
from ml_debugger.selection import STRATEGIES, strategies
from ml_debugger.selection.diversity import spread
from ml_debugger.selection.random_order import random_keys
from ml_debugger.service.query import run_query
from tests.helpers.candidate_source import TASK, MemorySource, random_pool, request, scored_table


def answer(name, source, n=5, **kwargs):
    return run_query(request(n, name, **kwargs), TASK, source)


def pool_of(probabilities, **columns):
    rows = [{"input_id": f"i{at:03}", "error_proba": p} for at, p in enumerate(probabilities)]
    return scored_table([{**row, **{name: v[at] for name, v in columns.items()}} for at, row in enumerate(rows)])


def test_every_entry_is_registered_by_its_name_and_names_its_paper():
    for name, strategy in STRATEGIES.items():
        assert strategy.name == name == strategy.pick.__name__
        assert strategy.description
        assert any(str(year) in inspect.getdoc(strategy.pick) for year in range(1930, 2026))


def test_an_unknown_name_lists_all():
    with pytest.raises(ConfigError) as caught:
        strategies.find_strategy("hardest")
    assert all(name in str(caught.value) for name in STRATEGIES)


def test_diverse_error_takes_one_of_each_kind_of_error():
    """Ten near copies of three likely errors: the highest error probabilities alone would give one kind only."""
    centres = np.eye(4, 8) * 5
    kind = np.repeat([0, 1, 2, 3], 10)
    features = centres[kind] + np.random.default_rng(0).normal(size=(40, 8)) * 0.01
    probabilities = np.repeat([0.99, 0.9, 0.8, 0.01], 10)
    found = answer("diverse_error", MemorySource(pool_of(probabilities), features), 3)
    assert sorted(int(one[1:]) // 10 for one in found.input_ids) == [0, 1, 2]


def test_exact_duplicates_are_picked_once_and_more_are_drawn(monkeypatch):
    monkeypatch.setattr(strategies, "DIVERSE_ROWS", 16)
    features = np.concatenate([np.zeros((400, 2)), np.arange(1, 11)[:, None] * np.ones((1, 2))])
    probabilities = np.linspace(1, 0.1, 410)
    source = MemorySource(pool_of(probabilities), features)
    for name in ("diverse_error", "coverage"):
        found = answer(name, source, 11)
        assert len(set(found.input_ids)) == 11
        assert sum(int(one[1:]) < 400 for one in found.input_ids) == 1
        assert found.shortfall is None
    short = answer("diverse_error", source, 15)
    assert len(short.input_ids) == 11
    assert "left out: 399 exact duplicates" in short.shortfall


def test_vectors_that_are_not_finite_are_left_out():
    features = np.random.default_rng(0).normal(size=(6, 3))
    features[2, 1] = math.nan
    logits = np.random.default_rng(1).normal(size=(6, 3))
    logits[4, 0] = math.inf
    source = MemorySource(pool_of([0.5] * 6), features, logits)
    for name in ("diverse_error", "coverage", "badge"):
        found = answer(name, source, 6)
        assert sorted(found.input_ids) == ["i000", "i001", "i003", "i005"]
        assert "left out: 2 with features that are not finite" in found.shortfall


def test_coverage_stays_away_from_what_is_labelled():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 16)) * 10
    features = centres[np.repeat(np.arange(6), 30)] + rng.normal(size=(180, 16)) * 0.1
    labelled = centres[np.repeat(np.arange(4), 10)] + rng.normal(size=(40, 16)) * 0.1
    bank = build_bank(labelled, np.repeat(np.arange(4), 10))
    found = answer("coverage", MemorySource(pool_of([0.5] * 180), features, bank=bank), 2)
    assert sorted(int(one[1:]) // 30 for one in found.input_ids) == [4, 5]
    # Nobody trains on held-out rows: what lies near one is as new as the rest.
    half_held = replace(bank, is_held=np.repeat(np.arange(4), 10) >= 2)
    found = answer("coverage", MemorySource(pool_of([0.5] * 180), features, bank=half_held), 4)
    assert sorted(int(one[1:]) // 30 for one in found.input_ids) == [2, 3, 4, 5]


def test_coverage_without_fitting_labelled_rows_covers_the_pool():
    features = np.repeat(np.eye(3, 4), 20, axis=0) + np.random.default_rng(0).normal(size=(60, 4)) * 0.01
    narrow = build_bank(np.random.default_rng(0).normal(size=(20, 2)), np.zeros(20, np.int64))
    for bank in (None, narrow):
        found = answer("coverage", MemorySource(pool_of([0.5] * 60), features, bank=bank), 3)
        assert sorted(int(one[1:]) // 20 for one in found.input_ids) == [0, 1, 2]


def test_badge_spreads_the_gradients_of_the_last_layer():
    features, logits = np.random.default_rng(0).normal(size=(40, 6)), np.random.default_rng(1).normal(size=(40, 3)) * 3
    table = pool_of([0.5] * 40)
    order = np.argsort(random_keys(table["input_id"].combine_chunks(), 4))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradient = np.einsum("ij,ik->ijk", softmax - np.eye(3)[logits.argmax(axis=1)], features).reshape(40, 18)
    expected = order[spread(gradient[order], 12, np.random.default_rng(4))]
    found = answer("badge", MemorySource(table, features, logits), 12, seed=4)
    assert [int(one[1:]) for one in found.input_ids] == expected.tolist()


def test_one_logit_is_a_head_with_two_classes():
    features = np.random.default_rng(0).normal(size=(30, 4))
    z = np.random.default_rng(1).normal(size=(30, 1))
    one, two = (
        answer("badge", MemorySource(pool_of([0.5] * 30), features, logits), 10)
        for logits in (z, np.concatenate([np.zeros_like(z), z], axis=1))
    )
    assert one.input_ids == two.input_ids


def test_logits_stand_in_for_features_and_it_is_said():
    logits = np.random.default_rng(0).normal(size=(30, 4))
    for name in ("diverse_error", "coverage", "badge"):
        found = answer(name, MemorySource(pool_of([0.5] * 30), None, logits), 10)
        assert len(set(found.input_ids)) == 10
        assert found.notes == ("the model shows no features: its logits stand in for them",)


def test_a_model_that_shows_nothing_cannot_be_spread():
    with pytest.raises(ConfigError, match=r"needs features or logits.*zone_balanced"):
        answer("diverse_error", MemorySource(pool_of([0.5] * 3)))
    with pytest.raises(ConfigError, match="'badge' needs logits"):
        answer("badge", MemorySource(pool_of([0.5] * 3), np.eye(3)))


def test_zone_balanced_gives_zones_their_turns_and_a_random_share():
    table = random_pool(3000, re_recorded=0)
    zone = dict(zip(table["input_id"].to_pylist(), table["zone"].to_pylist(), strict=True))
    found = answer("zone_balanced", MemorySource(table), 40)
    assert found.notes == ("the last 6 of 40 ids are a uniform random sample of the pool",)
    chosen = [zone[one] for one in found.input_ids]
    assert chosen[:6] == [*HOTSPOTS, "stable_coverage", "operational_coverage"]
    assert {chosen[:34].count(name) for name in ZONES} == {5, 6}
    by_zone = [value for value, name in zip(found.rank_values, chosen, strict=True) if name == "hotspot"][:5]
    assert by_zone == sorted(by_zone, reverse=True)
    assert list(found.input_ids[34:]) == list(answer("random", MemorySource(table), 6).input_ids)


def test_zones_that_run_out_leave_their_turns():
    zones = ["hotspot"] * 30 + ["critical_hotspot"] * 2
    found = answer("zone_balanced", MemorySource(pool_of(np.linspace(0, 1, 32), zone=zones)), 20)
    assert len(set(found.input_ids)) == 20


def test_random_is_uniform_over_inputs():
    """Inputs recorded again are not drawn more often."""
    table = random_pool(500, re_recorded=0.5)
    often = {one for one in table["input_id"].to_pylist() if table["input_id"].to_pylist().count(one) > 1}
    hits = sum(
        one in often for seed in range(60) for one in answer("random", MemorySource(table), 10, seed=seed).input_ids
    )
    assert abs(hits / 600 - 0.5) < 0.08
