"""Rows in the memory of this process, for tests and throw-away work."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ml_debugger.store.naming import check_partition
from ml_debugger.store.tables import PARTITION_COLUMNS, Batch, RowFilter, Snapshot, TableKey

__all__ = ["MemoryTables"]


@dataclass(frozen=True, slots=True)
class MemorySnapshot:
    """Immutable view of a table."""

    parts: tuple[pa.Table, ...] = ()
    numbers: dict[str, int] = field(default_factory=dict)
    version: int = -1
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))

    def rows(self, where: RowFilter) -> pl.LazyFrame:
        """Rows of the given partitions; columns that a part lacks are null."""
        empty = pa.Table.from_batches([], self.schema)
        frames = [pl.DataFrame(part) for part in (empty, *self.parts)]
        return pl.concat(frames, how="diagonal").lazy().filter(where.expression())

    def last_number(self, source: str) -> int:
        """Highest batch number of a source."""
        return self.numbers.get(source, 0)


class MemoryTables:
    """Arrow tables in lists; a change makes a new snapshot."""

    def __init__(self) -> None:
        self._tables: dict[TableKey, MemorySnapshot] = {}
        self._lock = threading.Lock()

    def snapshot(self, key: TableKey, schema: pa.Schema) -> Snapshot:
        """The table as it is now."""
        now = self._tables.get(key, MemorySnapshot())
        return MemorySnapshot(now.parts, now.numbers, now.version, schema)

    def append(self, key: TableKey, rows: pa.Table, batch: Batch) -> bool:
        """Add rows unless the batch is already there."""
        for column in PARTITION_COLUMNS:
            for value in rows[column].unique().to_pylist():
                check_partition(column, value)
        with self._lock:
            now = self._tables.get(key, MemorySnapshot())
            return self._replace(key, (*now.parts, rows), batch)

    def remove(self, key: TableKey, version_name: str, batch: Batch) -> bool:
        """Drop the rows of a version."""
        with self._lock:
            now = self._tables.get(key)
            if now is None:
                return False
            kept = tuple(part.filter(pc.not_equal(part["version_name"], version_name)) for part in now.parts)
            return self._replace(key, kept, batch)

    def tidy(self, key: TableKey) -> None:
        """Nothing piles up in memory."""

    def _replace(self, key: TableKey, parts: tuple[pa.Table, ...], batch: Batch) -> bool:
        now = self._tables.get(key, MemorySnapshot())
        if now.last_number(batch.source) >= batch.number:
            return False
        self._tables[key] = MemorySnapshot(parts, {**now.numbers, batch.source: batch.number}, now.version + 1)
        return True
