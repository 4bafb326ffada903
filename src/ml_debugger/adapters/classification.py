"""From what a classifier returned to logits, label and score."""

from __future__ import annotations

import logging
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.arrays import resolution, to_float32
from ml_debugger.errors import CaptureError, MLDebuggerWarning, warn
from ml_debugger.types import ModelOutput

__all__ = ["Kind", "LogitReader", "classification_output", "kind_of"]

Kind = Literal["logits", "probabilities", "one_logit", "one_probability", "sigmoids"]
logger = logging.getLogger(__name__)

# A probability of exactly 0 (a random forest's) becomes log(1e-12) = -27.6: far, but finite.
SMALLEST_PROBABILITY: Final = 1e-12
# One column inside 0..1 is taken for probabilities only when a first batch is large enough to make chance implausible.
SURE_ROWS: Final = 8


class LogitReader:
    """Turns a classifier's rows into logits ``(B, C)``, the same way for the whole life of a tracer or filter.

    The kind of the rows is decided on the first batch that has a finite row:

    - one column ``(B,)`` or ``(B, 1)``, *one_logit*: logits ``(0, z)`` of the classes 0 and 1;
    - one column of at least eight rows, all in 0..1, *one_probability* of class 1 (fewer such rows cannot be told
      from logits,
      are read as logits, and a warning says so);
    - rows that are all in 0..1 and sum to 1, *probabilities*: logits ``log(max(p, 1e-12))``;
    - everything else, *logits*.

    Where the layer that made the rows is known, that knowledge decides instead (``known``).
    """

    def __init__(self) -> None:
        self.kind: Kind | None = None

    def read(self, rows: Any, known: Kind | None = None) -> NDArray[np.float32]:
        """Logits ``(B, C)`` float32 of rows ``(B, C)`` from any framework.

        Raises:
            CaptureError: If earlier batches were probabilities and this one is not.
        """
        values = to_float32(rows)
        tolerance = max(1e-4, resolution(rows))
        if self.kind is None:
            self.kind = known or kind_of(values, tolerance)
            if self.kind in ("probabilities", "one_probability"):
                logger.info("the model returns probabilities; their logarithms are recorded as logits")
        kind = self.kind or ("one_logit" if values.shape[1] == 1 else "logits")
        if kind in ("probabilities", "one_probability") and not _looks_like(values, kind, tolerance):
            raise CaptureError(
                "model output: earlier batches held probabilities (0..1, rows summing to 1), this one does not; return "
                "either logits or probabilities on every call"
            )
        logits: NDArray[np.float32] = _TO_LOGITS[kind](values.astype(np.float64)).astype(np.float32)
        return logits


def kind_of(values: NDArray[np.float32], tolerance: float = 1e-4) -> Kind | None:
    """What rows ``(B, C)`` are, by their values; None where no row is finite. `LogitReader` documents the rule."""
    finite = values[np.isfinite(values).all(axis=1)]
    if not len(finite):
        return None
    if values.shape[1] > 1:
        return "probabilities" if _looks_like(finite, "probabilities", tolerance) else "logits"
    if not _looks_like(finite, "one_probability", tolerance):
        return "one_logit"
    if len(finite) >= SURE_ROWS:
        return "one_probability"
    warn(
        f"the model returned one number per input, all in 0..1, for only {len(finite)} inputs: read as logits of "
        "class 1; if they are probabilities, return both columns (1 - p, p) instead",
        MLDebuggerWarning,
    )
    return "one_logit"


def _looks_like(values: NDArray[np.float32], kind: Kind, tolerance: float) -> bool:
    finite = values[np.isfinite(values).all(axis=1)]
    inside = bool(((finite >= -tolerance) & (finite <= 1 + tolerance)).all())
    if kind == "one_probability":
        return inside
    return inside and bool((np.abs(finite.sum(axis=1, dtype=np.float64) - 1) <= tolerance).all())


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(values, SMALLEST_PROBABILITY))


def _log_odds(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return _log(values) - _log(1 - values)


def _two_classes(column: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros_like(column), column], axis=1)


_TO_LOGITS: Final = {
    "logits": lambda values: values,
    "probabilities": _log,
    "one_logit": _two_classes,
    "one_probability": lambda values: _two_classes(_log_odds(values)),
    "sigmoids": _log_odds,
}


def classification_output(logits: NDArray[np.float32], features: NDArray[np.float32] | None) -> ModelOutput:
    """One unit per input, with the label and score that the logits give.

    Args:
        logits: ``(B, C)`` float32.
        features: ``(B, D)`` float32, or None.

    Rows with a NaN, or whose largest logit is infinite, have label -1 and score 0; everything else about them is
    kept.
    """
    n_inputs, n_classes = logits.shape
    label = np.full(n_inputs, -1, dtype=np.int64)
    score = np.zeros(n_inputs, dtype=np.float64)
    if n_classes:
        top = logits.max(axis=1).astype(np.float64)  # NaN when any is NaN
        usable = np.isfinite(top)
        label[usable] = logits[usable].argmax(axis=1)
        score[usable] = 1 / np.exp(logits[usable].astype(np.float64) - top[usable, None]).sum(axis=1)
    return ModelOutput(n_inputs, np.arange(n_inputs, dtype=np.int64), label, score, features, logits)
