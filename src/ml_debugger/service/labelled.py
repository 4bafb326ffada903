"""Which epochs and weights of a run have labels, and which an evaluation reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ml_debugger import columns
from ml_debugger.errors import EvaluationError, EvaluationWarning, warn
from ml_debugger.service.rows import KEYS, Narrowing, RecordingIds, RunRows
from ml_debugger.store.failures import store_errors
from ml_debugger.types import Epoch

__all__ = ["Selection", "latest_epoch", "select_labelled", "tell_hidden_labels"]


@dataclass(frozen=True, slots=True)
class Selection:
    """The labelled rows that an evaluation reads, and what it says about those it does not."""

    narrowing: Narrowing
    weights_hash: str | None
    notes: tuple[str, ...]


def latest_epoch(rows: RunRows) -> int | None:
    """Epoch of the labelled row recorded last: by time, not by number.

    Raises:
        EvaluationError: If the run has no labelled rows.
    """
    epoch: int | None = _labelled_groups(rows)["n_epoch"][-1]
    return epoch


def select_labelled(rows: RunRows, n_epoch: Epoch) -> Selection:
    """Resolve the epoch and take the newest weights of it; ``"all"`` takes the union of epochs and weights.

    Raises:
        EvaluationError: If there are no labelled rows in that epoch.

    Warns:
        EvaluationWarning: If rows of other weights are left out, or several epochs are mixed.
    """
    groups = _labelled_groups(rows)
    if n_epoch == "all":
        return _union(groups)
    epoch = groups["n_epoch"][-1] if n_epoch == "latest" else n_epoch
    groups = groups.filter(pl.col("n_epoch").eq_missing(pl.lit(epoch, pl.Int64)))
    if groups.is_empty():
        raise EvaluationError(
            f"n_epoch: {_run(rows)} has no labelled rows in epoch {epoch}; "
            f"labelled epochs: {sorted(_labelled_groups(rows)['n_epoch'].unique().to_list(), key=str)}"
        )
    weights = groups["weights_hash"][-1]
    narrowing = Narrowing(n_epoch=epoch, weights_hash=weights)
    left_out = _count_left_out(rows, narrowing) if weights is not None else 0
    if not left_out:
        return Selection(narrowing, weights, ())
    note = (
        f"{left_out} labelled inputs of {_run(rows)}, epoch {epoch}, were recorded with other weights than the newest "
        "and are left out; n_epoch='all' takes them in"
    )
    warn(note, EvaluationWarning)
    return Selection(narrowing, weights, (note,))


def tell_hidden_labels(rows: RunRows, narrowing: Narrowing, winners: RecordingIds) -> tuple[str, ...]:
    """Notes on inputs whose labels do not count, because a newer recording of them has none.

    Warns:
        EvaluationWarning: If there are any.
    """
    truths = rows.frame(columns.TRUTHS, narrowing).select(*KEYS, "recording_id")
    newest = pl.LazyFrame({"recording_id": winners})
    older = truths.join(newest, on="recording_id", how="anti").unique(KEYS)
    labelled = truths.join(newest, on="recording_id", how="semi")
    recorded = rows.frame(columns.INPUTS, narrowing).select("recording_id")  # a half-written append has no inputs
    hidden = older.join(labelled, on=KEYS, how="anti", nulls_equal=True).join(recorded, on="recording_id", how="semi")
    with store_errors("read truths", rows.workspace.location):
        counts = hidden.group_by("dataset_type").len().sort("dataset_type").collect(engine="streaming").rows()
    if not counts:
        return ()
    where = ", ".join(f"{count} of {dataset_type!r}" for dataset_type, count in counts)
    note = (
        f"labelled inputs of {_run(rows)} were recorded again without labels and do not count ({where}): the newest "
        "recording of an input wins; trace them with labels again, and give passes without labels another dataset_type"
    )
    warn(note, EvaluationWarning)
    return (note,)


def _union(groups: pl.DataFrame) -> Selection:
    weights = groups["weights_hash"].unique().to_list()
    if groups.height == 1:
        return Selection(Narrowing(), weights[0], ())
    epochs = groups["n_epoch"].n_unique()
    note = (
        f"n_epoch='all' mixes {epochs} epochs and {len(weights)} sets of weights: the error probabilities are of "
        "no single model"
    )
    warn(note, EvaluationWarning)
    return Selection(Narrowing(), weights[0] if len(weights) == 1 else None, (note,))


def _labelled_groups(rows: RunRows) -> pl.DataFrame:
    """Epochs and weights of the labelled recordings, the newest last."""
    everything = Narrowing()
    recorded = rows.frame(columns.INPUTS, everything).select("recording_id")
    labelled = rows.frame(columns.TRUTHS, everything).join(recorded, on="recording_id", how="semi")
    with store_errors("read truths", rows.workspace.location):
        groups = (
            labelled.group_by("n_epoch", "weights_hash")
            .agg(pl.max("recorded_at"), pl.len())
            .sort("recorded_at")
            .collect(engine="streaming")
        )
    if groups.is_empty():
        raise EvaluationError(f"{_run(rows)} has no labelled rows: trace labelled data with a tracer first")
    return groups


def _count_left_out(rows: RunRows, narrowing: Narrowing) -> int:
    """Labelled inputs whose newest recording at this epoch is of other weights."""
    winners = rows.winners(Narrowing(n_epoch=narrowing.n_epoch))
    others = rows.frame(columns.TRUTHS, Narrowing(n_epoch=narrowing.n_epoch)).filter(
        pl.col("weights_hash").ne_missing(pl.lit(narrowing.weights_hash))
    )
    with store_errors("read truths", rows.workspace.location):
        found = others.select("recording_id").unique().collect(engine="streaming")
    return int(np.isin(found["recording_id"].to_numpy(), winners, assume_unique=True).sum())


def _run(rows: RunRows) -> str:
    return f"model {rows.run.model_name!r}, version {rows.run.version_name!r}"
