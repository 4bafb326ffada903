from __future__ import annotations

import numpy as np
import pytest

from benchmarks.active_learning.data import Problem, Source, digits, duplicated, long_tail, split
from benchmarks.active_learning.settings import SETTINGS, Setting


@pytest.fixture
def problem() -> Problem:
    return split(digits(), (40, 700, 300), seed=1)


def test_parts_are_disjoint_and_change_with_the_seed(problem):
    rows = np.concatenate([problem.start, problem.pool, problem.val])
    assert len(np.unique(rows)) == 1040
    other = split(digits(), (40, 700, 300), seed=2)
    assert not np.array_equal(problem.start, other.start)
    assert problem.test_labels is other.test_labels


def test_no_test_image_can_be_picked():
    source = digits()
    seen = {image.tobytes() for image in source.inputs}
    assert sum(image.tobytes() in seen for image in source.test_inputs) == 0
    assert len(source.labels) + len(source.test_labels) == 1797


def test_sizes_beyond_the_source_are_refused():
    with pytest.raises(ValueError, match="at most 3 in all"):
        split(
            Source(np.zeros((3, 1), np.float32), np.arange(3), np.zeros((1, 1), np.float32), np.zeros(1, int)),
            (2, 1, 1),
            0,
        )


def test_a_redundant_pool_holds_every_image_as_often(problem):
    changed = duplicated(problem, copies=7, noise=0.2, seed=0)
    assert len(changed.pool) == 700
    originals, equal, *noisy = changed.pool.reshape(7, 100)
    assert set(originals) <= set(problem.pool)
    assert np.array_equal(changed.inputs[originals], changed.inputs[equal])
    for copy in noisy:
        assert 0 < np.abs(changed.inputs[copy] - changed.inputs[originals]).mean() < 0.2
        assert np.array_equal(changed.labels[copy], changed.labels[originals])
    assert changed.val is problem.val


def test_a_long_tail_thins_all_but_the_test_set(problem):
    changed = long_tail(problem, ratio=50, seed=3)
    counts = np.sort(np.bincount(changed.labels[changed.pool], minlength=10))
    assert counts[-1] > 55
    assert counts[0] < 6
    assert changed.test_labels is problem.test_labels
    assert len(changed.val) < len(problem.val)


def test_a_thinned_start_is_filled_up():
    def thin(problem: Problem, seed: int) -> Problem:
        return long_tail(problem, ratio=50, seed=seed)

    problem = Setting("toy", "digits", "linear", 40, (60,), 700, 300, thin).problem(seed=0)
    assert len(problem.start) == 40
    assert not set(problem.start) & set(problem.pool)


def test_pools_are_larger_than_what_is_asked_for():
    for name, setting in SETTINGS.items():
        assert setting.start < setting.budgets[0], name
        assert list(setting.budgets) == sorted(setting.budgets), name
        assert len(setting.budgets) == 3, name
        assert setting.budgets[-1] < setting.pool, name
