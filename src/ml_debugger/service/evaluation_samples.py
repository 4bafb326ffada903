"""The tables of a result: labelled units, units that were set aside, error codes, and what was annotated and missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.analysis import ZoneLimits, assign_zones, code_table
from ml_debugger.analysis.error_codes import missed_table
from ml_debugger.estimation import ErrorModel
from ml_debugger.service.evaluation_rows import Aside, Rows
from ml_debugger.tasks.scoring import OUTLIER_ZONE, score_units
from ml_debugger.tasks.task import Diagnosis, Judged, Task

__all__ = ["SIZES", "aside_table", "error_code_table", "missed_truths", "sample_table", "truth_table"]

SIZES = ("image_width", "image_height")
"""Columns of the truth table, null where unknown."""

_STORED = ("input_id", "id_kind", "recording_id", "unit", "dataset_type", "n_epoch", "label", "score")


def sample_table(
    table: pa.Table, diagnosis: Diagnosis, scored: Mapping[str, NDArray[Any]], codes: list[str]
) -> pa.Table:
    """One row per unit: stored columns, scores, truth, and additional fields at the end.

    Args:
        table: Stored rows of U units, without vectors.
        diagnosis: Of them.
        scored: Per column ``(U,)``: error columns, ``zone``, ``support`` and those of the task.
        codes: Error codes.
    """
    data: dict[str, Any] = {name: table[name] for name in _STORED}
    data |= {name: pa.array(scored[name]) for name in columns.ERROR_COLUMNS if name in scored}
    data["zone"] = pa.array(scored["zone"], type=pa.string())
    data["support"] = pa.array(scored["support"])
    data["truth"] = pa.array(diagnosis.truth, mask=diagnosis.truth < 0)
    data["is_error"] = pa.array(diagnosis.is_error)
    data["error_code"] = pa.array(codes, type=pa.string())
    data["ignored"] = pa.array(diagnosis.ignored)
    data |= {name: pa.array(values) for name, values in scored.items() if name not in data}
    data |= {name: table[name] for name in table.schema.names if name not in data}
    return pa.table(data)


def aside_table(task: Task, aside: Aside, model: ErrorModel, limits: ZoneLimits, min_vote: float) -> pa.Table:
    """Rows of the units that were set aside, scored by the finished error model, which has not learned from them."""
    units = aside.units
    scored, _, whole = score_units(task, model, units)
    support = scored.pop("support")
    zones = assign_zones(limits, scored[columns.ERROR_PROBA], units.score, support)
    zones[~whole] = OUTLIER_ZONE
    codes = task.codes(aside.diagnosis, units.label, Judged(zones, task.votes(units, model), scored), min_vote)
    values = {**scored, **task.score_columns(units), "support": support, "zone": zones}
    return sample_table(aside.table, aside.diagnosis, values, codes)


def error_code_table(rows: Rows, codes: list[str], zones: NDArray[np.object_], input_ids: list[str]) -> pa.Table:
    """Codes of the held-out units, and after them those of the truths that were missed."""
    found = code_table(codes, zones, input_ids)
    missed = missed_truths(rows)
    if not missed.num_rows:
        return found
    counted = truth_rows(rows).filter(pc.invert(truth_rows(rows)["ignored"]))
    n_objects = pc.sum(pc.greater_equal(counted["truth_index"], 0)).as_py()
    more = missed_table(missed["error_code"].to_pylist(), missed["input_id"].to_pylist(), n_objects)
    return pa.concat_tables([found, more])


def missed_truths(rows: Rows) -> pa.Table:
    """Truths of the held-out inputs that no unit covers."""
    return _held_out(rows, rows.diagnosis.missed)


def truth_rows(rows: Rows) -> pa.Table:
    """What was annotated in the held-out inputs."""
    return _held_out(rows, rows.diagnosis.truths)


def _held_out(rows: Rows, table: pa.Table) -> pa.Table:
    if not table.num_rows:
        return table
    return table.filter(pc.is_in(table["dataset_type"], value_set=pa.array(rows.fit_on)))


def truth_table(task: Task, rows: Rows) -> pa.Table:
    """What was annotated in the held-out inputs, with the sizes of their images where the model shows them."""
    truths = truth_rows(rows)
    if not truths.num_rows:
        return truths
    keys = pl.DataFrame({"recording_id": truths["recording_id"].to_numpy()})
    size = task.input_sizes(rows.units)
    known = pl.DataFrame(
        {"recording_id": rows.table["recording_id"].to_numpy(), **dict(zip(SIZES, size.T, strict=True))}
    ).fill_nan(None)
    sizes = keys.join(known.group_by("recording_id").agg(pl.max(*SIZES)), "recording_id", "left", maintain_order="left")
    for name in SIZES:
        truths = truths.append_column(name, sizes[name].to_arrow())
    return truths
