"""Work that waits for disks and databases, off the loop that answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Request

__all__ = ["at_length", "quickly"]

P = ParamSpec("P")
T = TypeVar("T")

_QUICK: Final = 8
_LONG: Final = 32


async def quickly(request: Request, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a look-up; it never waits behind calls that read or write rows."""
    return await _run(request, "quick", _QUICK, lambda: call(*args, **kwargs))


async def at_length(request: Request, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that may take its time."""
    return await _run(request, "long", _LONG, lambda: call(*args, **kwargs))


async def _run(request: Request, name: str, most: int, call: Callable[[], T]) -> T:
    limiters = request.app.state.limiters
    if name not in limiters:
        limiters[name] = CapacityLimiter(most)
    return await anyio.to_thread.run_sync(call, limiter=limiters[name])
