"""What an Arrow IPC stream will take in memory, read from its metadata before anything is decompressed.

A few bytes of zstd can stand for gigabytes, and a batch without buffers for any number of rows: whoever reads streams
of others must know before it is too late. Arrow's messages are flatbuffers; the few fields that matter are read here.
See https://arrow.apache.org/docs/format/Columnar.html and Message.fbs there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from ml_debugger.errors import InputError, TooLargeError

__all__ = ["Allowance", "check_types", "measure"]

# Positions of fields in their flatbuffer tables.
_MESSAGE_HEADER: Final = 2
_BATCH_LENGTH, _BATCH_NODES, _BATCH_BUFFERS, _BATCH_COMPRESSION = 0, 1, 2, 3
_NOT_COMPRESSED: Final = -1
_PREFIX: Final = 8
_CELL_BYTES: Final = 8
_MOST_BATCHES: Final = 20_000
_MOST_COLUMNS: Final = 4_096


@dataclass(slots=True)
class Allowance:
    """What the tables of one request may take together."""

    n_bytes: int
    n_rows: int

    def take(self, what: str, n_bytes: int, n_rows: int) -> None:
        """Use up some of it.

        Raises:
            TooLargeError: If there is not enough left.
        """
        self.n_bytes -= n_bytes
        self.n_rows -= n_rows
        if self.n_bytes < 0 or self.n_rows < 0:
            raise TooLargeError(
                f"{what}: {n_rows} rows of {n_bytes} bytes are more than this server takes in one request; send fewer "
                "at once, for a tracer by a lower MLD_BUFFER_MB or smaller batches"
            )


def measure(part: memoryview, what: str) -> tuple[int, int]:
    """Bytes and rows of an Arrow IPC stream, decompressed.

    Raises:
        InputError: If it is none, or has dictionaries, which no rows of ours have.
    """
    n_bytes = n_rows = n_batches = 0
    try:
        for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(part)):
            if message.type == "schema":
                continue
            if message.type != "record batch":
                raise InputError(f"{what}: expected plain columns, got a stream with a {message.type}")
            batch = _table_at(memoryview(message.metadata), _MESSAGE_HEADER)
            body = memoryview(message.body)
            rows = _whole_number(batch, _BATCH_LENGTH)
            n_rows += rows
            # columns without buffers take memory too, once they are brought into the types of a table
            n_bytes += max(sum(_sizes(batch, body)), rows * _n_nodes(batch) * _CELL_BYTES)
            n_batches += 1
            if n_batches > _MOST_BATCHES:
                raise TooLargeError(f"{what}: more than {_MOST_BATCHES} record batches; write larger ones")
    except (pa.ArrowException, OSError, struct.error, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what}: expected an Arrow IPC stream, got what cannot be read as one") from None
    return n_bytes, n_rows


def check_types(schema: pa.Schema, what: str) -> None:
    """Refuse columns whose values could be far more than their bytes (dictionaries, runs), and any that we never write.

    Raises:
        InputError: If there is one.
    """
    if len(schema) > _MOST_COLUMNS:
        raise TooLargeError(f"{what}: expected at most {_MOST_COLUMNS} columns, got {len(schema)}")
    odd = [f"{field.name} ({field.type})" for field in schema if not _is_plain(field.type)]
    if odd:
        raise InputError(
            f"{what}: expected columns of numbers, text, times and lists of them, got {', '.join(odd[:5])}"
        )


def _is_plain(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return False
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_plain(kind.value_type)
    tests = (
        pa.types.is_null,
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_timestamp,
        pa.types.is_date,
    )
    return any(test(kind) for test in tests)


@dataclass(frozen=True, slots=True)
class _Table:
    """A flatbuffer table: where its fields are."""

    content: memoryview
    at: int

    def field(self, number: int) -> int | None:
        """Position of a field, None where it has its default."""
        (back,) = struct.unpack_from("<i", self.content, self.at)
        vtable = self.at - back
        if vtable < 0:
            raise ValueError("no table")
        (size,) = struct.unpack_from("<H", self.content, vtable)
        if 4 + 2 * number >= size:
            return None
        (offset,) = struct.unpack_from("<H", self.content, vtable + 4 + 2 * number)
        return self.at + offset if offset else None


def _table_at(content: memoryview, number: int) -> _Table:
    """The table that is a field of the root table."""
    (root,) = struct.unpack_from("<I", content, 0)
    return _Table(content, _target(_Table(content, root), number))


def _target(table: _Table, number: int) -> int:
    """Position of what a field points at."""
    field = table.field(number)
    if field is None:
        raise ValueError("no such field")
    (offset,) = struct.unpack_from("<I", table.content, field)
    return field + int(offset)


def _whole_number(table: _Table, number: int) -> int:
    field = table.field(number)
    if field is None:
        return 0
    (value,) = struct.unpack_from("<q", table.content, field)
    if value < 0:
        raise ValueError("a negative number of rows")
    return int(value)


def _n_nodes(batch: _Table) -> int:
    """Columns of a batch, those inside of lists too."""
    if batch.field(_BATCH_NODES) is None:
        return 0
    (count,) = struct.unpack_from("<I", batch.content, _target(batch, _BATCH_NODES))
    return int(count)


def _sizes(batch: _Table, body: memoryview) -> list[int]:
    """Bytes of the buffers of a batch, decompressed."""
    if batch.field(_BATCH_BUFFERS) is None:
        return []
    at = _target(batch, _BATCH_BUFFERS)
    (count,) = struct.unpack_from("<I", batch.content, at)
    if count * 16 > len(batch.content):
        raise ValueError("more buffers than fit")
    found = struct.unpack_from(f"<{2 * count}q", batch.content, at + 4)
    places = list(zip(found[::2], found[1::2], strict=True))
    if any(offset < 0 or size < 0 or offset + size > len(body) for offset, size in places):
        raise ValueError("a buffer outside of the body")
    if batch.field(_BATCH_COMPRESSION) is None:
        return [size for _, size in places]
    return [_decompressed(body, offset, size) for offset, size in places if size]


def _decompressed(body: memoryview, offset: int, size: int) -> int:
    if size < _PREFIX:
        raise ValueError("a compressed buffer without its length")
    (length,) = struct.unpack_from("<q", body, offset)
    if length < _NOT_COMPRESSED:
        raise ValueError("a buffer of a negative length")
    return size - _PREFIX if length == _NOT_COMPRESSED else int(length)
