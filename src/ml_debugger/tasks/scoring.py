"""Score rows from record rows: the same bits live and in bulk."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.analysis import ZoneLimits, assign_zones
from ml_debugger.errors import InputError, NonFiniteWarning, warn
from ml_debugger.estimation import ErrorModel, one_blas_thread
from ml_debugger.tasks.task import Task, Units
from ml_debugger.tasks.units import read_units

__all__ = ["OUTLIER_ZONE", "score_rows", "score_units"]

OUTLIER_ZONE = "aleatoric_hotspot"
_CHUNK = 16_384


def score_rows(task: Task, model: ErrorModel, records: pa.Table, result_name: str) -> pa.Table:
    """One score row per record row, in their order, with the additional columns of the records.

    Units with non-finite logits get ``error_proba`` 1, no support and label -1; those with non-finite or missing
    features
    only get the calibrated baseline. Both are ``aleatoric_hotspot``.

    Raises:
        InputError: If the vectors are not as wide as those that the error model was fitted on.

    Warns:
        NonFiniteWarning: If there are such units.
    """
    parts = [records]
    if records.num_rows > _CHUNK:
        parts = [records.slice(start, _CHUNK) for start in range(0, records.num_rows, _CHUNK)]
    with one_blas_thread():
        scored = [_score_part(task, model, part) for part in parts]
    n_broken, n_bare = sum(part[1] for part in scored), sum(part[2] for part in scored)
    if n_broken or n_bare:
        warn(_explain(n_broken, n_bare, records.num_rows, task.reads.fallback), NonFiniteWarning)
    own = scored[0][0]
    if len(scored) > 1:
        own = {name: np.concatenate([part[0][name] for part in scored]) for name in own}
    return _table(task, records, own, result_name)


def _score_part(task: Task, model: ErrorModel, records: pa.Table) -> tuple[dict[str, NDArray[Any]], int, int]:
    units = read_units(records, task.reads.vectors)
    scored, has_logits, is_whole = score_units(task, model, units)
    support = scored.pop("support")
    zones = assign_zones(_limits(model), scored[columns.ERROR_PROBA], units.score, support)
    own = {**scored, "support": support, "zone": zones, "label": units.label, **task.score_columns(units)}
    if is_whole.all():
        return own, 0, 0
    zones[~is_whole] = OUTLIER_ZONE
    own["label"] = np.where(has_logits, units.label, -1)
    return own, int((~has_logits).sum()), int((has_logits & ~is_whole).sum())


def _limits(model: ErrorModel) -> ZoneLimits:
    found: ZoneLimits = model.once("limits", lambda: ZoneLimits.from_json(model.meta["limits"]))
    return found


def score_units(
    task: Task, model: ErrorModel, units: Units
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_], NDArray[np.bool_]]:
    """Error columns and ``support`` of U units; which have usable logits; which have usable vectors as well.

    Raises:
        InputError: If the vectors are not as wide as those that the error model was fitted on.
    """
    vectors = str(model.meta["vectors"])
    _check_widths(model, units)
    has_logits, is_whole = task.usable(units, vectors)
    if len(units) and is_whole.all():
        seen = task.describe(units, model)
        predicted = model.predict(seen.descriptors, seen.baseline, seen.outlying)
        return {**task.reconcile(predicted.error_proba), "support": predicted.support}, has_logits, is_whole
    scored: dict[str, NDArray[Any]] = {name: np.ones(len(units)) for name in model.meta["targets"]}
    support = np.zeros(len(units))
    if is_whole.any():
        seen = task.describe(units.rows(is_whole), model)
        predicted = model.predict(seen.descriptors, seen.baseline, seen.outlying)
        support[is_whole] = predicted.support
        for name, values in task.reconcile(predicted.error_proba).items():
            scored[name][is_whole] = values
    is_bare = has_logits & ~is_whole
    if is_bare.any():
        for name, values in model.predict_baseline(task.baseline(units.rows(is_bare))).items():
            scored[name][is_bare] = values
    return {**scored, "support": support}, has_logits, is_whole


def _check_widths(model: ErrorModel, units: Units) -> None:
    for name, values, expected in (
        ("logits", units.logits, model.meta["n_classes"]),
        ("features", units.features, model.meta["n_features"]),
    ):
        width = values.shape[1]
        if width and expected and width != expected:
            raise InputError(
                f"{name}: expected width {expected}, as in the evaluated run, got {width}; "
                "use a result of this architecture, or evaluate this model"
            )


def _explain(n_broken: int, n_bare: int, n_rows: int, fallback: str) -> str:
    parts = []
    if n_broken:
        parts.append(f"{n_broken} of {n_rows} units have NaN or infinite {fallback}: error_proba 1, label -1")
    if n_bare:
        parts.append(f"{n_bare} of {n_rows} units have no finite features: error_proba is the calibrated baseline")
    return "; ".join(parts) + f"; they are in zone {OUTLIER_ZONE}"


def _table(task: Task, records: pa.Table, own: dict[str, NDArray[Any]], result_name: str) -> pa.Table:
    layout = _layout(task.name)
    given = {name: place for place, name in enumerate(records.schema.names)}
    data: list[Any] = []
    for name, kind in layout.fields:
        if name == "result_name":
            data.append(pa.repeat(result_name, records.num_rows))
        elif name in own:
            data.append(pa.array(own[name], type=kind))
        elif name in given:
            data.append(records.column(given[name]))
        else:
            data.append(pa.nulls(records.num_rows, kind))
    extra = [name for name in given if name not in layout.known]
    if not extra:
        return pa.Table.from_arrays(data, schema=layout.schema)
    schema = pa.schema([*layout.schema, *(records.schema.field(name) for name in extra)])
    return pa.Table.from_arrays([*data, *(records.column(given[name]) for name in extra)], schema=schema)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of the score rows of a task; Arrow makes them anew each time that they are asked for."""

    schema: pa.Schema
    fields: tuple[tuple[str, pa.DataType], ...]
    known: frozenset[str]


@functools.cache
def _layout(task: str) -> _Layout:
    schema = columns.schema_of(columns.SCORES, task=task)
    known = frozenset([*schema.names, *columns.schema_of(columns.RECORDS).names])
    return _Layout(schema, tuple((field.name, field.type) for field in schema), known)
