"""Queries: which inputs a strategy, a filter or a sampling selects from the scored rows of a run."""

from __future__ import annotations

import logging
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import polars as pl
import pyarrow as pa

from ml_debugger.errors import ConfigError, InputError
from ml_debugger.estimation.frames import missed_probability
from ml_debugger.selection.candidates import numeric_fields
from ml_debugger.selection.configs import SamplingConfig
from ml_debugger.selection.sampling import draw
from ml_debugger.selection.strategies import STRATEGIES, Picks, Strategy, find_strategy
from ml_debugger.service.candidate_pool import CandidatePool, CandidateSource
from ml_debugger.service.contract import QueryAnswer, QueryRequest
from ml_debugger.service.query_budget import Spent, cut_to_budget, search_budget
from ml_debugger.tasks.units import read_matrix

if TYPE_CHECKING:
    from ml_debugger.tasks.task import Task

__all__ = ["CandidateSource", "run_query"]

logger = logging.getLogger(__name__)

# class_balanced draws the same whatever the seed.
_CLASS_BALANCED_SEED = 0
_NO_INPUTS = pl.DataFrame(schema={"input_id": pl.String, "id_kind": pl.String})
# Inputs looked at to guess how many fit into a budget.
_MEAN_COST_ROWS = 256


@dataclass(frozen=True, slots=True)
class _Plan:
    """A request, checked: how many, by which strategy (a filter has none) or config, drawn how, within what budget."""

    n: int
    budget: int | None
    strategy: Strategy | None
    config: Any
    sampling: SamplingConfig | None
    seed: int


def run_query(request: QueryRequest, task: Task, source: CandidateSource) -> QueryAnswer:
    """Select up to ``n_data`` inputs, best first, each once.

    The best candidates are taken from all scored rows, stale recordings included, and only those are verified to be
    the newest recording of their input; if some were stale it looks deeper. Ties break by ``input_id``.

    Raises:
        ConfigError: If the strategy or sampling is not valid; the message lists what is.
        InputError: If ``n_data``, ``seed`` or ``exclude`` is not valid.
    """
    scores = source.scores()
    plan = _check(request, task, scores)
    if plan.n == 0:
        return QueryAnswer((), (), ())
    frame = task.candidates(scores, plan.config, selected_only=True)
    pool = CandidatePool(_within(frame, plan.sampling), source, request.exclude, plan.seed)
    spent = _pick(pool, plan)
    picks = spent.picks
    is_short = picks.rows.num_rows < plan.n and not spent.is_limit
    may_be_short = plan.strategy is None and plan.sampling is None and plan.config.may_be_short
    empty = _empty(request, plan, source, task) if is_short else _NO_INPUTS
    if request.include_empty:
        room = plan.n if plan.budget is None else min(plan.n, picks.rows.num_rows + plan.budget - spent.units)
        spent = replace(spent, is_limit=spent.is_limit or room < min(plan.n, picks.rows.num_rows + empty.height))
        picks, empty = _with_empty(picks, empty.head(room - picks.rows.num_rows)), _NO_INPUTS
    shortfall = None if spent.is_limit else _shortfall(request, plan, picks, empty.height)
    if shortfall and scores.select("recording_id").head(1).collect().is_empty():
        shortfall = _nothing_scored(request)
    elif shortfall and may_be_short:
        # A filter asks for "up to" n_data.
        logger.info(shortfall)
        shortfall = None
    return QueryAnswer(
        tuple(picks.rows["input_id"].to_pylist()),
        tuple(picks.rows["id_kind"].to_pylist()),
        tuple(picks.rows["rank_value"].to_pylist()),
        shortfall,
        (*picks.notes, *_told(plan, spent, picks)),
    )


def _check(request: QueryRequest, task: Task, scores: pl.LazyFrame) -> _Plan:
    n = _whole_number("n_data", request.n_data)
    budget = None if request.box_budget is None else _whole_number("box_budget", request.box_budget)
    seed = _whole_number("seed", request.seed)
    exclude: Any = request.exclude
    if isinstance(exclude, str) or not all(isinstance(input_id, str) for input_id in exclude):
        raise InputError(f"exclude: expected ids as a sequence of strings, got {exclude!r}")
    strategy, config = None, None
    if isinstance(request.strategy, str):
        strategy = find_strategy(request.strategy)
    elif isinstance(request.strategy, (Mapping, task.config)):
        config = task.parse_config(request.strategy, numeric_fields(nw.from_native(scores).collect_schema()))
    else:
        raise ConfigError(
            f"strategy: expected one of {', '.join(STRATEGIES)}, or a filter dict, got {request.strategy!r}. "
            f"{task.config.guide}"
        )
    sampling = None if request.sampling is None else SamplingConfig.read(request.sampling, "sampling")
    if sampling is not None:
        seed = _sampling_seed(sampling, strategy, seed)
    return _Plan(n, budget, strategy, config, sampling, seed)


