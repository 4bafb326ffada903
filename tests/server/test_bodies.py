"""Bodies that come slowly: each has its time, which grows with what has come."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request

from ml_debugger.errors import InputError
from ml_debugger.server import bodies
from ml_debugger.server.config import Limits
from ml_debugger.server.gates import Gates
from ml_debugger.server.metrics import Metrics

MOST = 2**20


def read(piece: bytes, number: int, pause: float) -> int:
    """Length of a body whose pieces come one after a pause each."""
    gates = Gates(Limits(MOST, MOST, 1, MOST, 1))
    state = SimpleNamespace(server=SimpleNamespace(gates=gates, metrics=Metrics()))
    left = [number]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause)
        left[0] -= 1
        return {"type": "http.request", "body": piece, "more_body": left[0] > 0}

    async def whole() -> int:
        headers = [(b"content-length", str(MOST).encode())]
        scope = {"type": "http", "method": "POST", "headers": headers, "app": SimpleNamespace(state=state)}
        async with bodies.received(Request(scope, receive), MOST) as content:
            return len(content)

    try:
        return asyncio.run(whole())
    finally:
        assert gates.pending.held == 0


def test_drops_do_not_hold_a_share_for_as_long_as_a_whole_body_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_FIRST", 0.2)
    start = time.monotonic()
    with pytest.raises(InputError, match="bytes came in time"):
        read(b"x", 200, 0.02)
    assert time.monotonic() - start < 2


def test_a_slow_one_that_goes_on_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_FIRST", 0.2)
    assert read(b"x" * 10_000, 20, 0.02) == 200_000


def test_silence_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_SILENCE", 0.05)
    with pytest.raises(InputError, match="only 0 bytes came in time"):
        read(b"x", 2, 1.0)
