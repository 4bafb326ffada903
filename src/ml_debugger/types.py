"""Values that pass between the layers.

Shape letters, used in every docstring: B inputs in a batch, U units, G truths, C classes, D feature width, N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import InputError

__all__ = ["Epoch", "Field", "ModelOutput", "Scope"]

Epoch: TypeAlias = int | Literal["latest", "all"] | None
Scope: TypeAlias = Literal["run", "pass"]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]

BOX_WIDTHS = (4, 7)


@dataclass(frozen=True, slots=True)
class Field:
    """One additional column: its name and type (``"int"``, ``"float"``, ``"str"`` or ``"bool"``)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What a model said about one batch, flat over the batch: one entry per unit.

    Attributes:
        n_inputs: B, the number of inputs in the batch.
        input_index: ``(U,)`` int64, position in the batch of the input each unit belongs to, 0..B-1.
        label: ``(U,)`` int64, predicted class; -1 where the model gave no usable prediction (NaN).
        score: ``(U,)`` float64 in 0..1, the model's own confidence.
        features: ``(U, D)`` float32, internal features, or None when the model shows none.
        logits: ``(U, C)`` float32, or None.
        boxes: ``(U, 4)`` pixels x1 y1 x2 y2, or ``(U, 7)`` centre x y z, sizes dx dy dz along the box axes (metres)
            and yaw (radians, counter-clockwise about +z from +x), or None.
        context: ``(U, K)`` float32 per-unit extras (pre-NMS statistics), or None.
        unit: ``(U,)`` int64, position of each unit in its input's output as the user gets it; None where every entry of
            the output is a unit, in order.
        frame_context: ``(B, F)`` float32 per-input extras (candidates below the threshold), or None.

    Raises:
        InputError: If lengths, widths or indices do not fit together.
    """

    n_inputs: int
    input_index: IntArray
    label: IntArray
    score: FloatArray
    features: FloatArray | None = None
    logits: FloatArray | None = None
    boxes: FloatArray | None = None
    context: FloatArray | None = None
    unit: IntArray | None = None
    frame_context: FloatArray | None = None

    def __post_init__(self) -> None:
        units = len(self.input_index)
        for name in ("label", "score"):
            _check_shape(name, getattr(self, name), units, 1)
        if self.unit is not None:
            _check_shape("unit", self.unit, units, 1)
        for name in ("features", "logits", "boxes", "context"):
            value = getattr(self, name)
            if value is not None:
                _check_shape(name, value, units, 2)
        if self.frame_context is not None and (self.frame_context.ndim, len(self.frame_context)) != (2, self.n_inputs):
            raise InputError(
                f"frame_context: expected shape ({self.n_inputs}, *), one entry per input, got "
                f"{self.frame_context.shape}"
            )
        if self.boxes is not None and self.boxes.shape[1] not in BOX_WIDTHS:
            raise InputError(f"boxes: expected width 4 (2D) or 7 (3D), got {self.boxes.shape[1]}")
        if units and not (0 <= int(self.input_index.min()) and int(self.input_index.max()) < self.n_inputs):
            raise InputError(f"input_index: expected values in 0..{self.n_inputs - 1}, the positions in the batch")


def _check_shape(name: str, value: FloatArray | IntArray, units: int, ndim: int) -> None:
    if value.ndim != ndim or len(value) != units:
        expected = f"({units},)" if ndim == 1 else f"({units}, *)"
        raise InputError(f"{name}: expected shape {expected}, one entry per unit, got {value.shape}")
