"""Thresholds in the configuration that a detector carries: reading them, and others in force for one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Knob", "find_knob", "read", "turned"]


@dataclass(frozen=True, slots=True)
class Knob:
    """One threshold in a configuration.

    Attributes:
        config: A mapping, or an object with attributes.
        name: Of the threshold in it.
    """

    config: Any
    name: str

    def value(self) -> Any:
        """What it is set to."""
        return read(self.config, self.name)

    def turn(self, value: Any) -> None:
        """Set it."""
        if isinstance(self.config, MutableMapping):
            self.config[self.name] = value
        else:
            setattr(self.config, self.name, value)


def read(config: Any, name: str) -> Any:
    """An entry of a mapping, or an attribute; None where there is none."""
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def find_knob(configs: Sequence[Any], names: Sequence[str]) -> Knob | None:
    """The first of these names in the first of these configurations that holds one number.

    A list, as of thresholds class by class, is no knob: one number cannot take its place.
    """
    pairs = ((config, name) for config in configs for name in names)
    return next((Knob(config, name) for config, name in pairs if _is_number(read(config, name))), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@contextmanager
def turned(knobs: Sequence[tuple[Knob, Any]]) -> Iterator[None]:
    """Thresholds set inside the ``with`` block, and as before after it, also after an error."""
    before = [(knob, knob.value()) for knob, _ in knobs]
    try:
        for knob, value in knobs:
            knob.turn(value)
        yield
    finally:
        for knob, value in before:
            knob.turn(value)
