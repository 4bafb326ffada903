"""How a detector thins out its boxes: what the user asked for, and asking a model for it during one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ml_debugger.errors import InputError

__all__ = ["DetectionSettings", "set_during"]


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """Settings of a detector; None is the model's own.

    Attributes:
        n_class: C, the number of classes; labels are 0..C-1.
        score_thresh: Least score of a box, 0..1.
        iou_thresh: Overlap from which the worse of two boxes of one class is dropped, 0..1.
        max_detections_per_image: Most boxes of one image.

    Raises:
        InputError: If a value cannot be right.
    """

    n_class: int | None = None
    score_thresh: float | None = None
    iou_thresh: float | None = None
    max_detections_per_image: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_class", "max_detections_per_image"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name}: expected None or an int of at least 1, got {value!r}")
        for name in ("score_thresh", "iou_thresh"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not _is_share(value)):
                raise InputError(f"{name}: expected None or a number in 0..1, got {value!r}")

    def thinning(self) -> dict[str, Any]:
        """The settings of post-processing that were given."""
        names = ("score_thresh", "iou_thresh", "max_detections_per_image")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


@contextmanager
def set_during(owner: Any, attributes: Mapping[str, Any]) -> Iterator[None]:
    """Attributes of a model set inside the ``with`` block, and as before after it, also after an error."""
    before = {name: getattr(owner, name) for name in attributes}
    try:
        for name, value in attributes.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
