"""Budgets in boxes to label: how many inputs a strategy may pick until their units are used up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger.selection.strategies import Picks

__all__ = ["Spent", "cut_to_budget", "search_budget"]

Costs = Callable[[pa.Table], NDArray[np.int64]]

_TRIES: Final = 6
_CLOSE: Final = 0.97  # an answer that uses so much of the budget is good enough


@dataclass(frozen=True, slots=True)
class Spent:
    """Picks within a budget.

    Attributes:
        picks: Best first.
        units: What they cost together.
        is_limit: Whether the budget, and not the pool or the number asked for, ended them.
    """

    picks: Picks
    units: int
    is_limit: bool


def cut_to_budget(picks: Picks, costs: Costs, budget: int) -> Spent:
    """The first picks, up to the one with which the budget would be passed."""
    total = np.cumsum(costs(picks.rows))
    n_fit = int(np.searchsorted(total, budget, side="right"))
    units = int(total[n_fit - 1]) if n_fit else 0
    cut = Picks(picks.rows.slice(0, n_fit), picks.notes, picks.reason)
    return Spent(cut, units, n_fit < len(total))


def search_budget(pick: Callable[[int], Picks], costs: Costs, n: int, budget: int, *, mean_cost: float) -> Spent:
    """The picks of a strategy whose answer depends on how many are asked for: as many as fit.

    It is asked for other numbers until its answer, or the beginning of it, uses nearly all of the budget.

    Args:
        pick: Picks for a number of inputs.
        costs: ``(N,)`` units of each of N candidates, at least 1.
        n: Most inputs to pick.
        budget: Most units.
        mean_cost: Of inputs of the pool, to begin with.
    """
    low, high = 0, min(n, budget)
    wanted = int(np.clip(round(budget / mean_cost), 1, high)) if high else 0
    best: Spent | None = None
    for _ in range(_TRIES):
        picks = pick(wanted)
        tried = cut_to_budget(picks, costs, budget)
        if picks.rows.num_rows == wanted < n:
            tried = replace(tried, is_limit=True)  # the pool has more
        if best is None or tried.units > best.units:
            best = tried
        if tried.picks.rows.num_rows < picks.rows.num_rows:
            high = wanted - 1
        else:
            low = wanted
        if picks.rows.num_rows < wanted or low >= high or best.units >= _CLOSE * budget:
            break
        total = int(costs(picks.rows).sum())
        wanted = int(np.clip(round(wanted * budget / max(total, 1)), low + 1, high))
    return best if best is not None else cut_to_budget(pick(0), costs, budget)
