"""Back-pressure: what does not fit is refused, what is done makes room."""

from __future__ import annotations

import pytest

from ml_debugger.errors import ServerBusyError
from ml_debugger.server.gates import Gate


def test_what_does_not_fit_is_refused() -> None:
    gate = Gate("requests", 10)
    with gate.through(6), gate.through(4):
        with pytest.raises(ServerBusyError, match="too many requests at work"):
            gate.take(1)
        assert gate.held == 10
    assert gate.held == 0


def test_alone_anything_fits() -> None:
    gate = Gate("requests", 10)
    with gate.through(11):
        assert gate.held == 11
        with pytest.raises(ServerBusyError):
            gate.take(1)


def test_a_failure_makes_room_too() -> None:
    gate = Gate("requests", 1)
    with pytest.raises(ValueError, match="x"), gate.through():
        raise ValueError("x")
    assert gate.held == 0
