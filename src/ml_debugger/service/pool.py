"""Scored rows of a pool against the held-out rows of a result: summaries, and the column ``error_proba_pool``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_debugger.columns import ERROR_PROBA, ERROR_PROBA_POOL
from ml_debugger.estimation.pool import SUMMARISED, PoolSummary, Recalibration
from ml_debugger.tasks.scoring import OUTLIER_ZONE

__all__ = ["POOL_FIELD", "SUMMARY_COLUMNS", "add_pool_column", "summarise_held_out", "summarise_pool"]

SUMMARY_COLUMNS: Final = (*SUMMARISED, "zone")
"""What a summary needs of score rows."""

POOL_FIELD: Final = pa.field(ERROR_PROBA_POOL, pa.float64(), nullable=False)


def summarise_pool(batches: Iterable[pa.RecordBatch]) -> PoolSummary:
    """Summary of streamed score rows, in memory that does not grow with them."""
    summary = PoolSummary()
    for batch in batches:
        _add(summary, batch)
    return summary


def summarise_held_out(samples: pa.Table) -> PoolSummary:
    """Summary of the labelled rows of a result, whose probabilities are out of fold; ignored rows are left out."""
    summary = PoolSummary()
    for batch in samples.filter(pc.invert(samples["ignored"])).to_batches():
        _add(summary, batch, batch["is_error"].to_numpy(zero_copy_only=False))
    return summary


def add_pool_column(
    batches: Iterable[pa.RecordBatch], names: tuple[str, ...], recalibration: Recalibration
) -> Iterator[pa.RecordBatch]:
    """Score rows that hold ``error_proba``, with ``error_proba_pool``; of all columns those named, in that order."""
    for batch in batches:
        values = recalibration.apply(batch[ERROR_PROBA].to_numpy())
        yield batch.append_column(POOL_FIELD, pa.array(values)).select(list(names))


def _add(summary: PoolSummary, batch: pa.RecordBatch, wrong: np.ndarray | None = None) -> None:
    scored = {name: batch[name].to_numpy(zero_copy_only=False) for name in SUMMARISED}
    # A model whose logits are not finite has no confidence; its error probability is 1.
    scored["score"] = np.clip(np.nan_to_num(scored["score"]), 0.0, 1.0)
    summary.add(scored, pc.equal(batch["zone"], OUTLIER_ZONE).to_numpy(zero_copy_only=False), wrong)
