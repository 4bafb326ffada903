"""The scored rows of one query, read from the workspace (implements ``candidate_pool.CandidateSource``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from ml_debugger import columns
from ml_debugger.service.rows import Narrowing, RunRows

if TYPE_CHECKING:
    from ml_debugger.estimation.error_model import ErrorModel

__all__ = ["StoredCandidates"]

_VECTOR_COLUMNS = ("recording_id", "unit", "label", "features", "logits")


@dataclass(frozen=True, slots=True)
class StoredCandidates:
    """Score rows of one run under one result, narrowed."""

    rows: RunRows
    narrowing: Narrowing
    result_name: str
    model: ErrorModel

    def scores(self) -> pl.LazyFrame:
        """Score rows, stale recordings included."""
        frame = self.rows.frame(columns.SCORES, self.narrowing)
        return frame.filter(pl.col("result_name") == self.result_name)

    def current(self, input_ids: pl.Series) -> pl.DataFrame:
        """``input_id`` and ``recording_id`` of the newest recordings of these inputs."""
        return self.rows.current(self.narrowing, input_ids)

    def newest(self) -> pl.LazyFrame:
        """``input_id`` and ``recording_id`` of the newest recordings of all inputs."""
        return self.rows.newest(self.narrowing)

    def vectors(self, recording_ids: pl.Series) -> pa.Table:
        """``recording_id, unit, label, features, logits`` of the records of these recordings."""
        frame = self.rows.frame(columns.RECORDS, self.narrowing)
        wanted = np.sort(recording_ids.to_numpy())
        batches = list(self.rows.stream(columns.RECORDS, frame, _VECTOR_COLUMNS, wanted))
        schema = self.rows.schema(columns.RECORDS)
        return pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in _VECTOR_COLUMNS]))

    def reference(self) -> ErrorModel:
        """The error model of the result."""
        return self.model
