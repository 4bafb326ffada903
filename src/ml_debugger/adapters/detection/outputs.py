"""Reading boxes from whatever a detector returned: torchvision's dicts, supervision's Detections, ultralytics' Results.

Each is known by what it offers, so none of these libraries is imported. What a detector of point clouds returns is read
by the same functions, see ``outputs_3d``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.arrays import describe_shape, is_array, to_float32
from ml_debugger.adapters.detection.boxes import Candidates, ImageBoxes
from ml_debugger.errors import CaptureError, InputError

__all__ = ["IMAGE_FORM", "OutputForm", "read_detections", "read_image", "with_background"]

# How far a score may lie outside 0..1, and a box be inverted, by rounding alone (half precision).
SCORE_SLACK: Final = 1e-3
SIDE_SLACK: Final = 1e-2
# Logit of a class that cannot be: its probability is nothing beside any other.
IMPOSSIBLE: Final = -50.0

_FORMS: Final = (
    "a list with one dict of boxes (U, 4), labels (U,) and scores (U,) per image, supervision Detections or "
    "ultralytics Results"
)

Parts = dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class OutputForm:
    """How the detectors of one task write their boxes.

    Attributes:
        noun: What an input is called.
        width: Numbers of a box.
        expected: What may be returned, for messages.
        inputs: What was returned -> it, or the part of it that holds one entry per input.
        parts: Entry of one input -> its boxes, labels, scores and what is beside them, by name; None where it is of no
            known form. ``first_label`` says what the first column of logits, or of the candidates' scores, is called.
        boxes: What came as boxes, and where -> ``(U, 4)`` or ``(U, 7)``.
        check: Refuses boxes that cannot be right, given where they came from.
    """

    noun: str
    width: int
    expected: str
    inputs: Callable[[Any], Any]
    parts: Callable[[Any], Parts]
    boxes: Callable[[Any, str], NDArray[np.float32]]
    check: Callable[[NDArray[np.float32], str], None]


def _parts(entry: Any) -> Parts:
    """The boxes of one image by name; None where the entry is of no known form."""
    if isinstance(entry, Mapping):
        return dict(entry) if "boxes" in entry else None
    if hasattr(entry, "xyxy") and hasattr(entry, "class_id"):  # supervision
        found = {"boxes": entry.xyxy, "labels": entry.class_id, "scores": entry.confidence}
        data = getattr(entry, "data", None) or {}
        return found | {name: data[name] for name in ("features", "logits") if name in data}
    inner: Any = getattr(entry, "boxes", None)
    if hasattr(inner, "xyxy") and hasattr(inner, "conf"):  # ultralytics
        return {"boxes": inner.xyxy, "labels": inner.cls, "scores": inner.conf, "size": entry.orig_shape[::-1]}
    return None


def _boxes(value: Any, where: str) -> NDArray[np.float32]:
    boxes = to_float32(value)
    if boxes.size == 0:
        return np.zeros((0, 4), dtype=np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"{where}: expected boxes (U, 4) in pixels x1 y1 x2 y2, got {_shape(value)}")
    return boxes


def _check_boxes(boxes: NDArray[np.float32], where: str) -> None:
    inverted = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] < -SIDE_SLACK).any(axis=1))
    if len(inverted):
        raise InputError(
            f"{where}: expected boxes x1 y1 x2 y2 with x1 <= x2 and y1 <= y2, got {boxes[inverted[0]].tolist()} at "
            f"position {inverted[0]}; convert boxes given as x y width height, or as centre and size, or drop those "
            "without an area"
        )


IMAGE_FORM: Final = OutputForm("image", 4, _FORMS, lambda output: output, _parts, _boxes, _check_boxes)
"""Boxes in images."""


def read_detections(output: Any, n_inputs: int, form: OutputForm = IMAGE_FORM) -> list[ImageBoxes]:
    """What a detector returned for B images: a list or tuple with one entry each, or the entry itself where B = 1.

    TorchScript's pair of losses and detections is read too. Entries are dicts with ``boxes``, ``labels``, ``scores``
    and perhaps ``features (U, D)``, ``logits (U, C)`` and ``candidates``: a dict of ``boxes (M, 4)`` and ``scores (M,
    C)``, or ``scores (M,)`` with ``labels (M,)``.

    Raises:
        InputError: If there are not B entries, shapes do not fit, boxes are inverted or scores lie outside 0..1.
        CaptureError: If the output is none of these forms.
    """
    entries = _entries(form.inputs(output), n_inputs, form)
    if len(entries) != n_inputs:
        raise InputError(
            f"input_ids: {n_inputs} ids were given, but the model returned boxes of {len(entries)} {form.noun}s; give "
            f"one id per {form.noun} of the batch"
        )
    return [read_image(entry, position, form) for position, entry in enumerate(entries)]


def _entries(output: Any, n_inputs: int, form: OutputForm) -> Sequence[Any]:
    if isinstance(output, Mapping) and any("loss" in str(name) for name in output):
        raise CaptureError("model output: losses, as in training mode; call model.eval() before the model is traced")
    if form.parts(output) is not None:
        return [output]
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], Mapping) and not form.parts(output[0]):
        return _entries(output[1], n_inputs, form)
    if isinstance(output, list | tuple):
        return output
    raise CaptureError(f"model output: expected {form.expected}, got {describe_shape(output)}; return one of these")


def read_image(entry: Any, position: int = 0, form: OutputForm = IMAGE_FORM) -> ImageBoxes:
    """The boxes of one input; those with NaN or infinite numbers get label -1 and score 0.

    Raises:
        InputError: If shapes do not fit, boxes are inverted or scores lie outside 0..1.
        CaptureError: If the entry is of no known form, or lacks boxes, labels or scores.
    """
    where = f"model output of {form.noun} {position}"
    parts = form.parts(entry)
    if parts is None:
        raise CaptureError(f"{where}: expected {form.expected}, got {describe_shape(entry)}; return one of these")
    absent = [name for name in ("boxes", "labels", "scores") if parts.get(name) is None]
    if absent:
        raise CaptureError(f"{where}: {absent[0]} are missing; return boxes, labels and scores of every predicted box")
    boxes = form.boxes(parts["boxes"], where)
    scores = _column(parts["scores"], "scores", len(boxes), where)
    labels = _labels(parts["labels"], len(boxes), where)
    broken = ~(np.isfinite(boxes).all(axis=1) & np.isfinite(scores))
    boxes[broken], scores[broken], labels[broken] = np.nan, 0.0, -1
    form.check(boxes, where)
    first_label = parts.get("first_label", 0)
    logits = _rows(parts.get("logits"), "logits", len(boxes), where)
    return ImageBoxes(
        boxes,
        labels,
        _scores(scores, where).astype(np.float64),
        _rows(parts.get("features"), "features", len(boxes), where),
        with_background(logits) if first_label and logits is not None else logits,
        _candidates(parts.get("candidates"), where, form, first_label),
        parts.get("size"),
    )


def with_background(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(U, 1 + C)`` logits with a class 0 that is never predicted, for detectors whose labels begin at 1."""
    widened = np.full((len(logits), logits.shape[1] + 1), IMPOSSIBLE, dtype=logits.dtype)
    widened[:, 1:] = logits
    return widened


