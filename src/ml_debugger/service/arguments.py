"""What people give to the calls, checked and made plain before it is used, stored or sent."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from typing import Any, cast

from ml_debugger.errors import ConfigError, InputError
from ml_debugger.types import Epoch

__all__ = ["check_result_name", "check_selector", "plain_options"]


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


def check_selector(n_epoch: Any) -> Epoch:
    """Which epoch is meant: ``"latest"``, ``"all"``, None, or a number as a plain int.

    Raises:
        InputError: If it is anything else.
    """
    if n_epoch is None or (isinstance(n_epoch, str) and n_epoch in ("latest", "all")):
        return cast(Epoch, n_epoch)
    try:
        number = -1 if isinstance(n_epoch, bool) else operator.index(n_epoch)
    except TypeError:
        number = -1
    if not 0 <= number < 2**63:
        raise InputError(f"n_epoch: expected 'latest', 'all', None or an int of at least 0, got {n_epoch!r}")
    return number


def check_result_name(wanted: Any) -> str | None:
    """A name for a result; None: a new one is to be made.

    Raises:
        InputError: If it is no name.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, str) or not wanted.strip() or not wanted.isprintable():
        raise InputError(f"result_name: expected a non-empty printable str, or None for a new name, got {wanted!r}")
    return wanted
