from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.selection.random_order import random_keys
from ml_debugger.service import candidate_order
from ml_debugger.service.candidate_order import ORDER_KEY, Ranked, Shuffled, first_per_group

orders = st.sampled_from([Ranked(True), Ranked(False), Shuffled(3)])
tables = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 2)), max_size=60)


def in_order(rows, order):
    """All rows, sorted the plain way."""
    if isinstance(order, Shuffled):
        return sorted(rows, key=lambda row: random_keys([row["input_id"]], order.seed)[0])
    rows = sorted(rows, key=lambda row: row["input_id"])
    return sorted(rows, key=lambda row: row["rank_value"], reverse=order.descending)


@pytest.mark.parametrize("batch_rows", [7, 1000])
@settings(deadline=None, max_examples=40)
@given(table=tables, order=orders, depth=st.integers(1, 20), grouped=st.booleans())
def test_the_first_are_those_of_a_plain_sort(batch_rows, table, order, depth, grouped):
    rows = [
        {"input_id": f"i{at:02}", "rank_value": rank, "zone": f"z{group}"} for at, (rank, group) in enumerate(table)
    ]
    whole = pl.DataFrame(rows, {"input_id": pl.String, "rank_value": pl.Float64, "zone": pl.String})
    frame = pl.concat([whole[at : at + 7].lazy() for at in range(0, max(1, len(rows)), 7)])  # several batches
    expected = in_order(rows, order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidate_order, "_BATCH_ROWS", batch_rows)
        first = order.first(frame, depth)
        folded = first_per_group(frame, order, "zone" if grouped else None, depth)
    assert first["input_id"].to_list() == [row["input_id"] for row in expected[:depth]]
    for zone in {row["zone"] for row in rows} if grouped else {None}:
        chosen = folded if zone is None else folded.filter(pl.col("zone") == zone)
        wanted = [row["input_id"] for row in expected if zone in (None, row["zone"])][:depth]
        assert chosen["input_id"].to_list() == wanted
    assert ORDER_KEY in folded.columns
