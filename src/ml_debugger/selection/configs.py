"""What a user may configure, checked when it is built: ``FilterConfig`` and ``SamplingConfig``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from ml_debugger.columns import NUMERIC_COLUMNS, ZONES
from ml_debugger.errors import ConfigError
from ml_debugger.selection.conditions import OPERATORS, Condition, parse_condition

__all__ = ["Config", "ConfigCheck", "FilterConfig", "SamplingConfig"]


def _plain(value: Any) -> Any:
    """NumPy scalars as Python's own, so that strict types accept them."""
    return value.item() if isinstance(value, np.generic) else value


Number = Annotated[float, BeforeValidator(_plain), Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_plain), Field(strict=True, ge=1)]
Seed = Annotated[int, BeforeValidator(_plain), Field(strict=True, ge=0)]
Text = Annotated[str, Field(strict=True)]


@dataclass(frozen=True, slots=True)
class ConfigCheck:
    """Answer of ``validate_dict``: the config if the dict is valid, else None, and a message that guides to one."""

    is_valid: bool
    config: Any
    message: str


class Config(BaseModel):
    """Base of the configs: unknown keys are refused, instances are frozen, a mistake is a ConfigError with a guide."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    guide: ClassVar[str] = ""

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ConfigError(_explain(type(self), error)) from None

    @classmethod
    def read(cls, value: Any, argument: str) -> Self:
        """A config from an instance or a dict.

        Raises:
            ConfigError: If it is neither, or the dict is not valid; the message says what is allowed.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise ConfigError(f"{argument}: expected a {cls.__name__} or a dict, got {value!r}. {cls.guide}")
        return cls(**value)

    @classmethod
    def validate_dict(cls, data: Any) -> ConfigCheck:
        """Check a dict without raising; the answer carries the config or a guide to a valid one."""
        try:
            config = cls.read(data, cls.__name__)
        except ConfigError as error:
            return ConfigCheck(False, None, str(error))
        return ConfigCheck(True, config, f"valid {cls.__name__}: {config!r}")


class FilterConfig(Config):
    """Which rows to select: those in one of the zones, or meeting one of the conditions.

    Args:
        target_zones: Zone names; a row in any of them is selected.
        conditions: Dicts of column to operator and number. All keys of one dict must hold (AND); one dict of the
            list is enough (OR). Zones and conditions together are OR as well.

    Raises:
        ConfigError: On an unknown key, zone or operator, a value that is not a finite number, or nothing to select
            by.

    Examples:
        >>> FilterConfig(conditions=[{"error_proba": ">=0.5", "score": "<0.7"}]).parsed[0][0]
        Condition(column='error_proba', operator='>=', value=0.5)
    """

    guide: ClassVar[str] = (
        'Allowed keys: target_zones, a list of zones, and conditions, a list such as [{"error_proba": ">=0.5", '
        f'"score": "<0.7"}}]. Zones: {", ".join(ZONES)}. Operators: {", ".join(OPERATORS)}. '
        f"Columns: {', '.join(NUMERIC_COLUMNS)} (those the task has) and numeric additional_fields."
    )

    target_zones: tuple[Text, ...] = ()
    conditions: tuple[dict[Text, Text], ...] = ()

    @property
    def descending(self) -> bool:
        """Whether the greatest error probability comes first: it does."""
        return True

    @property
    def gives_flags(self) -> bool:
        """Whether live calls are flagged: they are."""
        return True

    @property
    def may_be_short(self) -> bool:
        """Whether a query means "up to" so many: it does."""
        return True

    @property
    def parsed(self) -> tuple[tuple[Condition, ...], ...]:
        """The conditions, parsed: an OR of ANDs."""
        return tuple(tuple(parse_condition(*item) for item in group.items()) for group in self.conditions)

    @field_validator("target_zones", mode="after")
    @classmethod
    def _check_zones(cls, zones: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(zones) - set(ZONES))
        if unknown:
            raise ConfigError(f"no such zone: {', '.join(map(repr, unknown))}")
        return zones

    @field_validator("conditions", mode="after")
    @classmethod
    def _check_conditions(cls, groups: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
        for group in groups:
            if not group:
                raise ConfigError("a condition dict is empty; name at least one column")
            for column, text in group.items():
                parse_condition(column, text)
        return groups

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if not self.target_zones and not self.conditions:
            raise ConfigError("nothing to select by: give target_zones, conditions or both")
        return self


class SamplingConfig(Config):
    """Draw at random among the candidates of a query instead of taking the best first.

    Args:
        method: ``"random"`` draws from the candidates whose rank value lies within the bounds; ``"class_balanced"``
            draws a quota per predicted class.
        min_per_class: For class_balanced: how many to aim for per class, taken in turns. A target, not a guarantee:
            classes without candidates are skipped and ``n_data`` may run out; what is left of ``n_data`` is drawn
            from all. None takes turns until ``n_data`` is reached.
        seed: For random: draws differ by seed (None: that of the query). Ignored by class_balanced, which always
            draws the same.
        min_value: Inclusive lower bound on the rank value.
        max_value: Inclusive upper bound on the rank value.

    Raises:
        ConfigError: On an unknown key or method, a value of the wrong type, random without a bound, min_per_class
            without class_balanced, or bounds that exclude everything.
    """

    guide: ClassVar[str] = (
        'Allowed keys: method ("random" or "class_balanced"), min_value and max_value (finite numbers; random needs '
        "one of them), seed (an int, for random), min_per_class (an int of at least 1, for class_balanced)."
    )

    method: Literal["random", "class_balanced"]
    min_per_class: Count | None = None
    seed: Seed | None = None
    min_value: Number | None = None
    max_value: Number | None = None

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.method == "random" and self.min_value is None and self.max_value is None:
            raise ConfigError('method "random" needs min_value, max_value or both')
        if self.method == "random" and self.min_per_class is not None:
            raise ConfigError('min_per_class belongs to method "class_balanced"')
        if self.min_value is not None and self.max_value is not None and self.min_value > self.max_value:
            raise ConfigError(f"min_value {self.min_value} is above max_value {self.max_value}")
        return self


# in the words of Python users, not of pydantic's types
_EXPECTED: Final = {"tuple_type": "expected a list", "string_type": "expected a str"}


def _explain(config: type[Config], error: ValidationError) -> str:
    """Where, what was expected, what came, and what is allowed."""
    problems = []
    for item in error.errors(include_url=False):
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
        cause = item.get("ctx", {}).get("error")
        expected = _EXPECTED.get(item["type"], item["msg"])
        text = str(cause) if cause is not None else f"{expected}, got {item['input']!r}"
        problems.append(f"{place}: {text}" if place else text)
    return f"{config.__name__}: {'; '.join(problems)}. {config.guide}"
