"""One row per input: its rank value, and whether it is selected. Flags and queries are both made from these rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from operator import and_, or_
from typing import Any, Final

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_debugger.columns import (
    BOX_COLUMNS,
    ERROR_PROBA,
    ERROR_PROBA_POOL,
    NUMERIC_COLUMNS,
    box_columns_among,
    reserved_columns,
)
from ml_debugger.errors import ConfigError
from ml_debugger.selection.conditions import OPERATORS, Condition
from ml_debugger.selection.configs import FilterConfig

__all__ = [
    "CARRIED",
    "CLASSIFICATION_COLUMNS",
    "candidates",
    "check_columns",
    "matches",
    "numeric_arrow_fields",
    "numeric_fields",
    "parse_filter",
    "present",
    "selects",
]

# What a condition may name in classification, besides numeric additional fields.
CLASSIFICATION_COLUMNS: Final = ("score", ERROR_PROBA)
# Carried from the scored rows where they are there: what a query needs to verify, draw and answer.
CARRIED: Final = ("input_id", "id_kind", "recording_id", "label", "zone")

BoolArray = NDArray[np.bool_]
# error_proba_pool is among scored rows where it was asked for, and can then be named like an additional field.
_KNOWN = (reserved_columns() | set(NUMERIC_COLUMNS)) - {ERROR_PROBA_POOL, *BOX_COLUMNS}


def parse_filter(value: Any, numeric: Iterable[str] = (), argument: str = "filter_config") -> FilterConfig:
    """A FilterConfig whose conditions name columns that classification has.

    Args:
        value: A FilterConfig or a dict.
        numeric: Names of the numeric additional fields.
        argument: What the user calls it, for messages.

    Raises:
        ConfigError: If it is not valid; the message lists what is.
    """
    config = FilterConfig.read(value, argument)
    check_columns(config, (*CLASSIFICATION_COLUMNS, *numeric))
    return config


def check_columns(config: FilterConfig, offered: Iterable[str]) -> None:
    """Refuse conditions on columns that are not offered.

    Raises:
        ConfigError: Listing the columns that are.
    """
    allowed = tuple(dict.fromkeys(offered))
    unknown = sorted({condition.column for group in config.parsed for condition in group} - set(allowed))
    if ERROR_PROBA_POOL in unknown:
        raise ConfigError(
            f"conditions: {ERROR_PROBA_POOL} is made from the whole pool: pass pool_adaptive=True to query; "
            "filter_config cannot name it, since it judges live batches"
        )
    if unknown:
        raise ConfigError(
            f"conditions: no such numeric column: {', '.join(map(repr, unknown))}; available: {', '.join(allowed)}. "
            "Further columns are recorded by additional_fields of type int or float"
        )


def numeric_fields(dtypes: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of numeric additional fields, and ``error_proba_pool``, among scored columns (name to narwhals dtype)."""
    extra = _additional(dtypes)
    return tuple(name for name in extra if dtypes[name].is_numeric())


def _additional(names: Collection[str]) -> list[str]:
    """What is none of our own columns."""
    known = _KNOWN | set(box_columns_among(names))
    return [name for name in names if name not in known]


def candidates(scored: Any, config: FilterConfig | None, *, selected_only: bool = False) -> Any:
    """Candidates of a task with one unit per input, ranked by ``error_proba``.

    Args:
        scored: N score rows: an Arrow table, or any lazy or eager dataframe that Narwhals knows.
        config: What to select; None selects every row that has an error probability.
        selected_only: Leave out what is not selected. On a lazy frame the condition then reaches the files.

    Returns:
        The same kind as came in, one row per input in the order given: ``rank_value``, ``selected``, and of
        ``input_id``, ``id_kind``, ``recording_id``, ``label``, ``zone`` those that are there. Lazy frames stay lazy.

    Raises:
        ConfigError: If a condition names a column that is not there or not numeric.
    """
    if isinstance(scored, pa.Table):
        return _arrow_candidates(scored, config, selected_only)
    frame = nw.from_native(scored)
    dtypes = frame.collect_schema()
    if config is not None:
        check_columns(config, (*CLASSIFICATION_COLUMNS, *numeric_fields(dtypes)))
    selected = present(nw.col(ERROR_PROBA))
    if config is not None:
        selected = selected & selects(config)
    if selected_only:
        # Filtering before the new columns are named lets an engine prune files and row groups.
        frame, selected = frame.filter(selected), nw.lit(True)
    carried = [name for name in CARRIED if name in dtypes]
    return frame.select(*carried, rank_value=nw.col(ERROR_PROBA), selected=selected).to_native()


def _arrow_candidates(scored: pa.Table, config: FilterConfig | None, selected_only: bool) -> pa.Table:
    """The NumPy path: what a live batch can afford."""
    rank = scored.column(ERROR_PROBA).to_numpy()
    selected = ~np.isnan(rank)
    if config is not None:
        offered = (*CLASSIFICATION_COLUMNS, *numeric_arrow_fields(scored.schema))
        check_columns(config, offered)
        selected &= matches(scored, config)
    carried = scored.select([name for name in CARRIED if name in scored.schema.names])
    rows = carried.append_column("rank_value", pa.array(rank)).append_column("selected", pa.array(selected))
    return rows.filter(rows["selected"]) if selected_only else rows


def numeric_arrow_fields(schema: pa.Schema) -> tuple[str, ...]:
    """The same of an Arrow schema."""
    extra = (schema.field(name) for name in _additional(schema.names))
    return tuple(field.name for field in extra if pa.types.is_integer(field.type) or pa.types.is_floating(field.type))


def matches(scored: pa.Table, config: FilterConfig) -> BoolArray:
    """``(N,)`` whether each row is in one of the zones or meets one of the condition dicts."""
    selected = np.zeros(scored.num_rows, dtype=np.bool_)
    if config.target_zones:
        zones = pa.array(config.target_zones, pa.string())
        selected |= pc.is_in(scored.column("zone"), value_set=zones).to_numpy()
    for group in config.parsed:
        selected |= reduce(and_, (_holds(scored, condition) for condition in group))
    return selected


def _holds(scored: pa.Table, condition: Condition) -> BoolArray:
    # Nulls become NaN here, so one test covers both.
    values = scored.column(condition.column).to_numpy().astype(np.float64)
    held: BoolArray = OPERATORS[condition.operator](values, condition.value) & ~np.isnan(values)
    return held


def selects(config: FilterConfig) -> nw.Expr:
    """The same as ``matches``, as an expression for any engine."""
    alternatives = [reduce(and_, map(_holds_expr, group)) for group in config.parsed]
    if config.target_zones:
        alternatives.append(nw.col("zone").is_in(list(config.target_zones)) & ~nw.col("zone").is_null())
    either: nw.Expr = reduce(or_, alternatives)
    return either


def _holds_expr(condition: Condition) -> nw.Expr:
    values = nw.col(condition.column).cast(nw.Float64)
    held: nw.Expr = OPERATORS[condition.operator](values, condition.value) & present(values)
    return held


def present(values: nw.Expr) -> nw.Expr:
    """Whether a number is there."""
    # Engines disagree on NaN: for Polars and DuckDB it is the greatest number. Here it is no number.
    return ~values.is_null() & ~values.is_nan()
