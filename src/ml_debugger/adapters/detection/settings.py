"""How a detector thins out its boxes: what the user asked for, and asking a model for it during one call."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ml_debugger.errors import InputError

__all__ = ["DetectionSettings", "FrameSettings", "point_range", "set_during"]

RANGE_WIDTH: Final = 6


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
        _check(self, self.most())

    @staticmethod
    def most() -> str:
        """The setting that says how many boxes there may be."""
        return "max_detections_per_image"

    def thinning(self) -> dict[str, Any]:
        """The settings of post-processing that were given."""
        return _given(self, self.most())


@dataclass(frozen=True, slots=True)
class FrameSettings:
    """Settings of a detector in point clouds; None is the model's own.

    Attributes:
        n_class: C, the number of classes; labels are 0..C-1, or 1..C where the model counts the background.
        score_thresh: Least score of a box, 0..1.
        iou_thresh: Overlap seen from above from which the worse of two boxes of one class is dropped, 0..1.
        max_detections_per_frame: Most boxes of one frame.
        pc_range: Where the scene begins and ends, x y z x y z in metres.

    Raises:
        InputError: If a value cannot be right.
    """

    n_class: int | None = None
    score_thresh: float | None = None
    iou_thresh: float | None = None
    max_detections_per_frame: int | None = None
    pc_range: Sequence[float] | None = None

    def __post_init__(self) -> None:
        _check(self, self.most())
        if self.pc_range is not None:
            object.__setattr__(self, "pc_range", point_range(self.pc_range))

    @staticmethod
    def most() -> str:
        """The setting that says how many boxes there may be."""
        return "max_detections_per_frame"

    def thinning(self) -> dict[str, Any]:
        """The settings of post-processing that were given."""
        return _given(self, self.most())


def _check(settings: DetectionSettings | FrameSettings, most: str) -> None:
    for name in ("n_class", most):
        value = getattr(settings, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InputError(f"{name}: expected None or an int of at least 1, got {value!r}")
    for name in ("score_thresh", "iou_thresh"):
        value = getattr(settings, name)
        if value is not None and (isinstance(value, bool) or not _is_share(value)):
            raise InputError(f"{name}: expected None or a number in 0..1, got {value!r}")


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _given(settings: DetectionSettings | FrameSettings, most: str) -> dict[str, Any]:
    names = ("score_thresh", "iou_thresh", most)
    return {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}


def point_range(value: Any) -> tuple[float, ...]:
    """Where a scene begins and ends, from six numbers in a list, an array or a tensor.

    Raises:
        InputError: If they are not six, or it ends where it begins.
    """
    listed = value.tolist() if hasattr(value, "tolist") else value
    try:
        numbers = tuple(float(number) for number in listed)
    except (TypeError, ValueError):
        numbers = ()
    whole = len(numbers) == RANGE_WIDTH and all(map(math.isfinite, numbers))
    if not whole or any(low >= high for low, high in zip(numbers[:3], numbers[3:], strict=True)):
        raise InputError(
            "pc_range: expected None or six finite numbers in metres, x y z where the scene begins, then those where "
            f"it ends, such as (0, -40, -3, 70.4, 40, 1), got {value!r}"
        )
    return numbers


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
