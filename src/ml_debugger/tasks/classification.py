"""Classification: the unit is the input itself."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.analysis import MatchSettings, classification_codes
from ml_debugger.errors import ConfigError, InputError
from ml_debugger.estimation import (
    CLASS_DESCRIPTORS,
    ErrorModel,
    Examples,
    Layout,
    describe,
    error_log_odds,
    finite_rows,
    fit_reference,
    vote,
)
from ml_debugger.selection import FilterConfig, candidates, parse_filter
from ml_debugger.tasks.rows import list_column, make_rows
from ml_debugger.tasks.task import Bool, Description, Diagnosis, Float64, Int64, Judged, Lessons, Task, Units, Votes
from ml_debugger.types import ModelOutput

__all__ = ["CLASSIFICATION"]

NO_TRUTH: Final = -1


def predictions(output: ModelOutput, inputs: pa.Table) -> pa.Table:
    """Record rows of one batch, one per input.

    Raises:
        InputError: If there are no logits, fewer than two classes, or not exactly one unit per input.
    """
    if output.logits is None or output.logits.shape[1] < 2:
        got = "none" if output.logits is None else f"shape {output.logits.shape}"
        raise InputError(f"logits: expected shape (U, C) with C >= 2 for classification, got {got}")
    n_inputs = inputs.num_rows
    if output.n_inputs != n_inputs or not np.array_equal(output.input_index, np.arange(n_inputs)):
        raise InputError(
            f"model output: expected one prediction for each of {n_inputs} inputs, got {len(output.label)}"
        )
    own = {
        "unit": pa.array(np.zeros(n_inputs, dtype=np.int64)),
        "label": pa.array(np.asarray(output.label, dtype=np.int64)),
        "score": pa.array(np.asarray(output.score, dtype=np.float64)),
        "features": list_column(output.features, n_inputs),
        "logits": list_column(output.logits, n_inputs),
        "box": list_column(None, n_inputs),
        "context": list_column(output.context, n_inputs),
    }
    return make_rows(columns.RECORDS, inputs, own)


def truths(ground_truth: Any, inputs: pa.Table, n_classes: int | None) -> pa.Table:
    """Truth rows of one batch: one for each input whose label is known (None, NaN and -1 mean unknown).

    Raises:
        InputError: If there is not one integer label per input, or a label is not a class of the model.
    """
    labels = _read_labels(ground_truth, inputs.num_rows)
    known = labels != NO_TRUTH
    top = n_classes if n_classes is not None else np.iinfo(np.int64).max
    outside = np.flatnonzero(known & ((labels < 0) | (labels >= top)))
    if len(outside):
        position = int(outside[0])
        expected = f"0..{n_classes - 1}, the classes of the model" if n_classes is not None else "0 or more"
        raise InputError(
            f"ground_truth: expected class ids in {expected}, got {labels[position]} at position {position}; "
            "use None or -1 for an input without a label"
        )
    kept = inputs.filter(pa.array(known))
    count = kept.num_rows
    own = {
        "truth_index": pa.array(np.zeros(count, dtype=np.int64)),
        "truth": pa.array(labels[known]),
        "box": list_column(None, count),
        "ignored": pa.array(np.zeros(count, dtype=bool)),
    }
    return make_rows(columns.TRUTHS, kept, own)


def _read_labels(ground_truth: Any, n_inputs: int) -> Int64:
    """``(B,)`` labels from a list, array or tensor; -1 where unknown."""
    values = ground_truth.tolist() if hasattr(ground_truth, "tolist") else ground_truth
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise InputError(f"ground_truth: expected one class id per input, got {type(ground_truth).__name__}")
    if len(values) != n_inputs:
        raise InputError(f"ground_truth: expected {n_inputs}, one per input, got {len(values)}")
    if all(type(value) is int for value in values):  # the usual case, and it runs in the user's loop
        return np.array(values, dtype=np.int64)
    return np.array([_read_label(value, position) for position, value in enumerate(values)], dtype=np.int64)


def _read_label(value: Any, position: int) -> int:
    item = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(item, (list, tuple)):
        if len(item) != 1:
            raise InputError(
                f"ground_truth: expected one class id per input, got {len(item)} numbers at position {position}; "
                "for one-hot or soft labels pass labels.argmax(1)"
            )
        item = item[0]
    if item is None or (isinstance(item, float) and np.isnan(item)):
        return NO_TRUTH
    if isinstance(item, bool) or not isinstance(item, (int, float)) or not float(item).is_integer():
        raise InputError(f"ground_truth: expected integer class ids, got {item!r} at position {position}")
    return int(item)


def diagnose(records: pa.Table, truth_rows: pa.Table, matching: MatchSettings | None = None) -> Diagnosis:
    """Compare predicted and annotated classes.

    Args:
        records: N rows with ``recording_id`` and ``label``.
        truth_rows: Rows with ``recording_id``, ``truth`` and ``ignored``; at most one per recording.
        matching: Not for this task.

    Raises:
        ConfigError: If there are thresholds.
    """
    if matching is not None:
        raise ConfigError("matching: classification matches no boxes; leave the option out")
    recording = records.column("recording_id").to_numpy()
    label = records.column("label").to_numpy()
    named = truth_rows.column("recording_id").to_numpy()
    order = np.argsort(named, kind="stable")
    slot = np.searchsorted(named, recording, sorter=order).clip(max=max(len(named) - 1, 0))
    labelled = np.zeros(len(recording), dtype=bool)
    truth = np.full(len(recording), NO_TRUTH, dtype=np.int64)
    ignored = np.zeros(len(recording), dtype=bool)
    if len(named):
        position = order[slot]
        labelled = named[position] == recording
        truth = np.where(labelled, truth_rows.column("truth").to_numpy()[position], NO_TRUTH)
        ignored = labelled & truth_rows.column("ignored").to_numpy(zero_copy_only=False)[position].astype(bool)
    return Diagnosis(labelled, truth, labelled & (truth != label), ignored, _MISSED.empty_table())


_MISSED: Final = pa.schema(
    [("input_id", pa.string()), ("id_kind", pa.string()), ("dataset_type", pa.string()), ("truth", pa.int64())]
)


def usable(units: Units, vectors: str) -> tuple[Bool, Bool]:
    """``(U,)`` which units have finite logits and a predicted class, and which of those have finite vectors too."""
    n_classes = units.logits.shape[1]
    finite = (units.label >= 0) & (units.label < n_classes)
    if n_classes < 2:
        finite[:] = False
    finite &= finite_rows(units.logits)
    values = _vectors_of(units, vectors)
    if values.shape[1] == 0:
        return finite, np.zeros(len(units), dtype=bool)
    return finite, finite & finite_rows(values)


def _vectors_of(units: Units, vectors: str) -> NDArray[np.float32]:
    return units.features if vectors == "features" else units.logits


def learn(lessons: Lessons, vectors: str, seed: int) -> tuple[dict[str, NDArray[Any]], Description, Votes]:
    """The reference that descriptors need, and out-of-fold descriptions of the held units."""
    held, known = _examples(lessons, lessons.held, vectors), _examples(lessons, ~lessons.held, vectors)
    reference, found = fit_reference(known, held, seed=seed)
    description = Description(found.descriptors, found.baseline, found.outlying)
    return reference.to_arrays(), description, Votes(found.vote_classes, found.vote_shares)


def _examples(lessons: Lessons, chosen: Bool, vectors: str) -> Examples:
    units = lessons.units.rows(chosen)
    return Examples(
        _vectors_of(units, vectors), units.logits, units.label, lessons.truth[chosen], lessons.groups[chosen]
    )


def describe_units(units: Units, model: ErrorModel) -> Description:
    """Descriptors of usable units."""
    values = _vectors_of(units, str(model.meta["vectors"]))
    return Description(*describe(model.reference(), values, units.logits, units.label))


def votes_of(units: Units, model: ErrorModel) -> Votes:
    """The classes that usable units resemble."""
    return Votes(*vote(model.reference(), _vectors_of(units, str(model.meta["vectors"]))))


def baseline(units: Units) -> Float64:
    """``(U,)`` log-odds of the softmax probability of units with finite logits."""
    return error_log_odds(units.logits, units.label)


def targets(diagnosis: Diagnosis) -> dict[str, Bool]:
    """One error column: wrong or not."""
    return {columns.ERROR_PROBA: diagnosis.is_error}


def codes(diagnosis: Diagnosis, label: Int64, judged: Judged, min_vote: float) -> list[str]:
    """Error codes of labelled units."""
    votes = judged.votes
    return classification_codes(diagnosis.truth, label, judged.zones, votes.classes, votes.shares, min_vote=min_vote)


def _columns(*names: str) -> tuple[int, ...]:
    known = [descriptor.name for descriptor in CLASS_DESCRIPTORS]
    return tuple(known.index(name) for name in names)


CLASSIFICATION: Final = Task(
    name="classification",
    method="classification_v1",
    config=FilterConfig,
    parse_config=parse_filter,
    candidates=candidates,
    predictions=predictions,
    truths=truths,
    diagnose=diagnose,
    usable=usable,
    learn=learn,
    describe=describe_units,
    votes=votes_of,
    layout=Layout(
        anchors=_columns("mixed_probe"),
        cautious=_columns("linear_probe", "vote_against", "distance"),
        cautious_anchors=_columns("linear_probe", "vote_against"),
    ),
    baseline=baseline,
    targets=targets,
    codes=codes,
)
