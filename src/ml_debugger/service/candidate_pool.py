"""The candidates of one query, read lazily from scored rows: the best first, and only those verified to be current."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_debugger.errors import StoreError
from ml_debugger.selection.candidates import CARRIED
from ml_debugger.selection.diversity import reduce_width, unit_rows
from ml_debugger.selection.strategies import FloatArray, Vectors
from ml_debugger.service.candidate_order import Order, Ranked, Shuffled, first_per_group
from ml_debugger.tasks.rows import list_column

if TYPE_CHECKING:
    from ml_debugger.estimation.error_model import ErrorModel

__all__ = ["CandidatePool", "CandidateSource"]

# Read this much more than asked for at first, since some rows may turn out stale.
_SPARE_SHARE: Final = 4
_SPARE_ROWS: Final = 64
_DEEPER: Final = 4
# From here on finding all current recordings at once is cheaper than looking each up.
_LOOK_UP_ROWS: Final = 250_000
# More rows than this are "all": the engine counts them in 32 bits.
_MOST_ROWS: Final = 2**30


class CandidateSource(Protocol):
    """The scored rows of one request, narrowed to its run, result, dataset_type, epoch and weights or pass."""

    def scores(self) -> pl.LazyFrame:
        """Score rows, stale recordings included."""

    def current(self, input_ids: pl.Series) -> pl.DataFrame:
        """``input_id`` and ``recording_id`` of the newest recordings of these inputs."""

    def newest(self) -> pl.LazyFrame:
        """The same for all inputs."""

    def inputs(self, *, without_units: bool) -> pl.LazyFrame:
        """``input_id, id_kind, recording_id, frame_context`` of the newest recordings, all or without units."""

    def n_units(self, recording_ids: pl.Series) -> pl.DataFrame:
        """``recording_id`` and ``n_units`` of these recordings, in any order."""

    def vectors(self, recording_ids: pl.Series) -> pa.Table:
        """``recording_id, unit, label, features, logits`` of the records of these recordings, in any order."""

    def reference(self) -> ErrorModel:
        """The error model of the result."""


class CandidatePool:
    """Candidates of one query (implements ``selection.strategies.Pool``).

    Args:
        frame: Candidates, lazily: ``input_id, id_kind, recording_id, label, zone, rank_value``; stale recordings
            included.
        source: Tells which recordings are current, and gives their vectors.
        exclude: Ids never to return.
        seed: Of the random order.
    """

    def __init__(self, frame: pl.LazyFrame, source: CandidateSource, exclude: Collection[str], seed: int) -> None:
        self._frame = frame
        self._source = source
        self._exclude = frozenset(exclude)
        self._seed = seed

    @property
    def seed(self) -> int:
        """The query's seed."""
        return self._seed

    def best(self, n: int, *, descending: bool = True) -> pa.Table:
        """Up to n candidates with the greatest (or smallest) rank value, best first, ties by ``input_id``."""
        return self._first(Ranked(descending), n, self._exclude)

    def best_per_zone(self, n: int, *, skip: Collection[str] = ()) -> pa.Table:
        """Up to n candidates of every zone with the greatest rank value; best first within a zone."""
        return self._first_per_group(Ranked(descending=True), "zone", n, self._exclude.union(skip))

    def sample(self, n: int, *, skip: Collection[str] = ()) -> pa.Table:
        """Up to n candidates drawn uniformly by the seed."""
        return self._first(Shuffled(self._seed), n, self._exclude.union(skip))

    def sample_per_label(self, quota: int) -> pa.Table:
        """Up to ``quota`` candidates of every label, drawn uniformly by the seed; in drawn order within a label."""
        return self._first_per_group(Shuffled(self._seed), "label", quota, self._exclude)

    def vectors(self, rows: pa.Table) -> Vectors:
        """Features and logits of candidates, in their order; None where any of them has none.

        Those of an input with several units are the means of its units.
        """
        found = self._source.vectors(pl.Series("recording_id", rows["recording_id"].to_numpy()))
        if found.num_rows > len(found["recording_id"].unique()):
            found = _means(found)
        order = pc.index_in(rows["recording_id"], value_set=found["recording_id"].combine_chunks())
        if order.null_count:
            raise StoreError(
                f"{order.null_count} of {rows.num_rows} scored inputs have no record rows: the workspace is "
                "incomplete; run the data filter over the pool again"
            )
        return Vectors(_matrix(found["features"].take(order)), _matrix(found["logits"].take(order)))

    def costs(self, rows: pa.Table) -> NDArray[np.int64]:
        """``(N,)`` units to label of candidates, in their order: those predicted, and at least one to look at."""
        recordings = pl.DataFrame({"recording_id": rows["recording_id"].to_numpy()})
        found = self._source.n_units(recordings["recording_id"])
        joined = recordings.join(found, on="recording_id", how="left", maintain_order="left")
        return joined["n_units"].fill_null(1).clip(1).to_numpy()

    def beside_labelled(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``(N, D)`` features as ``(N, K)`` unit rows, and ``(R, K)`` of what the network learned from.

        Held-out rows that the error model keeps have labels too, but nobody trains on them: what lies near one is not
        yet covered. They count only where the error model keeps no others.
        """
        bank = self._source.reference().bank()
        if bank is None or bank.width != features.shape[1]:
            x = unit_rows(reduce_width(features))
            return x, np.empty((0, x.shape[1]), x.dtype)
        # Whitening blows up directions in which the labelled classes do not vary: distances are taken without it.
        x = ((features - bank.mean) * bank.scale) @ (bank.projection @ bank.unwhiten)
        rows = bank.rows if bank.is_held.all() else bank.rows[~bank.is_held]
        return unit_rows(x), unit_rows(rows @ bank.unwhiten)

    def _first(self, order: Order, n: int, left_out: frozenset[str]) -> pa.Table:
        """Up to n current candidates that are not left out, each input once."""
        n = min(n, _MOST_ROWS)
        depth = _depth(n) + len(left_out)
        while True:
            look_up = depth < _LOOK_UP_ROWS
            rows = order.first(self._frame if look_up else self._current_only(self._frame), depth)
            kept = self._kept(rows, left_out, look_up=look_up)
            if kept.height >= n or rows.height < depth:
                return _table(kept.head(n))
            depth *= _DEEPER

    def _first_per_group(self, order: Order, group: str, n: int, left_out: frozenset[str]) -> pa.Table:
        """The same for every group: one that was not read to its end must have n."""
        n = min(n, _MOST_ROWS)
        depth = _depth(n) + len(left_out)
        while True:
            rows = first_per_group(self._frame, order, group, depth)
            kept = self._kept(rows, left_out).group_by(group, maintain_order=True).head(n)
            cut_off = rows.group_by(group).len("n_rows").filter(pl.col("n_rows") >= depth)
            full = kept.group_by(group).len("n_rows").filter(pl.col("n_rows") >= n)
            if cut_off.join(full, on=group, how="anti").is_empty():
                return _table(kept)
            depth *= _DEEPER

    def _current_only(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.join(self._source.newest(), on="recording_id", how="semi")

    def _kept(self, rows: pl.DataFrame, left_out: frozenset[str], *, look_up: bool = True) -> pl.DataFrame:
        if left_out:
            barred = pl.DataFrame({"input_id": sorted(left_out)})
            rows = rows.join(barred, on="input_id", how="anti", maintain_order="left")
        if look_up:
            current = self._source.current(rows["input_id"].unique())
            rows = rows.join(current, on="recording_id", how="semi", maintain_order="left")
        return rows.unique("input_id", keep="first", maintain_order=True)


def _depth(n: int) -> int:
    """How many rows to read for n current ones, at first."""
    return n + n // _SPARE_SHARE + _SPARE_ROWS


def _table(rows: pl.DataFrame) -> pa.Table:
    return rows.select(*CARRIED, "rank_value").to_arrow()


def _means(found: pa.Table) -> pa.Table:
    """One row per recording."""
    recording = found["recording_id"].to_numpy()
    order = np.lexsort((found["unit"].to_numpy(), recording))
    found, recording = found.take(pa.array(order)), recording[order]
    starts = np.flatnonzero(np.diff(recording, prepend=recording[:1] - 1))
    counts = np.diff(starts, append=len(recording))
    data: dict[str, Any] = {"recording_id": pa.array(recording[starts])}
    for name in ("features", "logits"):
        matrix = _matrix(found[name])
        means = None if matrix is None else np.add.reduceat(matrix, starts, axis=0) / counts[:, None].astype(np.float32)
        data[name] = list_column(means, len(starts))
    return pa.table(data)


def _matrix(column: pa.ChunkedArray) -> FloatArray | None:
    """Float lists of N rows as ``(N, width)`` float32; None when there is none, or one row has none."""
    if not len(column):
        return np.empty((0, 0), np.float32)
    if column.null_count:
        return None
    values = column.combine_chunks()
    matrix: FloatArray = values.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return matrix.reshape(len(values), -1)
