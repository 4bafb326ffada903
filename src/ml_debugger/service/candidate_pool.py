"""The candidates of one query, read lazily from scored rows: the best first, and only those verified to be current."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ml_debugger.errors import StoreError
from ml_debugger.selection.candidates import CARRIED
from ml_debugger.selection.diversity import reduce_width, unit_rows
from ml_debugger.selection.random_order import random_keys
from ml_debugger.selection.strategies import FloatArray, Vectors

if TYPE_CHECKING:
    from ml_debugger.estimation.error_model import ErrorModel

__all__ = ["CandidatePool", "CandidateSource"]

# Read this much more than asked for at first, since some rows may turn out stale.
_SPARE_SHARE: Final = 4
_SPARE_ROWS: Final = 64
_DEEPER: Final = 4
# From here on finding all current recordings at once is cheaper than looking each up.
_LOOK_UP_ROWS: Final = 250_000

_KEY = "order_key"


class CandidateSource(Protocol):
    """The scored rows of one request, narrowed to its run, result, dataset_type, epoch and weights or pass."""

    def scores(self) -> pl.LazyFrame:
        """Score rows, stale recordings included."""

    def current(self, input_ids: pl.Series) -> pl.DataFrame:
        """``input_id`` and ``recording_id`` of the newest recordings of these inputs."""

    def newest(self) -> pl.LazyFrame:
        """The same for all inputs."""

    def vectors(self, recording_ids: pl.Series) -> pa.Table:
        """``recording_id, unit, label, features, logits`` of the records of these recordings, in any order."""

    def reference(self) -> ErrorModel:
        """The error model of the result."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A total order of candidates: by a key, then by ``input_id``."""

    key: pl.Expr
    descending: bool

    def first(self, frame: pl.LazyFrame, depth: int) -> pl.DataFrame:
        """The first ``depth`` rows, in order.

        Two passes: the first reads the key alone and finds where to cut, the second reads ids only above the cut,
        where files and row groups can be skipped.
        """
        keyed = frame.with_columns(self.key.alias(_KEY))
        keys = keyed.select(_KEY)
        best = keys.top_k(depth, by=_KEY) if self.descending else keys.bottom_k(depth, by=_KEY)
        found = best.collect(engine="streaming")[_KEY]
        if len(found) == depth:
            beyond = pl.col(_KEY) >= found.min() if self.descending else pl.col(_KEY) <= found.max()
            keyed = keyed.filter(beyond).top_k(depth, by=[_KEY, "input_id"], reverse=[not self.descending, True])
        rows = keyed.collect(engine="streaming")
        return rows.sort(_KEY, "input_id", descending=[self.descending, False])


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

    def best(self, n: int, *, descending: bool = True, zone: str | None = None, skip: Collection[str] = ()) -> pa.Table:
        """Up to n candidates with the greatest (or smallest) rank value, best first, ties by ``input_id``."""
        frame = self._frame if zone is None else self._frame.filter(pl.col("zone") == zone)
        return self._first(frame, _Order(pl.col("rank_value"), descending), n, skip)

    def sample(self, n: int, *, skip: Collection[str] = ()) -> pa.Table:
        """Up to n candidates drawn uniformly by the seed."""
        return self._first(self._frame, _Order(self._random_key(), descending=False), n, skip)

    def sample_per_label(self, quota: int) -> pa.Table:
        """Up to ``quota`` candidates of every label, drawn uniformly by the seed."""
        frame = self._frame.with_columns(self._random_key().alias(_KEY))
        depth = self._depth(quota, 0)
        while True:
            smallest = pl.col(_KEY).bottom_k(depth).max()
            cuts = (
                frame.group_by("label").agg(smallest.alias("cut"), pl.len().alias("n_rows")).collect(engine="streaming")
            )
            rows = frame.join(cuts.lazy(), on="label").filter(pl.col(_KEY) <= pl.col("cut")).collect(engine="streaming")
            kept = self._kept(rows.sort("label", _KEY, "input_id"), frozenset())
            counts = cuts.join(kept.group_by("label").len("kept"), on="label", how="left")
            short = counts.filter((pl.col("kept").fill_null(0) < quota) & (pl.col("n_rows") > depth))
            if short.is_empty():
                return _table(kept.group_by("label", maintain_order=True).head(quota))
            depth *= _DEEPER

    def vectors(self, rows: pa.Table) -> Vectors:
        """Features and logits of candidates, in their order; None where any of them has none."""
        found = self._source.vectors(pl.Series("recording_id", rows["recording_id"].to_numpy()))
        order = pc.index_in(rows["recording_id"], value_set=found["recording_id"].combine_chunks())
        if order.null_count:
            raise StoreError(
                f"{order.null_count} of {rows.num_rows} scored inputs have no record rows: the workspace is "
                "incomplete; run the data filter over the pool again"
            )
        return Vectors(_matrix(found["features"].take(order)), _matrix(found["logits"].take(order)))

    def beside_labelled(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``(N, D)`` features as ``(N, K)`` unit rows, and the labelled rows ``(R, K)`` that the error model keeps."""
        bank = self._source.reference().bank
        if bank is None or bank.width != features.shape[1]:
            x = unit_rows(reduce_width(features))
            return x, np.empty((0, x.shape[1]), x.dtype)
        # Whitening blows up directions in which the labelled classes do not vary; distances to new data are taken without it.
        x = ((features - bank.mean) * bank.scale) @ (bank.projection @ bank.unwhiten)
        return unit_rows(x), unit_rows(bank.rows @ bank.unwhiten)

    def _random_key(self) -> pl.Expr:
        seed = self._seed

        def keys(ids: pl.Series) -> pl.Series:
            return pl.Series(random_keys(ids.to_arrow(), seed))

        return pl.col("input_id").map_batches(keys, return_dtype=pl.UInt64, is_elementwise=True)

    def _first(self, frame: pl.LazyFrame, order: _Order, n: int, skip: Collection[str]) -> pa.Table:
        """Up to n current candidates that are neither excluded nor skipped, each input once."""
        left_out = self._exclude.union(skip)
        depth = self._depth(n, len(left_out))
        while True:
            look_up = depth < _LOOK_UP_ROWS
            rows = order.first(frame if look_up else self._current_only(frame), depth)
            kept = self._kept(rows, left_out, look_up=look_up)
            if kept.height >= n or rows.height < depth:
                return _table(kept.head(n))
            depth *= _DEEPER

    def _current_only(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.join(self._source.newest(), on="recording_id", how="semi")

    def _depth(self, n: int, left_out: int) -> int:
        return n + left_out + n // _SPARE_SHARE + _SPARE_ROWS

    def _kept(self, rows: pl.DataFrame, left_out: frozenset[str], *, look_up: bool = True) -> pl.DataFrame:
        if left_out:
            barred = pl.DataFrame({"input_id": sorted(left_out)})
            rows = rows.join(barred, on="input_id", how="anti", maintain_order="left")
        if look_up:
            current = self._source.current(rows["input_id"].unique())
            rows = rows.join(current, on="recording_id", how="semi", maintain_order="left")
        return rows.unique("input_id", keep="first", maintain_order=True)


def _table(rows: pl.DataFrame) -> pa.Table:
    return rows.select(*CARRIED, "rank_value").to_arrow()


def _matrix(column: pa.ChunkedArray) -> FloatArray | None:
    """Float lists of N rows as ``(N, width)`` float32; None when there is none, or one row has none."""
    if not len(column):
        return np.empty((0, 0), np.float32)
    if column.null_count:
        return None
    values = column.combine_chunks()
    return values.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(len(values), -1)
