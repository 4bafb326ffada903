from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ml_debugger.selection import random_order
from ml_debugger.selection.random_order import random_keys

MASK = 2**64 - 1


def slow_mix(value):
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def slow_key(text, seed):
    golden = 0x9E3779B97F4A7C15
    data = text.encode()
    key = slow_mix((seed + golden) & MASK)
    for at in range(0, len(data), 8):
        key = slow_mix(((key ^ int.from_bytes(data[at : at + 8], "little")) + golden) & MASK)
    return slow_mix(((key ^ len(data)) + golden) & MASK)


@given(ids=st.lists(st.text(max_size=20), max_size=12), seed=st.integers(0, MASK))
def test_keys_are_those_of_plain_arithmetic(ids, seed):
    assert random_keys(pa.array(ids, pa.string()), seed).tolist() == [slow_key(one, seed) for one in ids]


def test_the_keys_are_fixed_for_good():
    assert random_keys(["img_1", "img_2", ""], 0).tolist() == [slow_key(one, 0) for one in ("img_1", "img_2", "")]


def test_a_key_depends_on_its_id_alone(monkeypatch):
    ids = pa.array([f"img_{at}" for at in range(100)])
    whole = random_keys(ids, 7)
    monkeypatch.setattr(random_order, "_BLOCK_ROWS", 8)
    assert (random_keys(ids, 7) == whole).all()
    assert (random_keys(ids.slice(31, 20), 7) == whole[31:51]).all()
    assert (random_keys(ids.cast(pa.large_string()), 7) == whole).all()


def test_keys_are_uniform_and_differ_by_seed():
    ids = [str(at) for at in range(20_000)]
    first, second = random_keys(ids, 1), random_keys(ids, 2)
    assert len(np.unique(first)) == len(ids)
    for keys in (first, second, first ^ second):
        counts = np.bincount((keys >> np.uint64(58)).astype(np.int64), minlength=64)
        assert abs(counts - len(ids) / 64).max() < 5 * np.sqrt(len(ids) / 64)
    assert abs(np.corrcoef(first.astype(float), second.astype(float))[0, 1]) < 0.05