def _whole_number(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise InputError(f"{name}: expected an int of at least 0, got {value!r} of type {type(value).__name__}")
    return number


def _sampling_seed(sampling: SamplingConfig, strategy: Strategy | None, seed: int) -> int:
    if strategy is not None and not strategy.samples:
        fitting = ", ".join(name for name, entry in STRATEGIES.items() if entry.samples)
        raise ConfigError(
            f"sampling: strategy {strategy.name!r} draws by itself; combine sampling with {fitting}, or a filter dict"
        )
    if sampling.method == "class_balanced":
        return _CLASS_BALANCED_SEED
    return seed if sampling.seed is None else sampling.seed


def _within(frame: pl.LazyFrame, sampling: SamplingConfig | None) -> pl.LazyFrame:
    """Candidates whose rank value lies within the bounds, both inclusive."""
    if sampling is not None and sampling.min_value is not None:
        frame = frame.filter(pl.col("rank_value") >= sampling.min_value)
    if sampling is not None and sampling.max_value is not None:
        frame = frame.filter(pl.col("rank_value") <= sampling.max_value)
    return frame


def _pick(pool: CandidatePool, plan: _Plan) -> Spent:
    """The picks, within the budget if there is one."""
    pick = partial(_picks_of, pool, plan)
    if plan.budget is None:
        return Spent(pick(plan.n), 0, is_limit=False)
    n = min(plan.n, plan.budget)  # every input costs at least one
    if plan.strategy is None or plan.sampling is not None or plan.strategy.nested:
        found = cut_to_budget(pick(n), pool.costs, plan.budget)
    else:
        costs = pool.costs(pool.sample(_MEAN_COST_ROWS))
        found = search_budget(pick, pool.costs, n, plan.budget, mean_cost=float(costs.mean()) if len(costs) else 1.0)
    return replace(found, is_limit=found.is_limit or found.units == plan.budget < plan.n)


def _picks_of(pool: CandidatePool, plan: _Plan, n: int) -> Picks:
    if plan.sampling is not None:
        return draw(pool, plan.sampling, n)
    if plan.strategy is not None:
        return plan.strategy.pick(pool, n)
    return Picks(pool.best(n, descending=plan.config.descending))


def _told(plan: _Plan, spent: Spent, picks: Picks) -> tuple[str, ...]:
    """How much of the budget the answer uses."""
    if plan.budget is None:
        return ()
    n_empty = picks.rows.num_rows - spent.picks.rows.num_rows
    used = spent.units + n_empty
    return (f"the {picks.rows.num_rows} inputs use {used} of the budget of {plan.budget} boxes",)


def _empty(request: QueryRequest, plan: _Plan, source: CandidateSource, task: Task) -> pl.DataFrame:
    """``input_id`` and ``id_kind`` of current inputs without a unit that counts.

    Those most likely to hold a missed object come first, where the result learned what tells them; else by id.
    """
    inputs = source.inputs(without_units=plan.config is None)
    if plan.config is not None:
        counting = task.candidates(source.scores(), plan.config).select("recording_id")
        inputs = inputs.join(counting, on="recording_id", how="anti")
    names = ("input_id", "id_kind", *(["frame_context"] if request.include_empty else []))
    found = inputs.select(names).collect(engine="streaming")
    found = found.filter(~pl.col("input_id").is_in(list(request.exclude))).unique("input_id").sort("input_id")
    if not request.include_empty or found.is_empty():
        return found
    contexts = read_matrix(
        found.select("frame_context").to_arrow(compat_level=pl.CompatLevel.oldest()), "frame_context"
    )
    missed = np.nan_to_num(missed_probability(source.reference(), contexts), nan=-1.0)
    return found.select("input_id", "id_kind")[np.argsort(-missed, kind="stable")]


def _with_empty(picks: Picks, empty: pl.DataFrame) -> Picks:
    """The inputs without a unit that counts at the end; they have no rank value."""
    rows = picks.rows.select(["input_id", "id_kind", "rank_value"])
    more = empty.with_columns(pl.lit(None, pl.Float64).alias("rank_value")).to_arrow().cast(rows.schema)
    return Picks(pa.concat_tables([rows, more]), picks.notes, picks.reason)


def _nothing_scored(request: QueryRequest) -> str:
    """That the pool itself is empty, which a filter does not mean by "up to" n_data; a name may be misspelt."""
    run = request.run
    narrowed = " with these weights" if request.weights_hash else ""
    return (
        f"0 of {request.n_data} inputs: nothing was recorded{narrowed} in dataset_type {request.dataset_type!r} of "
        f"{run.model_name!r}, version {run.version_name!r}, epoch {request.n_epoch}; run the data filter over them "
        f"first, or name another dataset_type{_other_passes(request)}"
    )


def _other_passes(request: QueryRequest) -> str:
    if request.pass_id is None:
        return ""
    return "; only what this object recorded counts, scope='run' takes in the rest"


def _shortfall(request: QueryRequest, plan: _Plan, picks: Picks, n_empty: int) -> str | None:
    """Why there are fewer than asked for; None when there are not."""
    if picks.rows.num_rows >= plan.n:
        return None
    run = request.run
    what = "selected by the filter" if plan.strategy is None else "scored"
    bounds = "" if plan.sampling is None else " within the bounds of the sampling"
    excluded = f"; {len(request.exclude)} ids were excluded" if request.exclude else ""
    reason = f"; {picks.reason}" if picks.reason else ""
    reason += _other_passes(request)
    if n_empty:
        reason = f"; {n_empty} inputs have no boxes that count, include_empty=True takes them in{reason}"
    return (
        f"{picks.rows.num_rows} of {plan.n} inputs: no more are {what}{bounds} in dataset_type "
        f"{request.dataset_type!r} of {run.model_name!r}, version {run.version_name!r}, "
        f"epoch {request.n_epoch}{excluded}{reason}"
    )
