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
    from ml_debugger.estimation.pool import Recalibration

__all__ = ["StoredCandidates"]

_VECTOR_COLUMNS = ("recording_id", "unit", "label", "features", "logits")


@dataclass(frozen=True, slots=True)
class StoredCandidates:
    """Score rows of one run under one result, narrowed; with a recalibration they have ``error_proba_pool``."""

    rows: RunRows
    narrowing: Narrowing
    result_name: str
    model: ErrorModel
    recalibration: Recalibration | None = None

    def scores(self) -> pl.LazyFrame:
        """Score rows, stale recordings included."""
        frame = self.rows.frame(columns.SCORES, self.narrowing)
        frame = frame.filter(pl.col("result_name") == self.result_name)
        if self.recalibration is None:
            return frame
        apply = self.recalibration.apply
        # The same function as for the scores that a user reads, so that a condition means what they see.
        values = pl.col(columns.ERROR_PROBA).map_batches(
            lambda one: pl.Series(apply(one.to_numpy())), return_dtype=pl.Float64, is_elementwise=True
        )
        return frame.with_columns(values.alias(columns.ERROR_PROBA_POOL))

    def current(self, input_ids: pl.Series) -> pl.DataFrame:
        """``input_id`` and ``recording_id`` of the newest recordings of these inputs."""
        return self.rows.current(self.narrowing, input_ids)

    def newest(self) -> pl.LazyFrame:
        """``input_id`` and ``recording_id`` of the newest recordings of all inputs."""
        return self.rows.newest(self.narrowing)

    def inputs(self, *, without_units: bool) -> pl.LazyFrame:
        """``input_id, id_kind, recording_id, frame_context`` of the newest recordings, all or without units."""
        frame = self.rows.frame(columns.INPUTS, self.narrowing)
        wanted = frame.select("input_id", "id_kind", "recording_id", "frame_context")
        if not without_units:
            return wanted.join(self.newest().select("recording_id"), on="recording_id", how="semi")
        bare = frame.filter(pl.col("n_units") == 0).select(wanted.collect_schema().names()).collect(engine="streaming")
        if bare.is_empty():
            return bare.lazy()
        return bare.join(self.current(bare["input_id"].unique()), on="recording_id", how="semi").lazy()

    def n_units(self, recording_ids: pl.Series) -> pl.DataFrame:
        """``recording_id`` and ``n_units`` of these recordings."""
        frame = self.rows.frame(columns.INPUTS, self.narrowing).select("recording_id", "n_units")
        return frame.filter(pl.col("recording_id").is_in(recording_ids.implode())).collect(engine="streaming")

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
