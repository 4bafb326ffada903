"""Merging small files of a Delta table, by one process at a time.

delta-rs lets two merges of the same files both commit, which would double their rows, whatever the commits carry.
(Appends and removals meet a merge as they should.) So whoever merges holds a lock first: of the file system for a
folder, which ends with its process, else a lease written into the table itself.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError

from ml_debugger.store.tables import PARTITION_COLUMNS

__all__ = ["list_files", "merge_small_files"]

# Small files of one partition are merged when there are this many, into files that take little memory to merge.
PILE: Final = 48
SMALL: Final = 4 * 2**20
MERGED: Final = 16 * 2**20
KEEP_HOURS: Final = 24  # merged files stay for readers that opened the table before

LEASE: Final = "merge"
LEASE_SECONDS: Final = 3600


def merge_small_files(table: DeltaTable, root: str, properties: WriterProperties) -> None:
    """Merge the small files of each partition where they pile up, unless another process is at it.

    Args:
        table: The table as it is now.
        root: Its folder or URL.
        properties: How to write Parquet.
    """
    if not _piles(table):
        return
    with _alone(table, root) as alone:
        if not alone:
            return
        table.update_incremental()  # another process may just have finished
        piles = _piles(table)
        for partition in piles:
            filters = [(name, "=", value) for name, value in zip(PARTITION_COLUMNS, partition, strict=True)]
            try:
                table.optimize.compact(
                    filters, target_size=MERGED, max_concurrent_tasks=1, writer_properties=properties
                )
            except CommitFailedError:  # rows were removed meanwhile; the next merge sees to the rest
                return
        if piles:
            table.vacuum(KEEP_HOURS, dry_run=False, enforce_retention_duration=False)


def list_files(table: DeltaTable) -> pl.DataFrame:
    """One row per file of a table: ``path`` (as in the log, percent-encoded), ``size_bytes``, partition columns."""
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    if actions.is_empty():
        names = dict.fromkeys(("path", *PARTITION_COLUMNS), pl.String)
        return pl.DataFrame(schema={**names, "size_bytes": pl.Int64})
    columns = {f"partition.{name}": name for name in PARTITION_COLUMNS}
    return actions.select("path", "size_bytes", *columns).rename(columns)


def _piles(table: DeltaTable) -> list[tuple[str, ...]]:
    """Partitions with many small files."""
    small = list_files(table).filter(pl.col("size_bytes") < SMALL).group_by(PARTITION_COLUMNS).len()
    return small.filter(pl.col("len") >= PILE).select(PARTITION_COLUMNS).rows()


@contextmanager
def _alone(table: DeltaTable, root: str) -> Iterator[bool]:
    """Whether this process may merge until the block ends."""
    if "://" in root:
        taken = _write_lease(table, LEASE_SECONDS)
        try:
            yield taken
        finally:
            if taken:
                table.update_incremental()
                _write_lease(table, 0, renew=True)  # where this fails the lease just runs out
        return
    with (Path(root) / "_delta_log" / "merge.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _write_lease(table: DeltaTable, seconds: int, *, renew: bool = False) -> bool:
    """Write an end of the lease into the table; of several that try from one state of the table one succeeds."""
    now = int(time.time())
    if not renew and (table.transaction_version(LEASE) or 0) > now:
        return False
    nothing = pl.DataFrame(schema=dict.fromkeys(PARTITION_COLUMNS, pl.String)).to_arrow()
    claim = CommitProperties(app_transactions=[Transaction(LEASE, now + seconds)])
    try:
        write_deltalake(table, nothing, mode="append", commit_properties=claim, schema_mode="merge")
    except CommitFailedError:
        return False
    return True
