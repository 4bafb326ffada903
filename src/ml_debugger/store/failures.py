"""Errors of the libraries below, mapped to ours in one place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import obstore.exceptions
import polars.exceptions
import pyarrow as pa
import sqlalchemy.exc
from deltalake.exceptions import DeltaError

from ml_debugger.errors import MLDebuggerError, StoreError

__all__ = ["check_not_forked", "store_errors"]

LIBRARY_ERRORS = (
    OSError,
    DeltaError,
    sqlalchemy.exc.SQLAlchemyError,
    polars.exceptions.PolarsError,
    obstore.exceptions.BaseError,
    pa.ArrowException,
)
_LONGEST = 600
_DAMAGED = ("file is not a database", "disk image is malformed")  # SQLite's words


_runtime_pid: int | None = None


def check_not_forked() -> None:
    """Called before the first and every later use of the table format, whose threads do not survive a fork.

    Raises:
        StoreError: If this process was forked from one that had used it.
    """
    global _runtime_pid  # noqa: PLW0603 - one runtime per process
    if _runtime_pid is None:
        _runtime_pid = os.getpid()
    if _runtime_pid != os.getpid():
        raise StoreError(
            "this process was forked from one that had already used a workspace, which the table format does not "
            "survive: start processes with multiprocessing.get_context('spawn'), or fork before the first row is "
            "stored or read"
        )


@contextmanager
def store_errors(doing: str, location: str) -> Iterator[None]:
    """Raise what a library raises inside as a StoreError that says what was tried, where, and what to check.

    Raises:
        StoreError: In place of any error of the file system, the table format or the database.
    """
    try:
        yield
    except MLDebuggerError:
        raise
    except LIBRARY_ERRORS as error:
        text = _first_lines(error)
        raise StoreError(f"could not {doing} in {location}: {text}; {_cure(text)}") from error


def _cure(text: str) -> str:
    if any(words in text for words in _DAMAGED):
        return "the file is damaged: restore it from a copy, or name another workspace in MLD_HOME"
    return "check free space, permissions and that the place can be reached (MLD_HOME names it), then call again"


def _first_lines(error: BaseException) -> str:
    # the driver's words: SQLAlchemy adds the statement and a link
    cause = getattr(error, "orig", None) or error
    text = " ".join(str(cause).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
