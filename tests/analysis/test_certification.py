"""The promise of the stable zone."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.analysis.certification import certify
from ml_debugger.analysis.intervals import binomial_upper, rows_for_promise


def test_clean_rows_are_promised_up_to_where_errors_begin() -> None:
    proba = np.arange(1000) / 1000
    wrong = proba >= 0.6
    found = certify(proba, wrong, 0.05)
    assert 0.55 < found.threshold < 0.68
    assert found.rows == int((proba < found.threshold).sum())
    assert found.errors == int(wrong[proba < found.threshold].sum())
    assert found.bound == pytest.approx(binomial_upper(found.errors, found.rows, 0.975))
    assert found.bound <= 0.05
    assert found.sentence.startswith("at most 5.00% of these rows are wrong")
    assert found.sentence.endswith(f"so the bound found is {found.bound:.2%}, within the limit of 5.00%")
    assert "95%" in found.sentence
    assert str(found.rows) in found.sentence


def test_all_rows_can_be_promised() -> None:
    proba = np.linspace(0, 0.1, 200)
    found = certify(proba, np.zeros(200, dtype=bool), 0.1)
    assert found.rows == 200
    assert found.threshold > proba.max()


def test_stops_at_the_first_failure() -> None:
    proba = np.arange(1000) / 1000
    wrong = (proba >= 0.2) & (proba < 0.3)
    assert certify(proba, wrong, 0.15).threshold < 0.3 < 0.9


def test_too_few_rows_say_how_many_labels_it_takes() -> None:
    found = certify(np.linspace(0, 1, 20), np.zeros(20, dtype=bool), 0.02, labels=60)
    assert found.threshold == 0
    assert found.rows == 0
    assert found.bound == 1.0
    needed = rows_for_promise(0.02, 0.975)
    assert f"at least {needed} certification rows" in found.sentence
    assert f"label about {int(np.ceil(60 * needed / 20))} rows" in found.sentence


def test_no_rows_at_all() -> None:
    found = certify(np.empty(0), np.empty(0, dtype=bool), 0.1)
    assert found.threshold == 0
    assert f"label about {rows_for_promise(0.1, 0.975)} rows" in found.sentence


def test_errors_among_the_safest_rows_say_that_labels_do_not_help() -> None:
    proba, wrong = np.linspace(0, 1, 300), np.zeros(300, dtype=bool)
    wrong[:20] = True
    found = certify(proba, wrong, 0.05)
    assert found.threshold == 0
    assert "more labels alone will not help" in found.sentence


def test_a_few_errors_say_how_much_evidence_it_takes() -> None:
    proba, wrong = np.linspace(0, 1, 300), np.zeros(300, dtype=bool)
    wrong[:3] = True
    found = certify(proba, wrong, 0.05, labels=900)
    assert found.threshold == 0
    assert "it takes about" in found.sentence


def test_ties_never_promise_fewer_rows_than_needed() -> None:
    proba = np.repeat([0.1, 0.2], 200)
    found = certify(proba, np.repeat([False, True], 200), 0.02)
    assert found.threshold == 0.2
    assert found.rows == 200


def test_one_early_error_does_not_end_the_search() -> None:
    proba, wrong = np.arange(1000) / 1000, np.zeros(1000, dtype=bool)
    wrong[3] = True
    assert certify(proba, wrong, 0.05).rows == 1000


def test_a_higher_rate_is_promised_where_the_lower_cannot_be() -> None:
    proba, wrong = np.arange(2000) / 2000, np.arange(2000) % 25 == 0
    found = certify(proba, wrong, 0.02, relaxed=0.07)
    assert (found.risk, found.confidence) == (0.07, 0.95)
    assert found.rows == 2000
    assert found.bound == pytest.approx(binomial_upper(80, 2000, 0.9875))
    assert certify(proba, wrong, 0.065, relaxed=0.07).risk == 0.065
    nothing = certify(proba, wrong, 0.01, relaxed=0.02)
    assert (nothing.threshold, nothing.risk) == (0.0, 0.02)


@pytest.mark.parametrize("slope", [0.3, 0.5])
def test_promises_hold_as_often_as_they_say(slope: float) -> None:
    """Errors at rate slope * p: over many draws the promised rows err above the risk at most 5 % of the time."""
    random = np.random.default_rng(5)
    risk, broken, draws = 0.08, 0, 400
    for _ in range(draws):
        proba = random.random(400)
        found = certify(proba, random.random(400) < slope * proba, risk)
        broken += slope * found.threshold / 2 > risk
    assert broken / draws <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / draws)


def test_rows_of_one_group_are_one_piece_of_evidence() -> None:
    proba = np.arange(1000) / 1000
    wrong = proba >= 0.6
    by_row = certify(proba, wrong, 0.05)
    by_group = certify(proba, wrong, 0.05, groups=np.arange(1000) % 200)
    alone = certify(proba, wrong, 0.05, groups=np.arange(1000))
    assert 0 < by_group.rows <= by_row.rows
    assert by_row.bound < by_group.bound <= 0.05
    assert "of 200 inputs were wrong" in by_group.sentence
    assert by_group.rows <= alone.rows <= by_row.rows


def test_few_groups_promise_nothing_however_many_rows_they_have() -> None:
    found = certify(np.linspace(0, 0.1, 5000), np.zeros(5000, dtype=bool), 0.05, groups=np.arange(5000) % 10)
    assert (found.rows, found.threshold) == (0, 0.0)


def test_a_promise_by_groups_holds_where_whole_groups_err() -> None:
    """Images err as a whole: the promise must fail to hold in at most the five per cent of draws it allows for."""
    random, by_group, by_row = np.random.default_rng(0), 0, 0
    groups = np.repeat(np.arange(150), 30)
    for _ in range(200):
        wrong = (random.random(150) < 0.11)[groups]  # above the promised rate: every promise is a broken one
        proba = random.random(len(groups))
        by_group += certify(proba, wrong, 0.1, groups=groups).rows > 0
        by_row += certify(proba, wrong, 0.1).rows > 0
    assert by_group / 200 <= 0.05 < by_row / 200
