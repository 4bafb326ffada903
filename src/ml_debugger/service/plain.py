"""Options as JSON has them: NumPy's values as Python's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ml_debugger.errors import ConfigError

__all__ = ["plain_options"]


def plain_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options that can be sent, and stored with a result.

    Raises:
        ConfigError: If they hold anything but names, numbers and lists of them.
    """

    def plain(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return value.tolist()
        raise TypeError(f"{value!r} of type {type(value).__name__}")

    try:
        found: dict[str, Any] = json.loads(json.dumps(dict(options or {}), default=plain))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"options: expected a dict of names, numbers and lists of them, got {error}") from None
    return found
