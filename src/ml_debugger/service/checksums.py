"""Checksums of rows and results that two places agree on when they hold the same, whatever their files look like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ml_debugger import columns
from ml_debugger.service.contract import ResultPayload, RunKey, ScanRequest, Service

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["RESULT_TABLES", "read_kind", "result_checksum", "rows_checksum"]

RESULT_TABLES: Final = ("samples", "zones", "error_codes", "missed", "truths")
# Rows of a recording are told apart by these; each kind has one at most.
_NUMBERS: Final = ("unit", "truth_index")


def read_kind(
    service: Service, run: RunKey, kind: str, recording_ids: pa.Array, names: tuple[str, ...] | None = None
) -> pa.Table:
    """Rows of some recordings, stale ones too, in an order that depends on nothing else."""
    request = ScanRequest(run, kind, columns=names, recording_ids=recording_ids, every_recording=True)
    batches = list(service.scan(request))
    if not batches:
        return pa.table({})
    table = pa.Table.from_batches(batches)
    keys = [name for name in ("recording_id", *_NUMBERS) if name in table.column_names]
    return table.sort_by([(name, "ascending") for name in keys])


def rows_checksum(rows: pa.Table, names: tuple[str, ...]) -> tuple[int, str]:
    """Number of rows, and SHA-256 over the values of their columns, in the order of the names."""
    total = hashlib.sha256()
    if rows.num_rows:
        for name in names:
            _add_column(total, name, rows[name])
    return rows.num_rows, total.hexdigest()


def result_checksum(payload: ResultPayload, error_model: bytes) -> str:
    """SHA-256 over everything that a result shows, and its error model."""
    total = hashlib.sha256()
    for part in (payload.info, payload.metrics):
        total.update(_plain(part))
    for table in RESULT_TABLES:
        rows = getattr(payload, table)
        total.update(f"{table} {rows.num_rows}".encode())
        for name in rows.column_names:
            _add_column(total, name, rows[name])
    total.update(error_model)
    return total.hexdigest()


def _plain(part: Mapping[str, Any]) -> bytes:
    return json.dumps(part, sort_keys=True, allow_nan=False).encode()


def _add_column(total: _Hash, name: str, column: pa.ChunkedArray) -> None:
    total.update(f"{name} {column.type} ".encode())
    _add(total, column.combine_chunks())


def _add(total: _Hash, values: pa.Array) -> None:
    """Where the nulls are, and the values elsewhere: what lies behind a null is nobody's business."""
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    total.update(len(values).to_bytes(8, "little"))
    total.update(values.is_null().cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes())
    kept = values.drop_null()
    if pa.types.is_list(kept.type) or pa.types.is_large_list(kept.type):
        total.update(pc.list_value_length(kept).cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes())
        _add(total, kept.flatten())
    elif pa.types.is_string(kept.type) or pa.types.is_large_string(kept.type):
        total.update(pc.binary_length(kept).cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes())
        for value in kept.to_pylist():
            total.update(value.encode())
    elif not pa.types.is_null(kept.type):
        total.update(_fixed(kept).tobytes())


def _fixed(kept: pa.Array) -> Any:
    if pa.types.is_timestamp(kept.type):
        kept = kept.cast(pa.int64())
    if pa.types.is_boolean(kept.type):
        kept = kept.cast(pa.uint8())
    return kept.to_numpy(zero_copy_only=False)


COPIED_KINDS: Final = (columns.INPUTS, columns.RECORDS, columns.TRUTHS)
"""What is copied of a run: scores are made anew from the rows, to the bit, where they are asked for."""
