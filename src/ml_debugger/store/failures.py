"""Errors of the libraries below, mapped to ours in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import obstore.exceptions
import polars.exceptions
import pyarrow as pa
import sqlalchemy.exc
from deltalake.exceptions import DeltaError

from ml_debugger.errors import MLDebuggerError, StoreError

__all__ = ["store_errors"]

LIBRARY_ERRORS = (
    OSError,
    DeltaError,
    sqlalchemy.exc.SQLAlchemyError,
    polars.exceptions.PolarsError,
    obstore.exceptions.BaseError,
    pa.ArrowException,
)
_LONGEST = 600


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
        raise StoreError(
            f"could not {doing} in {location}: {_first_lines(error)}; check free space, permissions and that the "
            "place can be reached (MLD_HOME names it), then call again"
        ) from error


def _first_lines(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
