"""A candidate source in memory, and pools of scored rows to fill it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ml_debugger.columns import SCORES, ZONES, schema_of
from ml_debugger.selection import FilterConfig, candidates, parse_filter
from ml_debugger.service.contract import QueryRequest, RunKey
from ml_debugger.types import Field

FIELDS = (Field("age", "int"), Field("weight", "float"), Field("site", "str"), Field("night", "bool"))
START = datetime(2026, 1, 1, tzinfo=UTC)

# As much of a task as a query needs.
TASK: Any = SimpleNamespace(
    name="classification", config=FilterConfig, parse_config=parse_filter, candidates=candidates
)


def scored_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Score rows in the stored schema; what a row leaves out is filled in. Later rows are newer recordings."""
    defaults = {
        "id_kind": "str",
        "version_name": "v1",
        "dataset_type": "pool",
        "n_epoch": 0,
        "weights_hash": None,
        "pass_id": "p",
        "unit": 0,
        "label": 0,
        "score": 0.5,
        "result_name": "r",
        "error_proba": 0.5,
        "support": 0.5,
        "zone": "hotspot",
        "age": 1,
        "weight": 1.0,
        "site": "a",
        "night": False,
    }
    full = [
        {**defaults, "recording_id": at, "recorded_at": START + timedelta(seconds=at), **row}
        for at, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(full, schema_of(SCORES, FIELDS))


def random_pool(n: int, seed: int = 0, *, n_classes: int = 5, re_recorded: float = 0.2) -> pa.Table:
    """n inputs of which a share is recorded a second time with other values."""
    rng = np.random.default_rng(seed)
    ids = [f"img_{at}" for at in range(n)]
    ids += list(rng.choice(ids, int(re_recorded * n), replace=False)) if n else []
    rows = [
        {
            "input_id": str(input_id),
            "error_proba": float(rng.random()),
            "score": float(rng.random()),
            "label": int(rng.integers(n_classes)),
            "zone": str(rng.choice(list(ZONES))),
        }
        for input_id in ids
    ]
    return scored_table(rows)


@dataclass
class MemorySource:
    """Implements CandidateSource over one table; counts how many inputs were looked up."""

    table: pa.Table
    features: np.ndarray | None = None  # (N, D), one row per row of the table
    logits: np.ndarray | None = None
    bank: Any = None
    looked_up: list[int] = field(default_factory=list)

    def scores(self) -> pl.LazyFrame:
        return pl.from_arrow(self.table).lazy()

    def newest(self) -> pl.LazyFrame:
        ordered = self.scores().sort("recorded_at", "recording_id")
        return ordered.group_by("input_id").agg(pl.col("recording_id").last())

    def current(self, input_ids: pl.Series) -> pl.DataFrame:
        self.looked_up.append(len(input_ids))
        return self.newest().filter(pl.col("input_id").is_in(input_ids.to_list())).collect()

    def inputs(self, *, without_units: bool) -> pl.LazyFrame:
        """Every input has a unit here."""
        rows = pl.DataFrame(self.table).lazy().select("input_id", "id_kind", "recording_id")
        rows = rows.with_columns(pl.lit(None, pl.List(pl.Float32)).alias("frame_context"))
        return rows.filter(not without_units).join(self.newest().select("recording_id"), on="recording_id", how="semi")

    def n_units(self, recording_ids: pl.Series) -> pl.DataFrame:
        """As many as the field ``age`` says."""
        rows = pl.DataFrame(self.table).select("recording_id", pl.col("age").alias("n_units"))
        return rows.filter(pl.col("recording_id").is_in(recording_ids.to_list()))

    def vectors(self, recording_ids: pl.Series) -> pa.Table:
        stored = self.table["recording_id"].to_pylist()
        at = [stored.index(one) for one in sorted(recording_ids.to_list())]
        width = pa.list_(pa.float32())

        def lists(values: np.ndarray | None) -> pa.Array:
            return pa.array([None] * len(at) if values is None else [values[row].tolist() for row in at], width)

        rows = self.table.select(["recording_id", "unit", "label"]).take(pa.array(at, pa.int64()))
        return rows.append_column("features", lists(self.features)).append_column("logits", lists(self.logits))

    def reference(self) -> Any:
        return SimpleNamespace(bank=lambda: self.bank)


def request(n_data: Any, strategy: Any, **kwargs: Any) -> QueryRequest:
    return QueryRequest(RunKey("m", "v1"), "r", n_data, strategy, **kwargs)
