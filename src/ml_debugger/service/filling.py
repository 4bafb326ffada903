"""Scores that a result lacks, computed from stored vectors without inference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from ml_debugger import columns
from ml_debugger.service.rows import Narrowing, RecordingIds, RunRows, is_in_sorted
from ml_debugger.store.failures import store_errors
from ml_debugger.store.tables import Batch, Snapshot

if TYPE_CHECKING:
    from ml_debugger.estimation.error_model import ErrorModel
    from ml_debugger.tasks.task import Task

__all__ = ["fill_scores"]

_COMMIT_ROWS = 131_072


def fill_scores(rows: RunRows, narrowing: Narrowing, result_name: str, task: Task, model: ErrorModel) -> int:
    """Score the newest recordings that have no score under a result; returns how many rows were added.

    Several processes may do this at once: each commit carries the next number of the result's fillings, and who finds
    its number taken starts over from what is stored by then. So no recording is scored twice.
    """
    source = f"fill:{result_name}"
    added = 0
    while True:
        inputs, scores = rows.snapshot(columns.INPUTS), rows.snapshot(columns.SCORES)
        missing = _missing(rows, narrowing, result_name, inputs, scores)
        if not len(missing):
            return added
        number = scores.last_number(source)
        for scored in _scored(rows, narrowing, result_name, task, model, missing):
            number += 1
            if not rows.workspace.tables.append(rows.key(columns.SCORES), scored, Batch(source, number)):
                break
            added += scored.num_rows
        else:
            return added


def _missing(rows: RunRows, narrowing: Narrowing, result_name: str, inputs: Snapshot, scores: Snapshot) -> RecordingIds:
    """Newest recordings with units but no scores, sorted."""
    with_units = rows.frame(columns.INPUTS, narrowing, inputs).filter(pl.col("n_units") > 0)
    first_units = rows.frame(columns.SCORES, narrowing, scores).filter(
        (pl.col("result_name") == result_name) & (pl.col("unit") == 0)
    )
    with store_errors("read scores", rows.workspace.location):
        if _fingerprint(with_units) == _fingerprint(first_units):
            return np.empty(0, np.int64)
        scored = np.sort(_ids(first_units))
        unscored = np.setdiff1d(_ids(with_units), scored)
    if not len(unscored):
        return unscored
    return unscored[is_in_sorted(unscored, rows.winners(narrowing))]


def _fingerprint(frame: pl.LazyFrame) -> tuple[int, ...]:
    """Number of recordings and the sum of their hashes: equal for equal sets, found without holding them."""
    hashed = pl.col("recording_id").hash(0)
    return (
        frame.select(pl.len(), hashed.sum().alias("sum"), hashed.max().alias("max")).collect(engine="streaming").row(0)
    )


def _ids(frame: pl.LazyFrame) -> RecordingIds:
    return frame.select("recording_id").collect(engine="streaming")["recording_id"].to_numpy()


def _scored(
    rows: RunRows, narrowing: Narrowing, result_name: str, task: Task, model: ErrorModel, missing: RecordingIds
) -> Iterator[pa.Table]:
    """Score rows of the given recordings in tables of one commit each."""
    from ml_debugger.tasks.scoring import score_rows

    names = tuple(rows.schema(columns.RECORDS).names)
    schema = rows.schema(columns.SCORES)
    waiting: list[pa.Table] = []
    n_waiting = 0
    for batch in rows.stream(columns.RECORDS, rows.frame(columns.RECORDS, narrowing), names, missing):
        scored = score_rows(task, model, pa.Table.from_batches([batch]), result_name)
        waiting.append(scored.select(schema.names).cast(schema))
        n_waiting += scored.num_rows
        if n_waiting >= _COMMIT_ROWS:
            yield pa.concat_tables(waiting)
            waiting, n_waiting = [], 0
    if waiting:
        yield pa.concat_tables(waiting)
