"""Conditions such as ``{"error_proba": ">=0.5", "score": "<0.7"}``: reading, writing, and what each operator does."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from ml_debugger.errors import ConfigError

__all__ = ["OPERATORS", "Condition", "format_condition", "parse_condition"]

# The functions work alike on NumPy arrays, on dataframe expressions and on plain numbers.
OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_CONDITION = re.compile(rf"\s*(>=|<=|==|!=|>|<)\s*({_NUMBER})\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """``column operator value``. A row whose column is null or NaN matches no condition, not even ``!=``."""

    column: str
    operator: str
    value: float


@lru_cache(maxsize=1024)
def parse_condition(column: str, text: str) -> Condition:
    """Read a condition on ``column``, written as operator and number: ``">=0.8"``.

    Raises:
        ConfigError: If it is not one of the six operators followed by a finite number; the message lists the
            operators.
    """
    found = _CONDITION.fullmatch(text)
    value = float(found[2]) if found else math.nan
    if found is None or not math.isfinite(value):
        raise ConfigError(
            f"condition on {column!r}: expected an operator ({', '.join(OPERATORS)}) and a finite number, such as "
            f"'>=0.8', got {text!r}"
        )
    return Condition(column, found[1], value)


def format_condition(condition: Condition) -> str:
    """The text that ``parse_condition`` reads back as the same condition."""
    return f"{condition.operator}{condition.value!r}"
