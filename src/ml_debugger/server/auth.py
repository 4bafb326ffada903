"""Who is calling, and what the key allows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from ml_debugger.errors import LicenseError, ScopeError
from ml_debugger.server.threads import quickly
from ml_debugger.store.keys import KeyRow

if TYPE_CHECKING:
    from ml_debugger.server.state import ServerState

__all__ = [
    "SESSION_COOKIE",
    "Administrator",
    "Reader",
    "TooManyAttemptsError",
    "Writer",
    "key_of",
    "server_of",
    "verify_key",
]

SESSION_COOKIE: Final = "mldebugger_session"
_MAX_KEY: Final = 200
_KEY_ID: Final = slice(6, 18)
# Only for the description of the interface: the header is read by hand, so that every answer is one of ours.
_SCHEME: Final = HTTPBearer(auto_error=False, description="A key that `mldebugger keys create` has shown.")
_Described = Annotated[Any, Depends(_SCHEME)]


class TooManyAttemptsError(LicenseError):
    """Too many keys of this address were refused; no other is looked at for a while."""

    status: ClassVar[int] = 429

    def __init__(self, seconds: float) -> None:
        self.retry_after = max(1, round(seconds))
        super().__init__(
            f"too many refused keys from this address; wait {self.retry_after} seconds, and check MLD_API_KEY"
        )


def server_of(request: Request) -> ServerState:
    """What the server holds."""
    state: ServerState = request.app.state.server
    return state


async def verify_key(request: Request, key: str) -> KeyRow:
    """What is known of a key that a client shows, from the address that it has.

    Raises:
        LicenseError: If it is refused.
        StoreError: If the database cannot be read.
    """
    server, address = server_of(request), client_address(request)
    key_id = key[_KEY_ID]
    seconds = server.attempts.wait(address, key_id)
    if seconds > 0:
        raise TooManyAttemptsError(seconds)
    try:
        row = await quickly(request, server.keys.verify, key)
    except LicenseError:
        server.attempts.failed(address)
        server.metrics.refused.inc()
        raise
    server.attempts.accepted(address, row.key_id)
    request.state.key = row
    return row


async def key_of(request: Request, scope: str) -> KeyRow:
    """What is known of the key in a request's header.

    Raises:
        LicenseError: If there is none, or it is refused.
        ScopeError: If it does not allow calls that need ``scope``.
    """
    row = await verify_key(request, _shown_key(request))
    if not row.allows(scope):
        raise ScopeError(f"the key {row.key_id} may {row.scope}, but this call needs a key with scope {scope!r}")
    return row


def client_address(request: Request) -> str:
    """Where a request comes from; of a proxy that is trusted, where it says."""
    return request.client.host if request.client is not None else ""


def _shown_key(request: Request) -> str:
    headers = request.headers.getlist("authorization")
    scheme, _, key = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    key = key.strip()
    if scheme.lower() != "bearer" or not key or len(key) > _MAX_KEY:
        raise LicenseError(
            "no key was given: set MLD_API_KEY, or send the header 'Authorization: Bearer mldbg_...' once; "
            "`mldebugger keys create` makes a key"
        )
    return key


def _needs(scope: str) -> Callable[[Request, Any], Awaitable[KeyRow]]:
    async def allowed(request: Request, described: _Described) -> KeyRow:
        del described  # read by hand
        return await key_of(request, scope)

    return allowed


Reader = Annotated[KeyRow, Depends(_needs("read"))]
"""A key that may read."""
Writer = Annotated[KeyRow, Depends(_needs("write"))]
"""A key that may write."""
Administrator = Annotated[KeyRow, Depends(_needs("admin"))]
"""A key that may manage keys."""
