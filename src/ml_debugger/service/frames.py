"""Bodies of several tables beside JSON: a header, and Arrow IPC streams one after the other."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from ml_debugger.errors import InputError
from ml_debugger.service.arrow_bounds import Allowance, check_types, measure

__all__ = ["FRAMES", "decode_table", "encode_table", "ipc_options", "pack", "unpack"]

FRAMES: Final = "application/vnd.mldebugger.frames"

_MAGIC: Final = b"MLD1"
_LENGTH: Final = struct.Struct("<I")
_MAX_HEADER: Final = 64 * 2**20


def pack(header: Mapping[str, Any], parts: Mapping[str, bytes | pa.Buffer]) -> bytes:
    """A framed body."""
    sizes = [[name, len(part) if isinstance(part, bytes) else part.size] for name, part in parts.items()]
    head = json.dumps({"header": header, "parts": sizes}, allow_nan=False).encode()
    return b"".join([_MAGIC, _LENGTH.pack(len(head)), head, *(memoryview(part) for part in parts.values())])


def unpack(content: bytes | memoryview) -> tuple[dict[str, Any], dict[str, memoryview]]:
    """Header and parts of a framed body, without copies.

    Raises:
        InputError: If it is not one, or is cut, or something follows.
    """
    view = memoryview(content)
    start = len(_MAGIC) + _LENGTH.size
    if len(view) < start or bytes(view[: len(_MAGIC)]) != _MAGIC:
        raise InputError(f"body: expected frames of type {FRAMES}, which begin with {_MAGIC!r}")
    (length,) = _LENGTH.unpack_from(view, len(_MAGIC))
    if length > min(_MAX_HEADER, len(view) - start):
        raise InputError(f"body: a header of {length} bytes does not fit into it")
    header, sizes = _header(bytes(view[start : start + length]))
    at, parts = start + length, {}
    for name, size in sizes:
        parts[name] = view[at : at + size]
        at += size
    if at != len(view) or len(parts) != len(sizes):
        raise InputError(f"body: expected {at} bytes with parts of different names, got {len(view)} bytes")
    return header, parts


def _header(content: bytes) -> tuple[dict[str, Any], list[tuple[str, int]]]:
    try:
        found = json.loads(content)
        header, parts = found["header"], [(name, size) for name, size in found["parts"]]
        known = set(found) == {"header", "parts"} and isinstance(header, dict)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputError("body: the header of the frames is not the JSON that it should be") from None
    if not known or not all(type(name) is str and type(size) is int and size >= 0 for name, size in parts):
        raise InputError('body: expected a header {"header": {...}, "parts": [[name, length], ...]}')
    return header, parts


def encode_table(table: pa.Table) -> pa.Buffer:
    """A table as a compressed Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=ipc_options()) as writer:
        writer.write_table(table)
    return sink.getvalue()


def decode_table(part: memoryview, what: str, allowance: Allowance | None = None) -> pa.Table:
    """The table of an Arrow IPC stream, checked whole: nothing in it points outside of it.

    Args:
        part: The stream.
        what: Its name, for messages.
        allowance: What it may take in memory; used up by as much. None for what comes from a server of ours.

    Raises:
        InputError: If it is none.
        TooLargeError: If it takes more than is allowed.
    """
    if allowance is not None:
        allowance.take(what, *measure(part, what))
    try:
        with pa.ipc.open_stream(pa.py_buffer(part)) as reader:
            if allowance is not None:
                check_types(reader.schema, what)
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        raise InputError(f"{what}: expected an Arrow IPC stream, got what cannot be read as one: {error}") from None
    return table


def ipc_options() -> Any:
    """How rows travel: compressed with zstd."""
    return pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
