"""Delta tables in a folder or an object store, through delta-rs.

An append is one commit. The commit carries the batch's identity as a Delta application transaction, so that a retry
after a lost answer is recognised in the table itself and stores nothing twice.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from ml_debugger.errors import StoreError
from ml_debugger.store.failures import check_not_forked, store_errors
from ml_debugger.store.merging import list_files, merge_small_files
from ml_debugger.store.naming import check_partition, quote_name
from ml_debugger.store.tables import PARTITION_COLUMNS, Batch, RowFilter, Snapshot, TableKey

__all__ = ["DeltaTables"]

_ATTEMPTS: Final = 30
_LONGEST_PAUSE: Final = 2.0
_CHECK_EVERY: Final = 16  # commits of a process to a table
_VECTORS: Final = ("features", "logits", "box", "context")
# Batch identities are forgotten after this time; a retry comes within minutes, at most from a spool within days.
_CONFIGURATION: Final = {"delta.setTransactionRetentionDuration": "interval 30 days"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeltaSnapshot:
    """A Delta table at one version, or none yet.

    Attributes:
        root: Folder or URL of the table, as plain text.
        table: The table; None where there is none.
        schema: Columns that readers know; others are left out, and those that files lack are null.
    """

    root: str
    table: DeltaTable | None
    schema: pa.Schema

    @property
    def version(self) -> int:
        """Version of the table, -1 where there is none."""
        return -1 if self.table is None else self.table.version()

    def rows(self, where: RowFilter) -> pl.LazyFrame:
        """Rows of the given partitions.

        The files are taken from the table's log and named here: what libraries make of a path with spaces or percent
        signs differs.
        """
        empty = pl.DataFrame(pa.Table.from_batches([], self.schema)).lazy()
        if self.table is None:
            return empty
        wanted = empty.collect_schema()
        stored = pl.Schema({name: wanted[name] for name in wanted if name not in PARTITION_COLUMNS})
        frames = []
        for partition, files in self._files(where):
            frame = pl.scan_parquet(
                files,
                schema=stored,
                hive_partitioning=False,
                glob=False,
                missing_columns="insert",
                extra_columns="ignore",
            )
            values = {name: pl.lit(value) for name, value in zip(PARTITION_COLUMNS, partition, strict=True)}
            frames.append(frame.with_columns(**values).select(list(wanted)))
        return pl.concat(frames) if frames else empty

    def last_number(self, source: str) -> int:
        """Highest batch number of a source."""
        return 0 if self.table is None else self.table.transaction_version(source) or 0

    def _files(self, where: RowFilter) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """Partitions with the files of each."""
        if self.table is None:
            return
        files = list_files(self.table).filter(where.expression())
        for partition, rows in files.group_by(PARTITION_COLUMNS, maintain_order=True):
            yield tuple(map(str, partition)), [f"{self.root}/{unquote(path)}" for path in rows["path"]]


@dataclass(slots=True)
class _Handle:
    """The last known state of a table in this process; its lock serialises this process's appends to it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    table: DeltaTable | None = None
    commits: int = 0


