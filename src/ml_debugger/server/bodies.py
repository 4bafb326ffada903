"""The body of a request: read up to a limit, within a time, and counted as long as it is at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from ml_debugger.errors import InputError, TooLargeError
from ml_debugger.server.auth import server_of

if TYPE_CHECKING:
    from ml_debugger.server.state import ServerState

__all__ = ["SMALL", "received"]

SMALL: Final = 2**20
_SILENCE: Final = 30.0  # seconds without a byte
_SLOWEST: Final = 20_000  # bytes a second over all that has come, after the first minute
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
    share = _Share(server, _announced(request, most))
    try:
        content = bytearray()
        try:
            await _read(request, content, most, share)
        except TimeoutError:
            raise InputError(
                f"body: only {len(content)} bytes came in time; check the network, then send again"
            ) from None
        except ClientDisconnect:
            raise InputError(f"body: the connection ended after {len(content)} bytes") from None
        server.metrics.received.inc(len(content))
        yield memoryview(content)
    finally:
        share.give()


class _Share:
    """Bytes of one request among all that are pending: those announced, and those that come beyond.

    Raises:
        ServerBusyError: If there is no room.
    """

    def __init__(self, server: ServerState, announced: int) -> None:
        self._server = server
        self._held = 0
        self.grow(announced)

    def grow(self, size: int) -> None:
        """Hold at least so many bytes.

        Raises:
            ServerBusyError: If there is no room.
        """
        if size > self._held:
            self._server.gates.pending.take(size - self._held, own=self._held)
            self._held = size
            self._tell()

    def give(self) -> None:
        """Give all of it back."""
        self._server.gates.pending.give(self._held)
        self._tell()

    def _tell(self) -> None:
        self._server.metrics.pending.set(self._server.gates.pending.held)


async def _read(request: Request, content: bytearray, most: int, share: _Share) -> None:
    pieces, now = request.stream().__aiter__(), asyncio.get_running_loop().time
    start = now()
    while True:
        late = start + _FIRST + len(content) / _SLOWEST  # at any time, so that nobody holds a large share by drops
        async with asyncio.timeout_at(min(now() + _SILENCE, late)):
            piece = await anext(pieces, None)
        if piece is None:
            return
        content += piece
        if len(content) > most:
            raise _too_large(most)
        share.grow(len(content))


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
