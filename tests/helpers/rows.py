"""Rows as a recorder makes them, for tests of stores and services."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ml_debugger import columns
from ml_debugger.service.contract import AppendRequest, ModelSchema, RunKey, ScanRequest, Service
from ml_debugger.types import Field

RUN = RunKey("model", "v1")
SCHEMA = ModelSchema("classification", "arch", 4, 3)
_clock = itertools.count(1_700_000_000_000_000)
_recordings = itertools.count(2**61)


def make_tables(
    ids: Sequence[Any],
    *,
    n_units: int = 1,
    dataset_type: str = "train",
    n_epoch: int | None = 0,
    weights: str | None = "w1",
    pass_id: str = "p1",
    version: str = "v1",
    width: int = 4,
    labels: Sequence[int] | None = None,
    fields: Mapping[str, Sequence[Any]] | None = None,
    recorded_at: int | None = None,
    recording_ids: Sequence[int] | None = None,
) -> dict[str, pa.Table]:
    """Input, record and (with labels) truth rows; every input has ``n_units`` units."""
    n = len(ids)
    moment = next(_clock) if recorded_at is None else recorded_at
    common = {
        "input_id": [str(value) for value in ids],
        "id_kind": ["int" if isinstance(value, int) else "str" for value in ids],
        "recording_id": list(recording_ids or itertools.islice(_recordings, n)),
        "recorded_at": [moment] * n,
        "version_name": [version] * n,
        "dataset_type": [dataset_type] * n,
        "n_epoch": [n_epoch] * n,
        "weights_hash": [weights] * n,
        "pass_id": [pass_id] * n,
    }
    inputs = _table(columns.schema_of("inputs"), {**common, "n_units": [n_units] * n, "frame_context": None})
    repeated = {name: np.repeat(np.array(values, dtype=object), n_units).tolist() for name, values in common.items()}
    vectors = np.arange(n * n_units * width, dtype=np.float32).reshape(-1, width)
    records = _table(
        columns.schema_of("records"),
        {
            **repeated,
            "unit": list(range(n_units)) * n,
            "label": [index % 3 for index in range(n * n_units)],
            "score": [0.5] * (n * n_units),
            "features": list(vectors),
            "logits": [[0.0, 1.0, 2.0]] * (n * n_units),
            "box": None,
            "context": None,
        },
    )
    for name, values in (fields or {}).items():
        records = records.append_column(name, pa.array(np.repeat(np.array(values, dtype=object), n_units).tolist()))
    tables = {"inputs": inputs, "records": records}
    if labels is not None:
        truths = {**common, "truth_index": [0] * n, "truth": list(labels), "box": None, "ignored": [False] * n}
        tables["truths"] = _table(columns.schema_of("truths"), truths)
    return tables


def append(service: Service, tables: Mapping[str, pa.Table], run: RunKey = RUN, **changes: Any) -> AppendRequest:
    """Store tables and return the request."""
    schema = changes.pop("schema", SCHEMA)
    request = AppendRequest(changes.pop("batch_id", uuid.uuid4().hex), run, schema, tables, **changes)
    service.append(request)
    return request


def scan(service: Service, kind: str = "inputs", run: RunKey = RUN, **narrowing: Any) -> pa.Table:
    """All rows that a scan gives, ordered by input and unit."""
    batches = list(service.scan(ScanRequest(run, kind, **narrowing)))
    if not batches:
        return pa.Table.from_batches([], columns.schema_of(kind))
    table = pa.Table.from_batches(batches)
    keys = [(name, "ascending") for name in ("input_id", "unit") if name in table.column_names]
    return table.sort_by(keys) if keys else table


def ids_of(table: pa.Table) -> list[str]:
    """Input ids of a table."""
    return table["input_id"].to_pylist()


def with_fields(*names_and_types: tuple[str, str], **changes: Any) -> ModelSchema:
    """The schema of the test model with additional fields."""
    fields = tuple(Field(name, type_name) for name, type_name in names_and_types)
    return ModelSchema("classification", "arch", 4, 3, fields=fields, **changes)


def _table(schema: pa.Schema, values: Mapping[str, Any]) -> pa.Table:
    n = len(values["input_id"])
    arrays = [
        pa.nulls(n, field.type) if values[field.name] is None else pa.array(values[field.name], type=field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)
