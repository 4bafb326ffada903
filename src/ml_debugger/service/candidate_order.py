"""Orders of candidates, and how the first of them are read without holding them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import polars as pl

from ml_debugger.selection.random_order import random_keys

__all__ = ["ORDER_KEY", "Order", "Ranked", "Shuffled", "first_per_group"]

ORDER_KEY: Final = "order_key"
_BATCH_ROWS: Final = 131_072


class Order(Protocol):
    """A total order of candidates: by a key, ties by ``input_id``."""

    @property
    def descending(self) -> bool:
        """Whether greater keys come first."""

    def keyed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with their keys as column ``ORDER_KEY``."""

    def first(self, frame: pl.LazyFrame, depth: int) -> pl.DataFrame:
        """The first ``depth`` rows, in order."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """By rank value."""

    descending: bool

    def keyed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with their keys."""
        return rows.with_columns(pl.col("rank_value").alias(ORDER_KEY))

    def first(self, frame: pl.LazyFrame, depth: int) -> pl.DataFrame:
        """The first ``depth`` rows, in order.

        Two passes: the first reads the rank value alone and finds where to cut, the second reads only above the cut,
        where files and row groups can be skipped.
        """
        rank = pl.col("rank_value")
        ranks = frame.select(rank)
        best = ranks.top_k(depth, by=rank) if self.descending else ranks.bottom_k(depth, by=rank)
        found = best.collect(engine="streaming")["rank_value"]
        if len(found) == depth:
            above = rank >= found.min() if self.descending else rank <= found.max()
            frame = frame.filter(above).top_k(depth, by=[rank, "input_id"], reverse=[not self.descending, True])
        return _sorted(self.keyed(frame.collect(engine="streaming")), self)


@dataclass(frozen=True, slots=True)
class Shuffled:
    """At random, as the seed and the ids decide."""

    seed: int

    @property
    def descending(self) -> bool:
        """Whether greater keys come first: no."""
        return False

    def keyed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with their keys."""
        return rows.with_columns(pl.Series(ORDER_KEY, random_keys(rows["input_id"].to_arrow(), self.seed)))

    def first(self, frame: pl.LazyFrame, depth: int) -> pl.DataFrame:
        """The first ``depth`` rows, in order."""
        return first_per_group(frame, self, None, depth)


def first_per_group(frame: pl.LazyFrame, order: Order, group: str | None, depth: int) -> pl.DataFrame:
    """The first ``depth`` rows of every group (of all, without a group), in order: one pass, batch by batch."""

    def reduced(parts: list[pl.DataFrame]) -> pl.DataFrame:
        rows = _sorted(pl.concat(parts), order)
        if group is None:
            return rows.head(depth)
        # a group_by puts the group's column first
        return rows.group_by(group, maintain_order=True).head(depth).select(rows.columns)

    kept = order.keyed(frame.head(0).collect())
    waiting: list[pl.DataFrame] = []
    for batch in frame.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=False, engine="streaming"):
        rows = order.keyed(batch)
        if group is None and kept.height == depth:
            rows = rows.filter(_up_to(kept[ORDER_KEY][-1], order))
        waiting.append(rows)
        if sum(rows.height for rows in waiting) >= max(_BATCH_ROWS, kept.height):
            kept = reduced([kept, *waiting])
            waiting = []
    return reduced([kept, *waiting])


def _up_to(last: Any, order: Order) -> pl.Expr:
    key = pl.col(ORDER_KEY)
    wanted: pl.Expr = key >= last if order.descending else key <= last
    return wanted


def _sorted(rows: pl.DataFrame, order: Order) -> pl.DataFrame:
    return rows.sort(ORDER_KEY, "input_id", descending=[order.descending, False])