def _shape(value: Any) -> str:
    return describe_shape(value if is_array(value) else np.asarray(to_float32(value)))


def _column(value: Any, name: str, n_units: int, where: str) -> NDArray[np.float32]:
    column = to_float32(value)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.size == 0 and n_units == 0:
        return np.zeros(0, dtype=np.float32)
    if column.shape != (n_units,):
        raise InputError(f"{where}: expected {name} ({n_units},), one per box, got {_shape(value)}")
    return column


def _labels(value: Any, n_units: int, where: str) -> NDArray[np.int64]:
    column = _column(value, "labels", n_units, where)
    if not (np.isfinite(column) & (column == np.floor(column))).all():
        raise InputError(f"{where}: expected integer class ids as labels, got {column[:5].tolist()}")
    return column.astype(np.int64)


def _scores(scores: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    outside = np.flatnonzero((scores < -SCORE_SLACK) | (scores > 1 + SCORE_SLACK))
    if len(outside):
        raise InputError(
            f"{where}: expected scores in 0..1, got {scores[outside[0]]:g} at position {outside[0]}; return "
            "probabilities: the sigmoid or softmax of logits, or a percentage divided by 100"
        )
    return scores.clip(0, 1)


def _rows(value: Any, name: str, n_units: int, where: str) -> NDArray[np.float32] | None:
    """Vectors, one per box; feature maps per box are averaged over positions. None where there are none."""
    if value is None:
        return None
    rows = to_float32(value)
    if n_units == 0:
        return rows.reshape(0, rows.shape[1]) if rows.ndim == 2 and rows.shape[1] else None
    if rows.ndim < 2 or len(rows) != n_units:
        raise InputError(f"{where}: expected {name} ({n_units}, *), one row per box, got {_shape(value)}")
    return rows.mean(axis=tuple(range(2, rows.ndim))) if rows.ndim > 2 else rows


def _candidates(value: Any, where: str, form: OutputForm, first_label: int) -> Candidates | None:
    if value is None:
        return None
    where = f"{where}, candidates"
    if not isinstance(value, Mapping) or not {"boxes", "scores"} <= set(value):
        raise InputError(
            f"{where}: expected a dict of boxes (M, {form.width}) and scores (M, C), or scores (M,) and labels (M,), "
            f"got {describe_shape(value)}"
        )
    boxes, scores = form.boxes(value["boxes"], where), to_float32(value["scores"])
    if scores.ndim == 2 and scores.shape[1] > 1:
        if len(scores) != len(boxes):
            raise InputError(f"{where}: expected scores ({len(boxes)}, C), one row per box, got {_shape(scores)}")
        place, labels = np.nonzero(scores >= 0)
        boxes, scores, labels = boxes[place], scores[place, labels], labels + first_label
    elif value.get("labels") is None:
        raise InputError(f"{where}: labels (M,) are missing; give them, or scores per class (M, C)")
    else:
        labels = _labels(value["labels"], len(boxes), where)
        scores = _column(scores, "scores", len(boxes), where)
    whole = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    boxes, labels, scores = boxes[whole], labels[whole], scores[whole]
    form.check(boxes, where)
    return Candidates(boxes, labels.astype(np.int64), _scores(scores, where)).best()
