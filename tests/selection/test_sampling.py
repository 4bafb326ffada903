from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ml_debugger.selection.sampling import take_turns


@given(labels=st.lists(st.integers(0, 3), max_size=20), limit=st.integers(1, 4))
def test_turns_go_round_the_labels(labels, limit):
    """First the first of every label, labels ascending, then the second of every label, and so on."""
    expected = []
    for turn in range(limit):
        for label in sorted(set(labels)):
            places = [at for at, one in enumerate(labels) if one == label]
            expected += places[turn : turn + 1]
    assert take_turns(pa.chunked_array([pa.array(labels, pa.int64())]), limit).tolist() == expected
