"""Drawing at random among the candidates of a query, as a ``SamplingConfig`` says."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger.selection.configs import SamplingConfig
from ml_debugger.selection.strategies import Picks, Pool

__all__ = ["SamplingPool", "draw"]


class SamplingPool(Pool, Protocol):
    """A pool that can also draw per predicted class. It holds only candidates within the bounds of the config."""

    def sample_per_label(self, quota: int) -> pa.Table:
        """Up to ``quota`` candidates of every label, drawn uniformly; in drawn order within a label."""


def draw(pool: SamplingPool, config: SamplingConfig, n: int) -> Picks:
    """Up to n candidates at random, or in turns over the predicted classes (stratified: Neyman, JRSS 1934)."""
    if config.method == "random":
        return Picks(pool.sample(n))
    quota = min(n, config.min_per_class or n)
    rows = pool.sample_per_label(quota)
    rows = rows.take(pa.array(take_turns(rows["label"], quota)[:n]))
    rest = pool.sample(n - rows.num_rows, skip=set(rows["input_id"].to_pylist()))
    return Picks(pa.concat_tables([rows, rest]))


def take_turns(labels: pa.ChunkedArray, limit: int) -> NDArray[np.int64]:
    """Positions in order of turns: the first of every label, then the second, ``limit`` turns at most."""
    label = labels.to_numpy()
    by_label = np.argsort(label, kind="stable")
    starts = np.r_[True, np.diff(label[by_label]) != 0] if len(label) else np.empty(0, np.bool_)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(label)), 0))
    turn = np.arange(len(label)) - first
    order = by_label[np.argsort(turn, kind="stable")]
    return order[: int((turn < limit).sum())]
