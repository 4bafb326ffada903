"""Random scored rows and random filters, for property tests."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from ml_debugger.columns import ZONES

GRID = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0]  # few values, so that ties and equalities happen
numbers = st.sampled_from(GRID)
operators = st.sampled_from([">=", ">", "<=", "<", "==", "!="])
columns = st.sampled_from(["error_proba", "score", "age", "weight"])
conditions = st.dictionaries(columns, st.builds(lambda o, v: f"{o}{v}", operators, numbers), min_size=1, max_size=3)
filters = st.fixed_dictionaries(
    {
        "target_zones": st.lists(st.sampled_from(list(ZONES)), max_size=2),
        "conditions": st.lists(conditions, max_size=3),
    }
).filter(lambda value: value["target_zones"] or value["conditions"])
rows = st.lists(
    st.fixed_dictionaries(
        {
            "input_id": st.sampled_from([f"i{at}" for at in range(12)]),
            "error_proba": st.one_of(numbers, st.just(math.nan)),
            "score": st.one_of(numbers, st.just(math.nan)),
            "zone": st.sampled_from(list(ZONES)),
            "age": st.one_of(st.none(), st.integers(0, 1)),
            "weight": st.one_of(st.none(), st.just(math.nan), numbers),
        }
    ),
    max_size=30,
)
