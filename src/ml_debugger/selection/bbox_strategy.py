"""``BBoxStrategy``: how the boxes of an image make its rank and its flag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import narwhals as nw
import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import BeforeValidator, Field

from ml_debugger.columns import ERROR_COLUMNS, ERROR_PROBA, NUMERIC_COLUMNS
from ml_debugger.errors import ConfigError
from ml_debugger.selection.box_aggregation import Aggregated, Boxes, Float64, image_values
from ml_debugger.selection.candidates import CARRIED, check_columns, matches, numeric_arrow_fields, present, selects
from ml_debugger.selection.configs import Config, Count, FilterConfig, Number, Text
from ml_debugger.selection.ranked_frame import with_details

__all__ = ["DETECTION_COLUMNS", "BBoxStrategy", "box_candidates", "parse_bbox_strategy"]

DETECTION_COLUMNS: Final = NUMERIC_COLUMNS
"""What conditions and weights may name in detection, besides numeric additional fields."""

Share = Annotated[Number, Field(ge=0.0, le=1.0)]


def _read_filter(value: Any) -> Any:
    return FilterConfig.read(value, "bbox_filter") if isinstance(value, Mapping) else value


class BBoxStrategy(Config):
    """How boxes make the value of their image, and what is done with it.

    Args:
        target_column: The error probability that counts: ``"error_proba"``, ``"det_error_proba"`` or
            ``"cls_error_proba"``.
        top_n: How many boxes of an image count, the most likely errors first; None for all.
        bbox_filter: Which boxes count at all; applied before ``top_n``. An image without such a box counts as empty.
        aggregation: ``"mean"`` or ``"median"`` of the boxes that count.
        weight_column: Weighs the boxes, for example ``"pred_size"``; boxes without a weight above 0 do not count.
        sort: ``"desc"`` gives images with the greatest value first, ``"asc"`` those with the smallest.
        img_error_threshold: Images with at least this value are flagged True, others False; None: no flags. A query
            leaves the others out.

    Raises:
        ConfigError: On an unknown key, or a value that is not allowed; the message says what is.

    Examples:
        >>> BBoxStrategy(target_column="det_error_proba", top_n=3).aggregation
        'mean'
    """

    guide: ClassVar[str] = (
        f"Allowed keys: target_column ({', '.join(ERROR_COLUMNS)}), top_n (an int of at least 1), bbox_filter (a "
        'FilterConfig, such as {"conditions": [{"error_proba": ">=0.3"}]}), aggregation ("mean" or "median"), '
        f'weight_column ({", ".join(NUMERIC_COLUMNS)} or a numeric additional field), sort ("desc" or "asc"), '
        "img_error_threshold (0.0 to 1.0)."
    )

    target_column: Literal["error_proba", "det_error_proba", "cls_error_proba"] = ERROR_PROBA
    top_n: Count | None = None
    bbox_filter: Annotated[FilterConfig | None, BeforeValidator(_read_filter)] = None
    aggregation: Literal["mean", "median"] = "mean"
    weight_column: Text | None = None
    sort: Literal["desc", "asc"] = "desc"
    img_error_threshold: Share | None = None

    @property
    def descending(self) -> bool:
        """Whether the greatest value comes first."""
        return self.sort == "desc"

    @property
    def gives_flags(self) -> bool:
        """Whether live calls are flagged."""
        return self.img_error_threshold is not None

    @property
    def may_be_short(self) -> bool:
        """Whether a query means "up to" so many: with a threshold."""
        return self.img_error_threshold is not None


def parse_bbox_strategy(value: Any, numeric: Iterable[str] = (), argument: str = "filter_config") -> BBoxStrategy:
    """A BBoxStrategy whose filter and weight name columns that detection has.

    Args:
        value: A BBoxStrategy or a dict.
        numeric: Names of the numeric additional fields.
        argument: What the user calls it, for messages.

    Raises:
        ConfigError: If it is not valid; the message lists what is.
    """
    config = BBoxStrategy.read(value, argument)
    _check(config, (*DETECTION_COLUMNS, *numeric))
    return config


def _check(config: BBoxStrategy, offered: tuple[str, ...]) -> None:
    if config.bbox_filter is not None:
        check_columns(config.bbox_filter, offered)
    if config.weight_column is not None and config.weight_column not in offered:
        raise ConfigError(
            f"weight_column: no such numeric column: {config.weight_column!r}; available: {', '.join(offered)}"
        )


def box_candidates(scored: Any, config: BBoxStrategy | None, *, selected_only: bool = False) -> Any:
    """Candidates of a task with any number of boxes per input: one row per recording that has a box that counts.

    Args:
        scored: Score rows: an Arrow table, or a lazy or eager Polars frame.
        config: How boxes make a value; None for the defaults.
        selected_only: Leave out what is not selected.

    Returns:
        The same kind as came in: ``rank_value``, ``selected``, and of ``input_id``, ``id_kind``, ``recording_id``,
        ``label``, ``zone`` those that are there, taken from the image's box with the greatest value.

    Raises:
        ConfigError: If the strategy names a column that is not there or not numeric.
    """
    chosen = config or BBoxStrategy()
    if isinstance(scored, pa.Table):
        return _arrow_candidates(scored, chosen, selected_only)
    frame = scored.lazy()
    schema = frame.collect_schema()
    numeric = tuple(name for name, dtype in schema.items() if dtype.is_numeric())
    _check(chosen, (*DETECTION_COLUMNS, *(name for name in numeric if name not in NUMERIC_COLUMNS)))
    ranked = _ranked(frame, chosen)
    if selected_only:
        ranked = ranked.filter("selected")
    result = with_details(frame, ranked, [name for name in CARRIED if name in schema])
    return result if isinstance(scored, pl.LazyFrame) else result.collect()


def _ranked(frame: pl.LazyFrame, config: BBoxStrategy) -> pl.DataFrame:
    """``recording_id``, ``unit`` of the box with the greatest value, ``rank_value`` and ``selected``."""
    wanted = list(dict.fromkeys([config.target_column, *([config.weight_column] if config.weight_column else [])]))
    rows = nw.from_native(frame).filter(_counts(config)).to_native().select(*wanted, "recording_id", "unit")
    boxes = rows.collect(engine="streaming")
    image, unit = boxes["recording_id"].to_numpy(), boxes["unit"].to_numpy()
    value = boxes[config.target_column].cast(pl.Float64).to_numpy()
    weight = None if config.weight_column is None else boxes[config.weight_column].cast(pl.Float64).to_numpy()
    found = _aggregate(Boxes(image, unit, value, weight), config)
    return pl.DataFrame(
        {
            "recording_id": image[found.first],
            "unit": unit[found.first],
            "rank_value": found.value,
            "selected": _selected(found, config),
        }
    )


def _arrow_candidates(scored: pa.Table, config: BBoxStrategy, selected_only: bool) -> pa.Table:
    """The NumPy path: what a live batch can afford."""
    _check(config, (*DETECTION_COLUMNS, *numeric_arrow_fields(scored.schema)))
    target = _numbers(scored, config.target_column)
    weight = None if config.weight_column is None else _numbers(scored, config.weight_column)
    counts = ~np.isnan(target)
    if config.bbox_filter is not None:
        counts &= matches(scored, config.bbox_filter)
    if weight is not None:
        counts &= (weight > 0.0) & (weight < np.inf)
    rows = np.flatnonzero(counts)
    recording = scored.column("recording_id").to_numpy()
    found = _aggregate(Boxes(recording, scored.column("unit").to_numpy(), target, weight).rows(rows), config)
    selected = _selected(found, config)
    carried = scored.select([name for name in CARRIED if name in scored.schema.names])
    table = carried.take(pa.array(rows[found.first]))
    table = table.append_column("rank_value", pa.array(found.value)).append_column("selected", pa.array(selected))
    return table.filter(table["selected"]) if selected_only else table


def _numbers(scored: pa.Table, name: str) -> Float64:
    return np.asarray(scored.column(name).to_numpy().astype(np.float64))


def _aggregate(boxes: Boxes, config: BBoxStrategy) -> Aggregated:
    return image_values(boxes, top_n=config.top_n, median=config.aggregation == "median")


def _selected(found: Aggregated, config: BBoxStrategy) -> Any:
    if config.img_error_threshold is None:
        return np.ones(len(found.value), dtype=bool)
    return found.value >= config.img_error_threshold


def _counts(config: BBoxStrategy) -> nw.Expr:
    """The boxes that count, as an expression."""
    wanted = present(nw.col(config.target_column))
    if config.bbox_filter is not None:
        wanted = wanted & selects(config.bbox_filter)
    if config.weight_column is not None:
        weight = nw.col(config.weight_column).cast(nw.Float64)
        wanted = wanted & present(weight) & (weight > 0.0) & (weight < float("inf"))
    return wanted
