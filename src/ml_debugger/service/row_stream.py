"""Rows as one Arrow IPC stream that tells how it ended: complete, with warnings, or with an error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import pyarrow as pa

from ml_debugger.errors import InputError, MLDebuggerError, MLDebuggerWarning, ServiceConnectionError
from ml_debugger.service.bodies import EndBody, parse_body
from ml_debugger.service.error_bodies import decode_error, decode_warnings, encode_error, encode_warnings
from ml_debugger.service.frames import ipc_options

__all__ = ["decode_rows", "encode_rows"]

_END: Final = b"mldebugger.end"


def encode_rows(batches: Iterable[pa.RecordBatch], warnings: Sequence[MLDebuggerWarning] = ()) -> Iterator[bytes]:
    """Rows as pieces of one stream, each as soon as its batch is there. An error of ours ends it, and is raised."""
    rows = iter(batches)
    first = next(rows, None)
    sink = _Pieces()
    schema = pa.schema([]) if first is None else first.schema
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), schema, options=ipc_options()) as writer:
        count, failure = 0, None
        try:
            for batch in chain([] if first is None else [first], rows):
                writer.write_batch(batch)
                count += batch.num_rows
                yield sink.take()
        except MLDebuggerError as error:
            failure = error
        end = {"rows": count, "warnings": encode_warnings(warnings)}
        if failure is not None:
            end["error"] = encode_error(failure)["error"]
        last = pa.RecordBatch.from_pylist([], schema)
        writer.write_batch(last, custom_metadata={_END: json.dumps(end)})
    yield sink.take()
    if failure is not None:
        raise failure


def decode_rows(pieces: Iterable[bytes], told: list[MLDebuggerWarning] | None = None) -> Iterator[pa.RecordBatch]:
    """Rows of a stream, as they come. Warnings are added to ``told`` at its end.

    Raises:
        MLDebuggerError: The error that ended the rows at the other end.
        ServiceConnectionError: If the stream was cut, or is not what a server of ours sends.
    """
    count, end = 0, None
    try:
        with pa.ipc.open_stream(pa.PythonFile(_Joined(pieces), "r")) as reader:
            while end is None:
                batch, metadata = reader.read_next_batch_with_custom_metadata()
                if metadata is not None and _END in metadata:
                    end = _end_of(metadata[_END])
                else:
                    batch.validate(full=True)  # nothing in it points outside of it
                    count += batch.num_rows
                    yield batch
    except MLDebuggerError:
        raise
    except (pa.ArrowException, OSError, StopIteration, ValueError) as error:
        raise ServiceConnectionError(f"the server's answer was cut after {count} rows: {error or 'no end'}") from None
    if end.error is not None:
        raise decode_error({"error": end.error.model_dump()})
    if end.rows != count:
        raise ServiceConnectionError(f"the server's answer was cut: got {count} of {end.rows} rows")
    if told is not None:
        told += decode_warnings(warning.model_dump() for warning in end.warnings)


def _end_of(content: bytes) -> EndBody:
    try:
        return parse_body(EndBody, content)
    except InputError as error:
        raise ServiceConnectionError(f"the server's rows end as none of MLdebugger do: {error}") from None


class _Pieces:
    """A file that is taken away piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def write(self, content: bytes) -> int:
        self._waiting.append(bytes(content))
        return len(content)

    def flush(self) -> None:
        """Nothing is kept back."""

    def take(self) -> bytes:
        content, self._waiting = b"".join(self._waiting), []
        return content


class _Joined:
    """Pieces as one file to read."""

    closed = False

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        parts, missing = [self._rest], size - len(self._rest)
        while missing > 0 or size < 0:
            piece = next(self._pieces, None)
            if piece is None:
                break
            parts.append(piece)
            missing -= len(piece)
        content = b"".join(parts)
        cut = len(content) if size < 0 else size
        self._rest = content[cut:]
        return content[:cut]
