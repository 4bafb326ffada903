"""Reading rows of one run: narrowed first, then the newest recording of each input wins whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.service.contract import RunKey
from ml_debugger.service.registry import fields_of
from ml_debugger.store.failures import store_errors
from ml_debugger.store.metadata import ModelRow
from ml_debugger.store.tables import RowFilter, Snapshot, TableKey, stream
from ml_debugger.store.workspace import Workspace
from ml_debugger.types import Epoch

__all__ = ["KEYS", "Narrowing", "RecordingIds", "RunRows", "is_in_sorted"]

RecordingIds = NDArray[np.int64]

# One input of one run: of its recordings the newest wins. The version is fixed by the run.
KEYS = ("input_id", "dataset_type", "n_epoch")
# Ties in time (one batch may hold an input twice) break by recording_id.
_AGE = ("recorded_at", "recording_id")
# Rows of inputs that may have been recorded several times are compared in groups of about this many.
_GROUP_ROWS = 1_000_000
# Up to here a filter by ids is pushed down to the files.
_PUSHED_IDS = 100_000


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Which rows of a run count, before the newest wins. None means any; ``n_epoch="all"`` means every epoch.

    With ``every_recording``, older recordings count beside the newest.
    """

    dataset_types: tuple[str, ...] | None = None
    n_epoch: Epoch = "all"
    weights_hash: str | None = None
    pass_id: str | None = None
    every_recording: bool = False

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Rows that count, but for dataset_types, which are partitions."""
        if self.n_epoch != "all":
            frame = frame.filter(pl.col("n_epoch").eq_missing(pl.lit(self.n_epoch, pl.Int64)))
        if self.weights_hash is not None:
            frame = frame.filter(pl.col("weights_hash") == self.weights_hash)
        if self.pass_id is not None:
            frame = frame.filter(pl.col("pass_id") == self.pass_id)
        return frame


@dataclass(frozen=True, slots=True)
class RunRows:
    """The rows of one run in a workspace.

    Inputs are written last and read first: every recording that is seen there is complete in the other tables.
    """

    workspace: Workspace
    model: ModelRow
    run: RunKey

    def schema(self, kind: str) -> pa.Schema:
        """Arrow schema of one kind of rows, with the model's additional columns."""
        return columns.schema_of(kind, fields_of(kind, self.model), self.model.task)

    def key(self, kind: str) -> TableKey:
        """The table of one kind of rows."""
        return TableKey(kind, self.model.task, self.run.model_name)

    def snapshot(self, kind: str) -> Snapshot:
        """A table as it is now."""
        return self.workspace.tables.snapshot(self.key(kind), self.schema(kind))

    def frame(self, kind: str, narrowing: Narrowing, snapshot: Snapshot | None = None) -> pl.LazyFrame:
        """Rows that count, stale recordings included."""
        where = RowFilter(self.run.version_name, narrowing.dataset_types)
        return narrowing.apply((snapshot or self.snapshot(kind)).rows(where))

    def winners(self, narrowing: Narrowing) -> RecordingIds:
        """Sorted ids of the newest recording of every input, or of every recording that counts."""
        if narrowing.every_recording:
            with store_errors("read inputs", self.workspace.location):
                found = self.frame(columns.INPUTS, narrowing).select("recording_id").collect(engine="streaming")
            return found["recording_id"].sort().to_numpy()
        everything, stale = self._recordings(self.frame(columns.INPUTS, narrowing))
        return np.sort(np.setdiff1d(everything, stale, assume_unique=True) if len(stale) else everything)

    def newest(self, narrowing: Narrowing) -> pl.LazyFrame:
        """``input_id`` and ``recording_id`` of the newest recording of every input, lazily."""
        frame = self.frame(columns.INPUTS, narrowing)
        _, stale = self._recordings(frame)
        if len(stale):
            frame = frame.join(pl.LazyFrame({"recording_id": stale}), on="recording_id", how="anti")
        return frame.select("input_id", "recording_id")

    def current(self, narrowing: Narrowing, input_ids: pl.Series) -> pl.DataFrame:
        """``input_id`` and ``recording_id`` of the newest recordings of a few inputs."""
        frame = self.frame(columns.INPUTS, narrowing).filter(pl.col("input_id").is_in(input_ids.implode()))
        with store_errors("read inputs", self.workspace.location):
            found = frame.select(*KEYS, *_AGE).collect(engine="streaming")
        return _newest_of(found).select("input_id", "recording_id")

    def scan(
        self,
        kind: str,
        narrowing: Narrowing,
        names: tuple[str, ...],
        only: RecordingIds | None = None,
        *,
        result_name: str | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Columns of the rows of the newest recordings, streamed.

        ``only`` narrows to some recordings, ``result_name`` to the scores of one result.
        """
        winners = self.winners(narrowing)
        if only is not None:
            winners = np.intersect1d(winners, only)
        frame = self.frame(kind, narrowing)
        if result_name is not None:
            frame = frame.filter(pl.col("result_name") == result_name)
        yield from self.stream(kind, frame, names, winners)

    def without_stored(self, kind: str, table: pa.Table) -> pa.Table:
        """Rows of recordings of which the stored table of a kind has none; it has all of one or none."""
        wanted = pl.Series(pc.unique(table["recording_id"]))
        frame = self.frame(kind, Narrowing()).filter(pl.col("recording_id").is_in(wanted.implode()))
        with store_errors(f"read {kind}", self.workspace.location):
            found = frame.select("recording_id").unique().collect(engine="streaming")
        return table.filter(pc.invert(pc.is_in(table["recording_id"], value_set=pa.array(found["recording_id"]))))

    def stream(
        self, kind: str, frame: pl.LazyFrame, names: tuple[str, ...], recordings: RecordingIds
    ) -> Iterator[pa.RecordBatch]:
        """Columns of the rows of the given recordings (sorted ids), streamed in bounded memory."""
        if not len(recordings):
            return
        if len(recordings) <= _PUSHED_IDS:
            frame = frame.filter(pl.col("recording_id").is_in(pl.Series(recordings).implode()))
        schema = self.schema(kind)
        wanted = pa.schema([schema.field(name) for name in dict.fromkeys((*names, "recording_id"))])
        with store_errors(f"read {kind}", self.workspace.location):
            for batch in stream(frame, wanted):
                chosen = batch.filter(pa.array(is_in_sorted(batch["recording_id"].to_numpy(), recordings)))
                if chosen.num_rows:
                    yield chosen.select(list(names))

    def _recordings(self, frame: pl.LazyFrame) -> tuple[RecordingIds, RecordingIds]:
        """All recordings, and those that a newer one of the same input replaces.

        Nearly every input is recorded once: equal hashes of the keys tell which few could not be, and only those are
        compared by their keys. 24 bytes a row instead of a group-by over strings.
        """
        with store_errors("read inputs", self.workspace.location):
            hashed = frame.select(pl.struct(KEYS).hash(0).alias("key"), "recording_id").collect(engine="streaming")
            repeated = _repeated(hashed["key"].to_numpy())
            stale = (
                [
                    _stale_of(
                        frame.filter(pl.struct(KEYS).hash(0).is_in(pl.Series(part).implode()))
                        .select(*KEYS, *_AGE)
                        .collect(engine="streaming")
                    )
                    for part in np.array_split(repeated, -(-len(repeated) // _GROUP_ROWS))
                ]
                if len(repeated)
                else []
            )
        return hashed["recording_id"].to_numpy(), np.concatenate([np.empty(0, np.int64), *stale])


def is_in_sorted(values: RecordingIds, ordered: RecordingIds) -> NDArray[np.bool_]:
    """Which values occur in a sorted, non-empty array."""
    at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[at] == values)


def _repeated(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    ordered = np.sort(hashes)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _newest_of(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort(_AGE).unique(KEYS, keep="last")


def _stale_of(rows: pl.DataFrame) -> RecordingIds:
    return (
        rows["recording_id"].filter(~rows["recording_id"].is_in(_newest_of(rows)["recording_id"].implode())).to_numpy()
    )
