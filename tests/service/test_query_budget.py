"""Budgets in boxes: how many inputs are picked until what is to be labelled is used up."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.errors import InputError
from ml_debugger.selection import STRATEGIES
from ml_debugger.selection.strategies import Picks
from ml_debugger.service.contract import QueryAnswer
from ml_debugger.service.query import run_query
from ml_debugger.service.query_budget import cut_to_budget, search_budget
from tests.helpers.candidate_source import TASK, MemorySource, random_pool, request


def source_of(costs: list[int]) -> MemorySource:
    """A pool in which an input costs what its field ``age`` says."""
    table = random_pool(len(costs), seed=3, re_recorded=0)
    at = table.schema.get_field_index("age")
    rng = np.random.default_rng(0)
    return MemorySource(
        table.set_column(at, "age", pa.array(costs, pa.int64())),
        rng.normal(size=(len(costs), 16)),
        rng.normal(size=(len(costs), 5)),
    )


COSTS = np.random.default_rng(1).integers(0, 12, 300).tolist()


def ask(strategy: Any, n: int, **more: Any) -> QueryAnswer:
    return run_query(request(n, strategy, **more), TASK, source_of(COSTS))


def cost_of(answer: QueryAnswer) -> list[int]:
    return [max(COSTS[int(one.removeprefix("img_"))], 1) for one in answer.input_ids]


@pytest.mark.parametrize("strategy", list(STRATEGIES))
@pytest.mark.parametrize("budget", [40, 200])
def test_every_strategy_stays_within_and_uses_the_budget(strategy: str, budget: int) -> None:
    answer = ask(strategy, 300, box_budget=budget)
    spent = sum(cost_of(answer))
    assert budget - 12 <= spent <= budget
    assert answer.shortfall is None
    assert answer.notes[-1] == f"the {len(answer.input_ids)} inputs use {spent} of the budget of {budget} boxes"
    assert ask(strategy, 300, box_budget=budget) == answer
    assert len(set(answer.input_ids)) == len(answer.input_ids)


@pytest.mark.parametrize(
    "strategy", ["high_error_proba", "low_error_proba", "random", {"conditions": [{"score": ">=0"}]}]
)
def test_sorts_are_cut_where_the_budget_ends(strategy: Any) -> None:
    every = ask(strategy, 300)
    answer = ask(strategy, 300, box_budget=100)
    n = len(answer.input_ids)
    assert answer.input_ids == every.input_ids[:n]
    assert sum(cost_of(every)[:n]) <= 100 < sum(cost_of(every)[: n + 1])


def test_the_number_of_inputs_may_be_the_limit() -> None:
    answer = ask("high_error_proba", 5, box_budget=1000)
    assert answer.input_ids == ask("high_error_proba", 5).input_ids
    assert answer.shortfall is None
    assert len(ask("diverse_error", 5, box_budget=1000).input_ids) == 5


def test_a_pool_that_ends_before_the_budget_is_told() -> None:
    answer = ask("high_error_proba", 1000, box_budget=10_000)
    assert len(answer.input_ids) == 300
    assert "300 of 1000 inputs" in answer.shortfall
    assert "300 of 1000" in ask("diverse_error", 1000, box_budget=10_000).shortfall


def test_an_input_without_boxes_costs_one_and_nothing_fits_into_nothing() -> None:
    answer = run_query(request(10, "high_error_proba", box_budget=4), TASK, source_of([0] * 20))
    assert len(answer.input_ids) == 4
    assert ask("high_error_proba", 10, box_budget=0).input_ids == ()
    large = run_query(request(10, "diverse_error", box_budget=4), TASK, source_of([9] * 20))
    assert large.input_ids == ()
    assert large.notes[-1] == "the 0 inputs use 0 of the budget of 4 boxes"


@pytest.mark.parametrize("budget", [-1, 2.5, True, "many"])
def test_a_budget_is_a_whole_number(budget: Any) -> None:
    with pytest.raises(InputError, match="box_budget: expected an int of at least 0"):
        ask("high_error_proba", 10, box_budget=budget)


def picks_of(costs: list[int]) -> Picks:
    return Picks(pa.table({"cost": pa.array(costs, pa.int64())}))


def costs_of(rows: pa.Table) -> np.ndarray:
    return rows["cost"].to_numpy()


@settings(deadline=None, max_examples=200)
@given(costs=st.lists(st.integers(1, 9), max_size=20), budget=st.integers(0, 60))
def test_the_cut_is_the_longest_beginning_that_fits(costs: list[int], budget: int) -> None:
    spent = cut_to_budget(picks_of(costs), costs_of, budget)
    fitting = [total for total in accumulate(costs) if total <= budget]
    assert spent.picks.rows.num_rows == len(fitting)
    assert spent.units == (fitting[-1] if fitting else 0)
    assert spent.is_limit == (len(fitting) < len(costs))


@settings(deadline=None, max_examples=200)
@given(
    costs=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    budget=st.integers(1, 80),
    n=st.integers(1, 50),
    mean=st.floats(1, 9),
)
def test_the_search_never_passes_the_budget(costs: list[int], budget: int, n: int, mean: float) -> None:
    """A strategy whose picks for n inputs have nothing to do with those for another number."""

    def pick(wanted: int) -> Picks:
        return picks_of(np.random.default_rng(wanted).permutation(costs)[:wanted].tolist())

    spent = search_budget(pick, costs_of, min(n, budget), budget, mean_cost=mean)
    assert spent.units == int(costs_of(spent.picks.rows).sum()) <= budget
    assert spent.picks.rows.num_rows <= n
