"""A lazy frame of candidates whose rank values are known already: their details are read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl
from polars.io.plugins import register_io_source

__all__ = ["RankedSource", "with_details"]

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
    source = RankedSource(frame, ranked, details)
    types = {**frame.collect_schema(), **ranked.schema}
    return register_io_source(source.read, schema={name: types[name] for name in source.columns}, is_pure=True)


class RankedSource:
    """What Polars asks for the candidates; the arguments are those of `with_details`."""

    def __init__(self, frame: pl.LazyFrame, ranked: pl.DataFrame, details: Sequence[str]) -> None:
        self.columns = [*dict.fromkeys([*details, "rank_value", "selected"])]
        self._frame, self._ranked, self._details = frame, ranked, details
        self._whole: pl.DataFrame | None = None  # the details of all candidates, once read

    def read(
        self, names: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        """The columns named (None: all) of at most ``n_rows`` candidates that meet a predicate, in one piece."""
        rows, wanted = self._ranked, names or self.columns
        if predicate is not None and set(predicate.meta.root_names()) <= set(rows.columns):
            rows, predicate = rows.filter(predicate), None
        needed = {*wanted, *(predicate.meta.root_names() if predicate is not None else ())}
        if not needed <= set(rows.columns):
            rows = self._detailed(rows)
        if predicate is not None:
            rows = rows.filter(predicate)
        yield rows.select(wanted).head(rows.height if n_rows is None else n_rows)

    def _detailed(self, rows: pl.DataFrame) -> pl.DataFrame:
        if rows.height < self._ranked.height:
            return self._looked_up(rows)
        if self._whole is None:
            self._whole = self._looked_up(rows)
        return self._whole

    def _looked_up(self, rows: pl.DataFrame) -> pl.DataFrame:
        boxes = self._frame.select(*dict.fromkeys([*self._details, *KEYS]))
        if rows.height <= LOOK_UP_ROWS:
            boxes = boxes.filter(pl.col("recording_id").is_in(rows["recording_id"].unique().implode()))
        return boxes.join(rows.lazy(), on=KEYS, how="inner").collect(engine="streaming")
