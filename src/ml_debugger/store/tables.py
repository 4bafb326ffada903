"""What a store of rows can do: five calls, the same for Delta tables and for memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import polars as pl
import pyarrow as pa

__all__ = ["Batch", "RowFilter", "Snapshot", "TableKey", "Tables", "stream"]

PARTITION_COLUMNS = ("version_name", "dataset_type")
_STREAM_ROWS = 8192


@dataclass(frozen=True, slots=True)
class TableKey:
    """One table per kind of row, task and model."""

    kind: str
    task: str
    model_name: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Identity of an append: ``number`` of ``source``. Once stored, the same or a lower number is skipped."""

    source: str
    number: int = 1


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Partitions to read: one version, and the given dataset_types or all."""

    version_name: str
    dataset_types: tuple[str, ...] | None = None

    def expression(self) -> pl.Expr:
        """The filter as a Polars expression."""
        condition = pl.col("version_name") == self.version_name
        if self.dataset_types is None:
            return condition
        # an "or" of equalities prunes partitions, "is_in" does not in every release
        chosen = pl.lit(False)
        for dataset_type in self.dataset_types:
            chosen = chosen | (pl.col("dataset_type") == dataset_type)
        return condition & chosen


class Snapshot(Protocol):
    """One table at one moment: later appends do not show."""

    @property
    def version(self) -> int:
        """Grows with every change; -1 where there is no table yet."""

    def rows(self, where: RowFilter) -> pl.LazyFrame:
        """All columns of the rows in the given partitions, stale recordings included."""

    def last_number(self, source: str) -> int:
        """Highest batch number stored of a source, 0 if none."""


class Tables(Protocol):
    """Rows by table. All calls may come from several threads and processes at once."""

    def snapshot(self, key: TableKey, schema: pa.Schema) -> Snapshot:
        """The table as it is now; an empty one of ``schema`` if there is none."""

    def append(self, key: TableKey, rows: pa.Table, batch: Batch) -> bool:
        """Store rows, all or none. False: this batch was already stored.

        Raises:
            StoreError: If the rows could not be stored; none of them is visible.
        """

    def remove(self, key: TableKey, version_name: str, batch: Batch) -> bool:
        """Remove the rows of a version. False: this batch was already carried out, or nothing was there to remove.

        Where nothing was there, the batch may not be known afterwards; an append of no rows makes it known.

        Raises:
            StoreError: If the table could not be written.
        """

    def tidy(self, key: TableKey) -> None:
        """Merge small files where they pile up; never fails because somebody else does the same.

        Raises:
            StoreError: If the table could not be written.
        """


def stream(frame: pl.LazyFrame, schema: pa.Schema, rows: int = _STREAM_ROWS) -> Iterator[pa.RecordBatch]:
    """Rows of a lazy frame in batches, with bounded memory, as plain Arrow of the given schema."""
    columns = frame.select(schema.names)
    for part in columns.collect_batches(chunk_size=rows, maintain_order=False, engine="streaming"):
        yield from part.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema).to_batches(max_chunksize=rows)
