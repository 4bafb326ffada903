"""Files for people and other programs: text, CSV, JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ml_debugger.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "find_format", "write_text"]


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n")


def _json_lines(frame: pd.DataFrame) -> str:
    return frame.to_json(orient="records", lines=True, date_format="iso", force_ascii=False)


FORMATS: Final[dict[str, Callable[[pd.DataFrame], str]]] = {".csv": _csv, ".jsonl": _json_lines}
"""A table as text, by the ending of the file's name."""


def find_format(path: Path) -> Callable[[pd.DataFrame], str]:
    """How to write a table to a file of this name.

    Raises:
        InputError: If the name ends in none of the known endings.
    """
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise InputError(f"output: expected a name that ends in one of {sorted(FORMATS)}, got {path.name!r}") from None


def write_text(path: Path, text: str) -> Path:
    """Write a file, making its folder where needed; returns its absolute path.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"path: cannot write {path} ({error.strerror or error}); name another place") from error
    return path.absolute()
