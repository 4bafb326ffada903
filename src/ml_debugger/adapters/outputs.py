"""Finding the logits in whatever a classifier returns.

Read are, in this order: an array; a mapping, a transformers ``ModelOutput``, a dataclass or a named tuple by the
names in `LOGIT_NAMES`, else its first fitting part; a tuple or list by its first fitting part; an object with an
attribute ``logits``. A part fits when it is a floating-point array ``(B, C)`` (or ``(B, C, 1, 1)``); ``(B,)`` and
``(B, 1)`` are one logit per input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ml_debugger.adapters.arrays import describe_shape, is_array, is_float_array, shape_of
from ml_debugger.errors import CaptureError, InputError

__all__ = ["FEATURE_NAMES", "LOGIT_NAMES", "find_features", "find_logits", "parts_of"]

LOGIT_NAMES: Final = (
    "logits",
    "logit",
    "out",
    "output",
    "outputs",
    "probs",
    "probabilities",
    "predictions",
    "preds",
    "pred",
    "scores",
)
FEATURE_NAMES: Final = ("features", "feature", "embeddings", "embedding")


def find_logits(output: Any, n_inputs: int) -> Any:
    """The part of a classifier's output that holds the logits, as a view ``(B, C)``; still the framework's own array.

    Raises:
        InputError: If the rows are not B, or the output is a map per pixel or per token.
        CaptureError: If no part holds floating-point numbers.
    """
    parts = parts_of(output)
    arrays = [(name, part) for name, part in parts if is_float_array(part)]
    ranked = sorted(arrays, key=lambda item: LOGIT_NAMES.index(item[0]) if item[0] in LOGIT_NAMES else len(LOGIT_NAMES))
    for _, part in ranked:
        rows = _as_rows(part, n_inputs)
        if rows is not None and shape_of(rows)[0] == n_inputs:
            return rows
    raise _refusal(output, [part for _, part in ranked], n_inputs)


def find_features(output: Any, logits: Any, n_inputs: int) -> Any | None:
    """The features that a callable returned beside its logits; None where it returned none.

    Of a mapping the part named so; of a tuple or list the first array of B rows after the logits.
    """
    parts = parts_of(output)
    named = [part for name, part in parts if name in FEATURE_NAMES and part is not None]
    if named:
        return named[0]
    if any(name is not None for name, _ in parts) or len(parts) < 2:
        return None
    after = False
    for _, part in parts:
        if after and is_float_array(part) and len(shape_of(part)) >= 2 and shape_of(part)[0] == n_inputs:
            return part
        after = after or part is logits or (is_float_array(part) and _as_rows(part, n_inputs) is not None)
    return None


def parts_of(output: Any) -> list[tuple[str | None, Any]]:
    """The parts of an output with their names, None for positions; lists of numbers or rows count as one array."""
    if is_array(output):
        return [(None, output)]
    if isinstance(output, Mapping):
        return [(str(name), part) for name, part in output.items()]
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return [(field.name, getattr(output, field.name)) for field in dataclasses.fields(output)]
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return list(zip(output._fields, output, strict=True))
    if isinstance(output, list | tuple):
        return _parts_of_sequence(output)
    if is_array(getattr(output, "logits", None)):
        return [("logits", output.logits)]
    if hasattr(output, "__array__"):
        return [(None, np.asarray(output))]
    return []


def _parts_of_sequence(output: list[Any] | tuple[Any, ...]) -> list[tuple[str | None, Any]]:
    if isinstance(output, list) and all(_is_row(item) for item in output):
        return [(None, _stack(output))]
    parts: list[tuple[str | None, Any]] = []
    for item in output:
        if is_array(item) or item is None:
            parts.append((None, item))
        elif isinstance(item, list) and item and all(_is_row(row) for row in item):
            parts.append((None, _stack(item)))
        else:
            parts.extend((None, part) for _, part in parts_of(item))
    return parts


def _is_row(item: Any) -> bool:
    """A number, or a flat sequence of numbers."""
    if isinstance(item, list | tuple):
        return all(isinstance(value, int | float) or (is_array(value) and shape_of(value) == ()) for value in item)
    return isinstance(item, float | int) or (is_array(item) and len(shape_of(item)) <= 1)


def _stack(rows: list[Any]) -> Any:
    plain = [row.detach().float().cpu().numpy() if hasattr(row, "detach") else row for row in rows]
    if not plain:
        return np.zeros((0, 0), dtype=np.float64)
    try:
        return np.asarray(plain)
    except ValueError:
        return np.empty(0, dtype=object)  # ragged: no array, refused by the caller


def _as_rows(part: Any, n_inputs: int) -> Any | None:
    """The part as (rows, C), or None where it is a map, a sequence or a single number."""
    shape = shape_of(part)
    if len(shape) > 2 and all(size == 1 for size in shape[2:]):
        return part.reshape(shape[:2])
    if len(shape) == 2:
        return part
    if len(shape) == 1:
        return part.reshape(1, -1) if n_inputs == 1 and shape[0] != 1 else part.reshape(-1, 1)
    return None


def _refusal(output: Any, arrays: list[Any], n_inputs: int) -> Exception:
    """The error that says why no part of the output holds logits."""
    for part in arrays:
        if _as_rows(part, n_inputs) is not None:
            rows = shape_of(part)[0]
            return InputError(
                f"input_ids: {n_inputs} ids were given, but the model returned logits for {rows} inputs "
                f"({describe_shape(part)}); give one id per input of the batch"
            )
    for part in arrays:
        if len(shape_of(part)) >= 3:
            kind = "pixel" if len(shape_of(part)) >= 4 else "token or position"
            return InputError(
                f"model output: expected logits (B, C), one row per input, got {describe_shape(part)}, one per {kind}; "
                "segmentation and token tasks are not supported: return one row of logits per input, for example the "
                "logits averaged over positions"
            )
    inside = ", ".join(f"{name or i}: {describe_shape(part)}" for i, (name, part) in enumerate(parts_of(output)))
    return CaptureError(
        f"model output: expected floating-point logits ({n_inputs}, C), got {describe_shape(output)}"
        + (f" holding {inside}" if inside and not is_array(output) else "")
        + "; return logits or probabilities per class (not labels), alone, first in a tuple, or as {'logits': ...}"
    )
