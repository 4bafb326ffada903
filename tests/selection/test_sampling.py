from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml_debugger.selection.strategies import take_turns


@given(groups=st.lists(st.integers(0, 3), max_size=20))
def test_turns_go_round_the_groups(groups):
    """First the first of every group, groups ascending, then the second of every group, and so on."""
    expected = []
    for turn in range(len(groups)):
        for group in sorted(set(groups)):
            expected += [at for at, one in enumerate(groups) if one == group][turn : turn + 1]
    assert take_turns(np.array(groups, np.int64)).tolist() == expected
