"""The numbers of matching predicted with annotated boxes: thresholds, and what overlap means, by class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import ConfigError

__all__ = ["MEASURES", "MatchSettings"]

MEASURES: Final = ("iou_bev", "iou_3d", "distance")
"""What overlap of boxes in 3D can mean: seen from above (the default), of volumes, or by distance of the centres."""

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """Every number of the matching.

    Attributes:
        foreground_iou: Overlap from which on a predicted box is in the right place.
        background_iou: Overlap below which two boxes have nothing to do with each other.
        inside_share: Share of a box's area from which on it lies inside another.
        iou_tolerance: A code is certain if it stays the same with all three moved up or down by so much.
        foreground_iou_by_class: Overlaps of single classes, by class id of the annotation.
        background_iou_by_class: Likewise.
        measure: What overlap means, one of `MEASURES`; in 3D only, where None is ``"iou_bev"``.
        measure_by_class: Of single classes, by class id of the annotation.
        centre_distance: With ``"distance"``, metres between the centres, on the ground, up to which a box is in the
            right place as long as ``foreground_iou`` is .5: the overlap is ``1 - distance / (2 * centre_distance)``.
        centre_distance_by_class: Of single classes, by class id of the annotation.

    Raises:
        ConfigError: If a number is out of its range, or a background above its foreground.
    """

    foreground_iou: float = 0.5
    background_iou: float = 0.1
    inside_share: float = 0.5
    iou_tolerance: float = 0.05
    foreground_iou_by_class: Mapping[int, float] = field(default_factory=dict)
    background_iou_by_class: Mapping[int, float] = field(default_factory=dict)
    measure: str | None = None
    measure_by_class: Mapping[int, str] = field(default_factory=dict)
    centre_distance: float = 2.0
    centre_distance_by_class: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shares = {"inside_share": self.inside_share}
        for name in ("foreground_iou", "background_iou"):
            shares |= _with_exceptions(self, name)
        for name, value in shares.items():
            if not 0.0 < value <= 1.0:
                raise ConfigError(f"{name}: expected more than 0 and at most 1, got {value}")
        if not 0.0 <= self.iou_tolerance < 0.5:
            raise ConfigError(f"iou_tolerance: expected at least 0 and less than 0.5, got {self.iou_tolerance}")
        named = np.array([-1, *self.foreground_iou_by_class, *self.background_iou_by_class], dtype=np.int64)
        foreground, background = self.foreground(named), self.background(named)
        for label in named[background > foreground].tolist():
            raise ConfigError(
                f"background_iou{'' if label < 0 else f' of class {label}'}: expected at most the foreground_iou"
            )
        for name, value in _with_exceptions(self, "centre_distance").items():
            if not 0.0 < value < math.inf:
                raise ConfigError(f"{name}: expected a finite number of metres above 0, got {value}")
        for name, value in _with_exceptions(self, "measure").items():
            if value is not None and value not in MEASURES:
                raise ConfigError(f"{name}: expected one of {', '.join(MEASURES)}, got {value!r}")

    def foreground(self, label: Int64) -> Float64:
        """``(U,)`` foreground overlap of each class."""
        return _by_class(label, self.foreground_iou, self.foreground_iou_by_class)

    def background(self, label: Int64) -> Float64:
        """``(U,)`` background overlap of each class."""
        return _by_class(label, self.background_iou, self.background_iou_by_class)

    def measured_by(self, label: Int64) -> Int64:
        """``(G,)`` position in `MEASURES` of what overlap with each class means."""
        exceptions = {one: float(MEASURES.index(name)) for one, name in self.measure_by_class.items()}
        return _by_class(label, MEASURES.index(self.measure or MEASURES[0]), exceptions).astype(np.int64)

    def reach(self, label: Int64) -> Float64:
        """``(G,)`` metres between the centres from which on nothing overlaps; 0 for other measures."""
        metres = 2.0 * _by_class(label, self.centre_distance, self.centre_distance_by_class)
        return np.where(self.measured_by(label) == MEASURES.index("distance"), metres, 0.0)

    def to_json(self) -> dict[str, Any]:
        """The settings by name; class ids as text, as JSON has them."""
        values = asdict(self)
        for name in _BY_CLASS:
            values[name] = {str(label): share for label, share in values[name].items()}
        return values

    @classmethod
    def read(cls, values: Any) -> MatchSettings:
        """Settings from an instance, or from a dict of some of them; class ids may be text.

        Raises:
            ConfigError: On an unknown name or a value that is not a number; the message lists the names.
        """
        if isinstance(values, cls):
            return values
        names = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or not set(values) <= set(names):
            raise ConfigError(f"matching: expected a dict with some of {', '.join(names)}, got {values!r}")
        given: dict[str, Any] = {
            name: _read_by_class(name, value) if name in _BY_CLASS else _read(name, value)
            for name, value in values.items()
        }
        return cls(**given)


_BY_CLASS: Final = tuple(one.name for one in fields(MatchSettings) if one.name.endswith("_by_class"))


def _with_exceptions(settings: MatchSettings, name: str) -> dict[str, Any]:
    """A setting and those of single classes, by how a message names them."""
    by_class = getattr(settings, f"{name}_by_class")
    return {name: getattr(settings, name)} | {f"{name}_by_class[{label}]": value for label, value in by_class.items()}


def _read(name: str, value: Any) -> float | str | None:
    if name.startswith("measure"):
        if value is None and name == "measure":
            return None
        if not isinstance(value, str):
            raise ConfigError(f"{name}: expected one of {', '.join(MEASURES)}, got {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{name}: expected a number, got {value!r}")
    return float(value)


def _read_by_class(name: str, value: Any) -> dict[int, float | str | None]:
    if not isinstance(value, Mapping) or not all(str(label).isdecimal() for label in value):
        kind = "one of its names" if name.startswith("measure") else "number"
        raise ConfigError(f"{name}: expected a dict of class id to {kind}, got {value!r}")
    return {int(label): _read(f"{name}[{label}]", one) for label, one in value.items()}


def _by_class(label: Int64, value: float, exceptions: Mapping[int, float]) -> Float64:
    values = np.full(len(label), float(value))
    for one, other in exceptions.items():
        values[label == one] = other
    return values
