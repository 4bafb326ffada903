"""The part of an evaluation that is about inputs as a whole: whether an object was missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.estimation import FitSettings, measure
from ml_debugger.estimation.frames import MISSED_PROBA, fit_frames
from ml_debugger.service.evaluation_options import EvaluationOptions
from ml_debugger.service.evaluation_rows import Reader, Rows
from ml_debugger.tasks.task import Task
from ml_debugger.tasks.units import read_matrix

__all__ = ["Frames", "learn_frames"]

MIN_INPUTS = 20


@dataclass(frozen=True, slots=True)
class Frames:
    """What was learned: arrays below ``frames``, a record per target, metrics; empty where nothing was."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    targets: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)


def learn_frames(task: Task, rows: Rows, read: Reader, options: EvaluationOptions) -> Frames:
    """Learn from the annotated held-out inputs, if the task and the model say something about inputs as a whole."""
    if "frame_context" not in task.reads.inputs:
        return Frames()
    names = ("input_id", "dataset_type", "recording_id", "frame_context")
    annotated = pa.array(_recordings(read, columns.TRUTHS, rows.fit_on))
    batches = [batch.select(names) for batch in read(columns.INPUTS, names, rows.fit_on) if batch.num_rows]
    if not batches:
        return Frames()
    inputs = pa.Table.from_batches(batches)
    inputs = inputs.filter(pa.compute.is_in(inputs["recording_id"], value_set=annotated)).sort_by(
        [("dataset_type", "ascending"), ("input_id", "ascending"), ("recording_id", "ascending")]
    )
    context = read_matrix(inputs, "frame_context")
    if context.shape[1] == 0 or len(context) < MIN_INPUTS:
        return Frames()
    keys = list(zip(inputs["dataset_type"].to_pylist(), inputs["input_id"].to_pylist(), strict=True))
    table = rows.diagnosis.missed
    with_missed = set(zip(table["dataset_type"].to_pylist(), table["input_id"].to_pylist(), strict=True))
    missed = np.array([key in with_missed for key in keys])
    groups = _groups(rows, keys, options.group_by)
    settings = FitSettings(n_folds=options.n_folds, min_errors=options.min_errors, seed=options.seed)
    if options.learners is not None:
        settings = replace(settings, learners=options.learners)
    fitted = fit_frames(context, missed, groups, settings)
    ours, base = (
        measure(found[MISSED_PROBA], missed, groups, draws=options.bootstrap, seed=options.seed)
        for found in (fitted.out_of_fold, fitted.baseline)
    )
    share = {"error_rate": float(missed.mean())}
    metrics = {**share, **_finite(ours), "baseline": {**share, **_finite(base)}}
    arrays = {f"frames/{path}": array for path, array in fitted.arrays.items()}
    return Frames(arrays, fitted.targets, {MISSED_PROBA: metrics})


def _groups(rows: Rows, keys: Sequence[tuple[str, str]], name_of: str | None) -> NDArray[np.int64]:
    """``(B,)`` the same number for recordings of one input, and for inputs with the same value of a field.

    Values are those of the units; an input without any is alone.
    """
    names = [f"input\0{tag}\0{name}" for tag, name in keys]
    if name_of is not None:
        values = zip(*(rows.table[name].to_pylist() for name in ("dataset_type", "input_id", name_of)), strict=True)
        known = {(tag, name): f"group\0{value}" for tag, name, value in values if value is not None}
        names = [known.get(key, name) for key, name in zip(keys, names, strict=True)]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _recordings(read: Reader, kind: str, tags: tuple[str, ...]) -> NDArray[np.int64]:
    found = [batch["recording_id"].to_numpy() for batch in read(kind, ("recording_id",), tags)]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *found]))


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
