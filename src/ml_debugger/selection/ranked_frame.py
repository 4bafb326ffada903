"""A lazy frame of candidates whose rank values are known already: their details are read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl
from polars.io.plugins import register_io_source

__all__ = ["with_details"]

KEYS: Final = ["recording_id", "unit"]
# So few are looked up by their ids, which spares the files most of the reading.
LOOK_UP_ROWS: Final = 50_000


def with_details(frame: pl.LazyFrame, ranked: pl.DataFrame, details: Sequence[str]) -> pl.LazyFrame:
    """Candidates with columns of the box that stands for each.

    To find where the best of a million end takes their rank values alone; then only the details of those are read. An
    ordinary join would read the details of all, twice.

    Args:
        frame: All boxes, with ``recording_id``, ``unit`` and the details.
        ranked: One row per candidate: ``recording_id``, ``unit``, ``rank_value``, ``selected``.
        details: Names of further columns.
    """
    columns = [*dict.fromkeys([*details, "rank_value", "selected"])]
    types = {**frame.collect_schema(), **ranked.schema}
    whole: list[pl.DataFrame] = []  # the details of all candidates, once read

    def read(
        names: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        rows, wanted = ranked, names or columns
        if predicate is not None and set(predicate.meta.root_names()) <= set(ranked.columns):
            rows, predicate = rows.filter(predicate), None
        needed = {*wanted, *(predicate.meta.root_names() if predicate is not None else ())}
        if not needed <= set(ranked.columns):
            rows = whole[0] if rows is ranked and whole else _detailed(frame, rows, details)
            if predicate is None and rows.height == ranked.height:
                whole[:] = [rows]
        if predicate is not None:
            rows = rows.filter(predicate)
        yield rows.select(wanted).head(rows.height if n_rows is None else n_rows)

    return register_io_source(read, schema={name: types[name] for name in columns}, is_pure=True)


def _detailed(frame: pl.LazyFrame, rows: pl.DataFrame, details: Sequence[str]) -> pl.DataFrame:
    boxes = frame.select(*dict.fromkeys([*details, *KEYS]))
    if rows.height <= LOOK_UP_ROWS:
        boxes = boxes.filter(pl.col("recording_id").is_in(rows["recording_id"].unique().implode()))
    return boxes.join(rows.lazy(), on=KEYS, how="inner").collect(engine="streaming")
