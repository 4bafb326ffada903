"""Names of models, versions and results as parts of paths: any string goes in, nothing leaves the workspace."""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import quote

from ml_debugger.errors import InputError

__all__ = ["check_partition", "quote_name"]

_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_MAX_QUOTED = 120
# Folders are named column=value with the value percent-encoded; file systems allow 255 bytes.
_MAX_FOLDER = 255
# Delta and Hive write this for a missing partition value.
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def quote_name(name: str) -> str:
    """A folder name for any string: distinct for distinct names, also where the file system ignores case.

    Other bytes than lower-case letters, digits, ``-``, ``_`` and inner dots become ``~XX``; a long name ends in a
    digest of itself.
    """
    quoted = "".join(
        char if char in _SAFE or (char == "." and 0 < i < len(name) - 1) else _escape(char)
        for i, char in enumerate(name)
    )
    if len(quoted) <= _MAX_QUOTED:
        return quoted
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"{quoted[: _MAX_QUOTED - 34]}~~{digest}"


def check_partition(column: str, value: str) -> str:
    """A value that a partitioned table can hold.

    Raises:
        InputError: If it is empty, reserved, or too long for a folder name.
    """
    if not value:
        raise InputError(f"{column}: expected a non-empty str, got ''")
    if value == _NULL_PARTITION:
        raise InputError(f"{column}: {value!r} is reserved by the table format, choose another name")
    length = len(f"{column}={quote(quote(value, safe=''), safe='')}")
    if length > _MAX_FOLDER:
        raise InputError(f"{column}: too long to be a folder name ({length} of {_MAX_FOLDER} bytes encoded): {value!r}")
    return value


def _escape(char: str) -> str:
    return "".join(f"~{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
