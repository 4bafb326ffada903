"""The body of a request: read up to a limit, within a time, and counted as long as it is at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from ml_debugger.errors import InputError, TooLargeError
from ml_debugger.server.auth import server_of

__all__ = ["SMALL", "received"]

SMALL: Final = 2**20
_SILENCE: Final = 30.0  # seconds without a byte
_SLOWEST: Final = 20_000  # bytes a second over the whole body, after the first minute
_FIRST: Final = 60.0


@asynccontextmanager
async def received(request: Request, most: int) -> AsyncIterator[memoryview]:
    """The body of a request. Its bytes count as pending until the end of the block.

    Raises:
        TooLargeError: If it is longer than ``most`` bytes.
        ServerBusyError: If too much is at work already.
        InputError: If it does not come, or not whole.
    """
    server = server_of(request)
    pending, held = server.gates.pending, _announced(request, most)
    pending.take(held)
    try:
        server.metrics.pending.set(pending.held)
        content = bytearray()
        try:
            async with asyncio.timeout(_FIRST + most / _SLOWEST):
                await _read(request, content, most)
        except TimeoutError:
            raise InputError(
                f"body: only {len(content)} bytes came in time; check the network, then send again"
            ) from None
        except ClientDisconnect:
            raise InputError(f"body: the connection ended after {len(content)} bytes") from None
        if len(content) > held:
            pending.take(len(content) - held)
            held = len(content)
        server.metrics.received.inc(len(content))
        yield memoryview(content)
    finally:
        pending.give(held)
        server.metrics.pending.set(pending.held)


async def _read(request: Request, content: bytearray, most: int) -> None:
    pieces = request.stream().__aiter__()
    while True:
        async with asyncio.timeout(_SILENCE):
            piece = await anext(pieces, None)
        if piece is None:
            return
        content += piece
        if len(content) > most:
            raise _too_large(most)


def _announced(request: Request, most: int) -> int:
    """The length that the client says the body has; 0 where it does not."""
    text = request.headers.get("content-length", "0")
    length = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else most + 1
    if length > most:
        raise _too_large(most)
    return length


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(
        f"body: more than {most / 2**20:g} MB (for rows: MLD_MAX_BODY_MB of the server); send less at a time "
        "(MLD_BUFFER_MB of the client)"
    )