class DeltaTables:
    """Rows as Delta tables under ``root``, partitioned by version and dataset_type.

    Args:
        root: Folder or object-store URL.
    """

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")
        self._handles: dict[TableKey, _Handle] = {}
        self._lock = threading.Lock()

    def snapshot(self, key: TableKey, schema: pa.Schema) -> Snapshot:
        """The table as it is now."""
        with store_errors(f"read {key.kind}", self._root):
            return DeltaSnapshot(self._url(key), self._load(key), schema)

    def append(self, key: TableKey, rows: pa.Table, batch: Batch) -> bool:
        """Append in one commit unless the batch is already there."""
        for column in PARTITION_COLUMNS:
            for value in rows[column].unique().to_pylist():
                check_partition(column, value)
        handle = self._handle(key)
        with handle.lock, store_errors(f"write {rows.num_rows} rows of {key.kind}", self._root):
            stored = _retry(lambda: self._append_once(key, handle, rows, batch))
            handle.commits += stored
        if stored and handle.commits % _CHECK_EVERY == 0:
            self.tidy(key)
        return stored

    def remove(self, key: TableKey, version_name: str, batch: Batch) -> bool:
        """Remove a version's partitions in one commit; no file is rewritten."""
        literal = version_name.replace("'", "''")

        def attempt() -> bool:
            table = self._load(key)
            if table is None or (table.transaction_version(batch.source) or 0) >= batch.number:
                return False
            table.delete(f"version_name = '{literal}'", commit_properties=_commit(batch))
            return (table.transaction_version(batch.source) or 0) >= batch.number  # without rows there is no commit

        with self._handle(key).lock, store_errors(f"remove rows of {key.kind}", self._root):
            return _retry(attempt)

    def tidy(self, key: TableKey) -> None:
        """Merge piled-up small files of each partition and delete files that were merged long ago."""
        with store_errors(f"merge small files of {key.kind}", self._root):
            table = self._load(key)
            if table is not None:
                merge_small_files(table, self._url(key), _writer_properties(key.kind))

    def _append_once(self, key: TableKey, handle: _Handle, rows: pa.Table, batch: Batch) -> bool:
        table = self._refresh(key, handle)
        if table is None:
            table = handle.table = self._create(key, rows.schema)
        if (table.transaction_version(batch.source) or 0) >= batch.number:
            return False
        known = {column.name for column in table.schema().fields}
        write_deltalake(
            table,
            rows,
            mode="append",
            # only a batch with a new column touches the schema: commits that do conflict with every other
            schema_mode=None if known == set(rows.column_names) else "merge",
            writer_properties=_writer_properties(key.kind),
            commit_properties=_commit(batch),
        )
        return True

    def _create(self, key: TableKey, schema: pa.Schema) -> DeltaTable:
        nullable = pa.schema([column.with_nullable(True) for column in schema])
        return DeltaTable.create(
            self._url(key), nullable, mode="ignore", partition_by=list(PARTITION_COLUMNS), configuration=_CONFIGURATION
        )

    def _refresh(self, key: TableKey, handle: _Handle) -> DeltaTable | None:
        check_not_forked()
        if handle.table is None:
            handle.table = self._load(key)
        else:
            handle.table.update_incremental()
        return handle.table

    def _load(self, key: TableKey) -> DeltaTable | None:
        check_not_forked()
        try:
            return DeltaTable(self._url(key))
        except TableNotFoundError:
            return None

    def _handle(self, key: TableKey) -> _Handle:
        with self._lock:
            return self._handles.setdefault(key, _Handle())

    def _url(self, key: TableKey) -> str:
        return f"{self._root}/tables/{key.kind}/{quote_name(key.task)}/{quote_name(key.model_name)}"


def _retry(attempt: Callable[[], T]) -> T:
    """Try again after a commit conflict, with growing random pauses."""
    number = 0
    while True:
        try:
            return attempt()
        except CommitFailedError as error:
            number += 1
            if number == _ATTEMPTS:
                raise StoreError(f"gave up after {number} commit conflicts with other writers: {error}") from error
        time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.01 * 2**number)))


def _commit(batch: Batch) -> CommitProperties:
    return CommitProperties(max_commit_retries=100, app_transactions=[Transaction(batch.source, batch.number)])


def _writer_properties(kind: str) -> WriterProperties:
    """Records are wide: small row groups, so that reading a few vectors decodes few, and no dictionaries of floats."""
    if kind != "records":
        return WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=131_072)
    plain = ColumnProperties(dictionary_enabled=False)
    return WriterProperties(
        compression="ZSTD",
        compression_level=1,
        max_row_group_size=4096,
        column_properties={f"{name}.list.element": plain for name in _VECTORS},
    )
