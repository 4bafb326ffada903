"""Answers: JSON, framed tables, streamed rows, errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ml_debugger.errors import MLDebuggerError, MLDebuggerWarning, ServerBusyError, collect_warnings
from ml_debugger.server.auth import TooManyAttemptsError, server_of
from ml_debugger.server.logs import LOGGER
from ml_debugger.server.threads import at_length
from ml_debugger.service.wire import ROWS, encode_error, encode_rows

if TYPE_CHECKING:
    from ml_debugger.server.state import ServerState

__all__ = ["error_answer", "rows_answer", "told_rows"]

_SEND_SECONDS: Final = 60.0  # that a client may let one piece of an answer lie
_BUSY_SECONDS: Final = 1


class _Rows(StreamingResponse):
    """Streamed rows; a client that stops taking them is left, and whatever happens, ``end`` is called."""

    def __init__(self, content: AsyncIterator[bytes], end: Callable[[], None]) -> None:
        super().__init__(content, media_type=ROWS)
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()

    async def stream_response(self, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(_SEND_SECONDS):
                await send(message)

        await super().stream_response(send_in_time)


def told_rows(
    server: ServerState, rows: Iterable[pa.RecordBatch], told: list[MLDebuggerWarning]
) -> Iterator[pa.RecordBatch]:
    """The same rows; what is warned of while they are made is added to ``told``, and errors show no private place."""
    batches = iter(rows)
    while True:
        with collect_warnings() as found:
            try:
                batch = next(batches, None)
            except MLDebuggerError as error:
                raise server.without_places(error) from error
        told += found
        if batch is None:
            return
        yield batch


async def rows_answer(
    request: Request, rows: Iterable[pa.RecordBatch], warnings: list[MLDebuggerWarning] | None = None
) -> Response:
    """Rows as they are made. What fails before the first has a status of its own; later errors end the stream.

    Raises:
        MLDebuggerError: If the first rows cannot be made.
        ServerBusyError: If too many answers are being sent.
    """
    gate = server_of(request).gates.streams
    gate.take(1)
    pieces = encode_rows(rows, warnings if warnings is not None else [])
    try:
        first = await at_length(request, next, pieces, b"")
    except BaseException:
        gate.give(1)
        raise

    async def whole() -> AsyncIterator[bytes]:
        piece = first
        while piece:
            yield piece
            piece = await _next(request, pieces)

    return _Rows(whole(), lambda: gate.give(1))


async def _next(request: Request, pieces: Iterator[bytes]) -> bytes:
    try:
        return await at_length(request, next, pieces, b"")
    except MLDebuggerError as error:  # its last piece has told the client
        LOGGER.error("the rows of an answer ended early: %s", error, extra={"fields": {"code": error.code}})
        return b""


def error_answer(request: Request, error: MLDebuggerError) -> JSONResponse:
    """An error as JSON with its status. Where the server keeps its files is nobody's business outside."""
    server = server_of(request)
    headers: dict[str, str] = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyAttemptsError):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, ServerBusyError):
        headers["Retry-After"] = str(_BUSY_SECONDS)
        server.metrics.busy.inc()
    return JSONResponse(encode_error(server.without_places(error)), error.status, headers)
