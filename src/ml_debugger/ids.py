"""Input ids: any list, array or tensor of strings or integers in, strings at rest, the same kind out again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from ml_debugger.errors import InputError

__all__ = ["InputIds", "parse_ids", "restore_ids"]

INT = "int"
STR = "str"


@dataclass(frozen=True, slots=True)
class InputIds:
    """B ids as stored: their text, and how each was given (``"int"`` or ``"str"``)."""

    text: tuple[str, ...]
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.text)


def parse_ids(input_ids: Any, argument: str = "input_ids", *, ordered: bool = True) -> InputIds:
    """Ids as strings with their kinds, from a list, tuple, NumPy array or tensor.

    Args:
        input_ids: The ids.
        argument: What the user calls them, for messages.
        ordered: Whether each id belongs to the input at its position; a set is then refused, since it has no order.

    Raises:
        InputError: If it is not a sequence of strings or integers.
    """
    values = input_ids.tolist() if hasattr(input_ids, "tolist") else input_ids
    if ordered and isinstance(values, (Set, Mapping)):
        raise InputError(
            f"{argument}: expected a list, array or tensor with one id per input, in the order of the inputs, got a "
            f"{type(values).__name__}, which has no such order"
        )
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise InputError(
            f"{argument}: expected one id per input (a list, array or tensor of str or int), got {input_ids!r}; "
            "for a single input pass a list of one id"
        )
    values = list(values)
    if all(type(value) is int for value in values):  # the usual case, and it runs in the user's loop
        return InputIds(tuple(map(str, values)), (INT,) * len(values))
    pairs = [_parse_one(value, argument, position) for position, value in enumerate(values)]
    return InputIds(tuple(text for text, _ in pairs), tuple(kind for _, kind in pairs))


def restore_ids(text: Sequence[str], kinds: Sequence[str], type_cast: Callable[[str], Any] | None = None) -> list[Any]:
    """Ids as the user gave them, or each passed through ``type_cast``.

    Raises:
        InputError: If ``type_cast`` cannot convert an id; the message names the id.
    """
    if type_cast is None:
        return [int(value) if kind == INT else value for value, kind in zip(text, kinds, strict=True)]
    return [_cast(value, type_cast) for value in text]


def _parse_one(value: Any, argument: str, position: int) -> tuple[str, str]:
    if not isinstance(value, (str, int)) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str) and value and (value.isascii() or _is_unicode(value)):
        # np.str_ is a str subclass: str() gives the plain one
        return str(value), STR
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value)), INT
    raise InputError(
        f"{argument}[{position}]: expected a non-empty str of valid Unicode or an int, got {value!r} of type "
        f"{type(value).__name__}; "
        "convert ids to str or int first"
    )


def _is_unicode(text: str) -> bool:
    """Whether a string can be stored: names of undecodable files hold lone surrogates, which no file format takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cast(value: str, type_cast: Callable[[str], Any]) -> Any:
    try:
        return type_cast(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"type_cast: {getattr(type_cast, '__name__', type_cast)!r} cannot convert the id {value!r} ({error}); "
            "leave type_cast out to get ids as they were given"
        ) from error
