"""Drawing at random among the candidates of a query, as a ``SamplingConfig`` says."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

from ml_debugger.selection.configs import SamplingConfig
from ml_debugger.selection.strategies import Picks, Pool, take_turns

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
    rows = rows.take(pa.array(take_turns(rows["label"].to_numpy())[:n]))
    rest = pool.sample(n - rows.num_rows, skip=set(rows["input_id"].to_pylist()))
    return Picks(pa.concat_tables([rows, rest]))
