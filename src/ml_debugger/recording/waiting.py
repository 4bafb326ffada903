"""Rows between a recorder and storage: collected in a buffer, then sealed as appends, in memory or on disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from ml_debugger.errors import MLDebuggerError
from ml_debugger.service.contract import AppendRequest, ModelSchema

__all__ = ["Buffer", "Entry", "Sealed", "Spool"]


class Entry(Protocol):
    """An append on disk."""

    def load(self) -> AppendRequest | None:
        """The append; None where another program has stored it."""

    def discard(self) -> None:
        """Forget it, its rows being stored."""

    def refuse(self, error: MLDebuggerError) -> None:
        """Put it aside, its rows having been refused for good."""


class Spool(Protocol):
    """Keeps appends on disk while a server is away."""

    folder: Path

    def put(self, request: AppendRequest) -> Entry:
        """Keep an append.

        Raises:
            StoreError: If there is no room.
        """


class Sealed:
    """An append that waits to be stored.

    Args:
        request: The append.
    """

    def __init__(self, request: AppendRequest) -> None:
        self.n_rows: int = sum(table.num_rows for table in request.tables.values())
        self._request: AppendRequest | None = request
        self._entry: Entry | None = None

    @property
    def is_in_memory(self) -> bool:
        """Whether its rows are not on disk."""
        return self._entry is None

    def spill(self, spool: Spool) -> None:
        """Move the rows to disk.

        Raises:
            StoreError: If there is no room; they stay in memory.
        """
        if self._request is not None:
            self._entry = spool.put(self._request)
            self._request = None

    def load(self) -> AppendRequest | None:
        """The append; None where another program has stored it."""
        return self._request if self._entry is None else self._entry.load()

    def discard(self) -> None:
        """Forget the rows, which are stored."""
        if self._entry is not None:
            self._entry.discard()

    def refuse(self, error: MLDebuggerError) -> None:
        """Put rows on disk aside, which were refused for good."""
        if self._entry is not None:
            self._entry.refuse(error)


class Buffer:
    """Rows that wait to become an append."""

    def __init__(self) -> None:
        self.rows = 0  # of the most numerous kind of each batch
        self.all_rows = 0
        self.bytes = 0
        self.since = time.monotonic()
        self._parts: list[tuple[ModelSchema, Mapping[str, pa.Table]]] = []

    def add(self, schema: ModelSchema, tables: Mapping[str, pa.Table]) -> None:
        """Take whole inputs."""
        if not self._parts:
            self.since = time.monotonic()
        self._parts.append((schema, tables))
        self.rows += max((table.num_rows for table in tables.values()), default=0)
        self.all_rows += sum(table.num_rows for table in tables.values())
        self.bytes += sum(table.get_total_buffer_size() for table in tables.values())  # far cheaper than nbytes

    def groups(self) -> Iterator[tuple[ModelSchema, dict[str, pa.Table]]]:
        """One set of tables for each stretch of equal schemas."""
        for schema, parts in groupby(self._parts, key=lambda part: part[0]):
            by_kind: dict[str, list[pa.Table]] = {}
            for _, tables in parts:
                for kind, table in tables.items():
                    by_kind.setdefault(kind, []).append(table)
            yield schema, {kind: pa.concat_tables(tables) for kind, tables in by_kind.items()}
