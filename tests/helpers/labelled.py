"""Rows of a three-class model that is wrong about a quarter of the time, in its own feature space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ml_debugger.service.contract import ModelSchema
from tests.helpers.rows import make_tables

WIDTH = 8
LABELLED_SCHEMA = ModelSchema("classification", "arch", WIDTH, 3)


def labelled_tables(
    n: int, dataset_type: str, *, seed: int = 0, labels: bool = True, prefix: str = "", **options: Any
) -> dict[str, pa.Table]:
    """Inputs, records and (with ``labels``) truths of n inputs."""
    rng = np.random.default_rng(seed)
    ids = [f"{prefix}{dataset_type}{number}" for number in range(n)]
    tables = make_tables(ids, dataset_type=dataset_type, width=WIDTH, labels=[0] * n if labels else None, **options)
    truth = rng.integers(0, 3, n)
    features = rng.normal(size=(n, WIDTH)).astype(np.float32)
    features[np.arange(n), truth] += 1.5
    logits = features[:, :3] * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    changes = {"features": list(features), "logits": list(logits), "label": shares.argmax(1), "score": shares.max(1)}
    for name, values in changes.items():
        tables["records"] = _replace(tables["records"], name, values)
    if labels:
        tables["truths"] = _replace(tables["truths"], "truth", truth)
    return tables


def _replace(table: pa.Table, name: str, values: Any) -> pa.Table:
    field = table.schema.field(name)
    return table.set_column(table.column_names.index(name), field, pa.array(values, type=field.type))
