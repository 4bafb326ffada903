"""What no text of a request may hold."""

from __future__ import annotations

from typing import Any

from ml_debugger.errors import InputError

__all__ = ["check_text"]

_MAX_DEPTH = 32


def check_text(value: Any, depth: int = 0) -> None:
    """Refuse what a database or file system cannot keep, wherever in a JSON value it is.

    Raises:
        InputError: If a text has the character U+0000 or half of a surrogate pair, or values are nested too deeply.
    """
    if depth > _MAX_DEPTH:
        raise InputError(f"body: expected values nested at most {_MAX_DEPTH} deep")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise InputError("body: a text holds a character that cannot be kept (U+0000, or half of a surrogate pair)")
    elif isinstance(value, dict):
        for name, item in value.items():
            check_text(name, depth + 1)
            check_text(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            check_text(item, depth + 1)
